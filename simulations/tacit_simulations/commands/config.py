"""Check a scenario file and say what it would run."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout

if TYPE_CHECKING:
    from tacit_server.config import PrivacyConfig
    from tacit_simulations.scenario import Scenario

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.callback()
def config() -> None:
    """Work with scenario files."""


@app.command()
def check(
    scenario: Annotated[str, typer.Argument(help="a TOML file, or the name of a scenario that ships", metavar="FILE")],
    override: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a setting")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="show settings left at their defaults, too")] = False,
    as_json: JsonOption = False,
) -> None:
    """Parse FILE, refuse what would not run, and print what would.

    Nothing is loaded, trained or written. Exit code 2 and one sentence when the file cannot run.
    """
    with json_on_stdout(as_json) as write:
        from tacit_simulations.scenario import load_scenario

        found = load_scenario(scenario, override or [])
        if found.mode == "train" and found.privacy.enabled:
            from tacit_server.planning import noise_for

            noise_for(found.privacy, found.federation, found.fleet.devices)  # refuses what no budget pays for
        write({"ok": True, "digest": found.digest, "scenario": found.model_dump(mode="json")})
    if not as_json:
        for line in describe(found, show_all):
            typer.echo(line)


def describe(scenario: "Scenario", show_all: bool = False) -> list[str]:
    """What would run, for people: the fleet in a line, then the settings that differ from the default, or all."""
    federation, devices = scenario.federation, scenario.fleet.devices
    what = f"model {scenario.model.name}, data {scenario.data.kind}, privacy {_privacy(scenario.privacy, devices)}"
    if scenario.mode == "timing":
        what = "time and energy only: no model, no data, no privacy to spend"
    defaults = flat(type(scenario)().model_dump(mode="json"))
    lines = [
        f"{scenario.name}: {scenario.description}" if scenario.description else scenario.name,
        f"{devices:,} devices, {federation.rounds:,} rounds of {federation.cohort:,}, {what}",
        "",
    ]
    for key, value in flat(scenario.model_dump(mode="json", exclude={"name", "description"})).items():
        changed = key not in defaults or value != defaults[key]
        if changed or show_all:
            lines.append(f"{'*' if changed else ' '} {key} = {json.dumps(value, ensure_ascii=False)}")
    changed = any(line.startswith("*") for line in lines)
    said = "* differs from the default" if changed else "nothing differs from the default"
    more = "" if show_all else "; --all shows the others" if changed else "; --all shows everything"
    return [*lines, *([""] if len(lines) > 3 else []), f"{said}{more}", f"digest {scenario.digest}"]


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one level: ``{"a": {"b": 1}}`` gives ``{"a.b": 1}``."""
    rows: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            rows |= flat(value, f"{prefix}{key}.")
        else:
            rows[f"{prefix}{key}"] = value
    return rows


def _privacy(privacy: "PrivacyConfig", devices: int) -> str:
    if not privacy.enabled:
        return "off"
    return f"epsilon at most {privacy.epsilon:g} with delta {privacy.delta_for(devices):.3g}"
