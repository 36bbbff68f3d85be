"""Check a scenario file and say what it would run."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit_privacy.cli import json_on_stdout

if TYPE_CHECKING:
    from tacit_simulations.scenario import Scenario

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.callback()
def config() -> None:
    """Work with scenario files."""


@app.command()
def check(
    scenario: Annotated[str, typer.Argument(help="A TOML file, or the name of a scenario that ships.", metavar="FILE")],
    override: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Parse FILE, refuse what would not run, and print what would.

    Nothing is loaded, trained or written. Exit code 2 and one sentence when the file cannot run.
    """
    from tacit_simulations.scenario import load_scenario

    with json_on_stdout(as_json) as write:
        found = load_scenario(scenario, override or [])
        write({"ok": True, "digest": found.digest, "scenario": found.model_dump(mode="json")})
    if not as_json:
        for line in describe(found):
            typer.echo(line)


def describe(scenario: "Scenario") -> list[str]:
    """What would run: a first line for people, then every setting as ``section.key = value``, changed ones marked."""
    federation, privacy = scenario.federation, scenario.privacy
    lines = [
        f"{scenario.name}: {scenario.description}" if scenario.description else scenario.name,
        f"{scenario.fleet.devices} devices, {federation.rounds} rounds of {federation.cohort}, "
        f"model {scenario.model.name}, data {scenario.data.kind}, privacy {_privacy(privacy)}",
        "",
    ]
    defaults = flat(type(scenario)().model_dump(mode="json"))
    for key, value in flat(scenario.model_dump(mode="json")).items():
        mark = "*" if key not in defaults or value != defaults[key] else " "
        lines.append(f"{mark} {key} = {value!r}")
    return [*lines, "", "* differs from the default", f"digest {scenario.digest}"]


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one level: ``{"a": {"b": 1}}`` gives ``{"a.b": 1}``."""
    rows: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            rows |= flat(value, f"{prefix}{key}.")
        else:
            rows[f"{prefix}{key}"] = value
    return rows


def _privacy(privacy: Any) -> str:
    if not getattr(privacy, "enabled", True):
        return "off"
    return f"epsilon at most {privacy.epsilon}"
