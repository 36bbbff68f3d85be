"""The gateway's pages name every setting, header, field and defect, and every test that they name is there."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from tacit_clients.gateway import errors
from tacit_clients.gateway.runtime import switches_beside
from tacit_clients.gateway.settings import GatewaySettings
from tacit_clients.modes.protocol import Provenance

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gateway.md").read_text()
OWNER = (ROOT / "docs" / "owner-page.md").read_text()
DEFECTS = (ROOT / "docs" / "defects.md").read_text()


def names(model: type[BaseModel]) -> list[str]:
    found: list[str] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        found += names(inner) if isinstance(inner, type) and issubclass(inner, BaseModel) else [name]
    return found


def codes() -> set[str]:
    """The codes that are written in the gateway's source."""
    sources = (path.read_text() for path in Path(errors.__file__).parent.rglob("*.py"))
    written = re.compile(r"(?:refuse\(\d+|Problem\(\d+, \"\w+\"), \"(\w+)\"")
    return {code for source in sources for code in written.findall(source)}


@pytest.mark.parametrize("name", sorted({*names(GatewaySettings)} - {"key", "token"}))
def test_every_setting_is_documented(name: str) -> None:
    assert re.search(rf"^#? ?{name} = ", PAGE, re.M), name


@pytest.mark.parametrize("name", sorted(Provenance("llm").row()))
def test_every_field_of_the_account_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("code", sorted({*errors._REMEDIES, *errors._UPSTREAM_SAYS, *codes()} - {"disconnected"}))
def test_every_code_of_an_error_is_documented(code: str) -> None:
    assert f"`{code}`" in PAGE.partition("## Errors")[2]


@pytest.mark.parametrize("vault", ["device.vault", "device.db"])
def test_where_the_switches_are_kept_is_as_documented(vault: str) -> None:
    where = " ".join(OWNER.split())
    assert f"`{vault}`" in where and f"`{switches_beside(Path('/g') / vault).name}` for" in where


def test_no_recipe_asks_the_toy() -> None:
    recipes = re.findall(r"^```(?:python|console)\n(.*?)^```", PAGE, re.S | re.M)
    assert "tacit/llm" in recipes[1] and not any("tacit/auto" in recipe for recipe in recipes)


@pytest.mark.parametrize("number", [f"S{n}" for n in range(1, 15)] + [f"F{n}" for n in range(1, 24)])
def test_every_defect_has_its_row_and_its_tests(number: str) -> None:
    row = next(line for line in DEFECTS.splitlines() if line.startswith(f"| {number} |"))
    tests = re.findall(r"`(test_\w+)`", row)
    file = "test_streaming_defects.py" if number.startswith("S") else "test_gateway_defects.py"
    source = (ROOT / "tests" / "integration" / file).read_text()
    assert tests and all(f"def {test}(" in source for test in tests)
    assert all(test.startswith(f"test_{number.lower()}_") for test in tests)
