"""The scenario reference, written from the code: ``python -m tacit_simulations.reference``."""

import tomllib
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tacit_simulations.scenario import Scenario, named_scenarios


def page() -> str:
    """Markdown of ``docs/scenarios.md``."""
    return "\n".join([*_head(), *_scenarios(), *_settings()]) + "\n"


def _head() -> Iterator[str]:
    yield "# Scenarios"
    yield ""
    yield "Written by `python -m tacit_simulations.reference`; a test keeps it current."
    yield ""


def _scenarios() -> Iterator[str]:
    yield "## Shipped"
    yield ""
    yield "| name | what it simulates | starts from |"
    yield "|---|---|---|"
    for name, text in named_scenarios().items():
        table = tomllib.loads(text)
        yield f"| `{name}` | {table['description']} | {table.get('extends', '')} |"
    yield ""


def _settings() -> Iterator[str]:
    yield "## Settings"
    yield ""
    yield "Set a key in a file or by `--set key=value`; unknown keys are refused. `runtime` changes speed alone."
    yield ""
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    yield from _rows(Scenario, "")


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = prefix + name
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _rows(kind, key + ".")
            continue
        default = "" if field.default is PydanticUndefined else repr(field.default)
        default = default if len(default) < 60 else "see the source"
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{key}` | `{default}` | {meaning} |".replace("``", "")


if __name__ == "__main__":
    print(page(), end="")
