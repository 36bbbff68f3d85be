"""Documents follow the code: every command, error and setting has its line, and whatever they name exists."""

import ast
import re
import runpy
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from cryptography.exceptions import InvalidSignature
from ledgers import FIXED, KEY, Books, policy

from tacit_privacy import cli, errors
from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.ledger.bodies import KINDS
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.verify import verify
from tacit_simulations import reference
from tacit_simulations.commands import _reference

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(group: click.Command, path: tuple[str, ...], context: click.Context) -> list[tuple[str, ...]]:
    """The words of every command below ``group`` that can be run."""
    if not isinstance(group, click.Group):
        return [path]
    below = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [found for name, inner in below if inner for found in commands(inner, (*path, name), context)]


def runnable() -> list[tuple[str, ...]]:
    root = cli.root()
    return commands(root, (), click.Context(root))


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("cli.md", _reference.page),
        ("scenarios.md", reference.scenarios_page),
        ("settings.md", reference.settings_page),
    ],
)
def test_pages_made_from_code_are_current(name: str, page: Callable[[], str]) -> None:
    assert text(ROOT / "docs" / name) == page(), "type: make reference"


def test_the_page_of_benchmarks_shows_the_newest_results() -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "figures.py"))
    assert text(ROOT / "docs" / "benchmarks.md") == made["page"](), "type: python benchmarks/run_all.py --page"


def test_every_setting_is_explained() -> None:
    pages = reference.scenarios_page() + reference.settings_page()
    rows = [line for line in pages.splitlines() if line.startswith("| `") and line.count("|") == 4]
    unexplained = [row for row in rows if re.search(r"\|\s*\|$", row) and "." in row.split("|")[1]]
    assert unexplained == []


def test_every_command_and_option_is_explained() -> None:
    page = _reference.page()
    for words in runnable():
        assert f"## tacit {' '.join(words)}\n" in page
    unexplained = [row for row in page.splitlines() if re.match(r"\| `.*\|\s*\|$", row)]
    assert unexplained == []


def test_every_error_is_explained() -> None:
    page = _reference.page()
    classes = _reference.error_classes()
    drawn = errors.__doc__ or ""
    for kind in classes:
        assert kind.__doc__, kind
        assert f"| `{kind.__name__}` | {kind.exit_code} |" in page
        assert re.search(rf"\b{kind.__name__}\b", drawn), f"{kind.__name__} is not in the tree drawn in errors.py"


def test_every_test_that_a_page_names_exists() -> None:
    named = [name for page in PAGES for name in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", text(page))]
    assert named
    for name in named:
        file, _, function = name.partition("::")
        assert (ROOT / file).is_file(), name
        functions = {node.name for node in ast.walk(ast.parse(text(ROOT / file))) if isinstance(node, ast.FunctionDef)}
        assert not function or function in functions, name


def test_every_file_that_a_page_names_exists() -> None:
    pattern = r"`((?:privacy|clients|server|simulations|docs|benchmarks)/[\w/.-]*)`"
    named = {name for page in PAGES for name in re.findall(pattern, text(page))}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_command_that_a_page_shows_exists() -> None:
    known = runnable()
    starts = {words[:length] for words in known for length in range(1, len(words) + 1)}
    groups = {words[:-1] for words in known if len(words) > 1}
    for page in PAGES:
        for line in re.findall(r"(?:`|\$ |^)tacit ([^`\n]*)", text(page), re.MULTILINE):
            words = tuple(re.findall(r"^[a-z]+|(?<= )[a-z]+(?= |$)", line.split("  #")[0])[:2])
            if words:
                assert words[:1] in starts, f"{page.name}: tacit {line}"
            if words[:1] in groups and len(words) > 1:
                assert words in starts, f"{page.name}: tacit {line}"


def test_every_problem_of_a_ledger_is_explained() -> None:
    """The words are found in the code, wherever a problem is named there."""
    words: set[str] = set()
    for module in ("verify", "leaves"):
        for node in ast.walk(ast.parse(text(ROOT / f"privacy/tacit_privacy/ledger/{module}.py"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="_wrong"), args=[ast.Constant(value=str(word)), *_]):
                    words.add(word)
                case ast.Call(func=ast.Name(id="Problem"), args=[_, ast.Constant(value=str(word)), *_]):
                    words.add(word)
                case ast.Yield(value=ast.Tuple(elts=[ast.Constant(value=str(word)), *_])):
                    words.add(word)
    explained = re.findall(r"^\| `(\w+)` \|", text(ROOT / "docs/ledger.md").split("## Problems")[1], re.MULTILINE)
    assert len(words) > 30
    assert sorted(explained) == sorted(words)


def test_every_kind_of_entry_and_each_of_its_fields_is_explained() -> None:
    bodies = text(ROOT / "docs/ledger.md").split("## Bodies")[1].split("## What is charged")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ((?:`\w+`(?:, )?)+) \|$", bodies, re.MULTILINE))
    assert {kind: re.findall(r"\w+", fields) for kind, fields in rows.items()} == {
        kind: list(body.model_fields) for kind, body in KINDS.items()
    }
    told = set(re.findall(r"`([\w.]+)`", "".join(re.findall(r"^\| (`.*?) \|", bodies, re.MULTILINE))))
    nested = {f"policy.{name}" for name in BudgetPolicy.model_fields} | {
        f"event.{n}" for n in GaussianEvent.model_fields
    }
    plain = {name for body in KINDS.values() for name in body.model_fields} - {"policy", "event", "run", "why"}
    assert nested | plain <= told


def test_the_verifier_that_a_page_shows_finds_what_ours_finds(tmp_path: Path) -> None:
    """It is run as a reader would: from the page's own text, on files."""
    code = re.findall(r"```python\n(.*?)```", text(ROOT / "docs/ledger.md"), re.DOTALL)[0]
    (tmp_path / "mine.py").write_text(code)
    check = runpy.run_path(str(tmp_path / "mine.py"))["check"]
    books = Books(policy(participations=3, epsilon=100.0), GaussianEvent(noise_multiplier=1.0, sampling=FIXED))
    books.round(1, [1, 2])
    books.hand_over(SigningKey.simulated(8))
    books.round(2, [2, 3])
    books.close()
    lines = books.lines()
    kinds = ["open", "run", "reserve", "commit", "rotate", "reserve", "commit", "close"]
    for key in (KEY, books.key):
        assert check(lines, key.public) == kinds
        assert verify(lines, key.public).ok
    for number, line in enumerate(lines):
        for old, new in (('"time":5.0', '"time":6.0'), ('"signature":"', '"signature":"00'), ('"index":', '"index":1')):
            changed = [*lines[:number], line.replace(old, new), *lines[number + 1 :]]
            assert changed != lines
            with pytest.raises((ValueError, InvalidSignature)):
                check(changed, KEY.public)
    with pytest.raises(ValueError, match="not signed by this key"):
        check(lines, SigningKey.simulated(9).public)


def test_every_make_target_that_a_page_shows_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", text(ROOT / "Makefile"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:`|\$ )make ([a-z]+)", text(page))}
    assert {"demo", "test"} <= named
    assert named <= targets


def test_every_page_is_in_the_navigation() -> None:
    nav = text(ROOT / "mkdocs.yml").split("nav:")[1]
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert pages == set(re.findall(r"[\w/-]+\.md", nav))


def test_links_of_the_pages_beside_the_site_lead_somewhere() -> None:
    """Those within the site are checked by ``mkdocs build --strict``."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"):
        for target in re.findall(r"(?<!!)\[[^]]*\]\(([^)#]+)(?:#[^)]*)?\)", text(page)):
            assert target.startswith("https://") or (ROOT / target).is_file(), f"{page.name}: {target}"


def test_constraints_pin_every_library_that_is_required() -> None:
    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    lines = text(ROOT / "constraints.txt").splitlines()
    pinned = {plain(line.partition("==")[0]) for line in lines}
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!]+(\.\*)?", line)] == []
    assert "torch==2.13.*" in lines
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    wanted = {plain(re.split(r"[\[<>=!~; ]", text)[0]) for text in [*project["dependencies"], *extras]}
    assert wanted - pinned == set()
