"""Configuration and versions: what somebody needs to run it again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tacit_simulations.report.document import Exhibit, Section, Table, table_of
from tacit_simulations.report.figures import NOTHING, count, duration, trimmed
from tacit_simulations.report.reading import Run


def setup(run: Run) -> Section:
    """The run, every setting by its dotted name (as ``--set`` takes it), every version."""
    exhibits = [Exhibit("The run", "", (), Table("The run", ("what", "value"), _run_rows(run), frozenset({1})))]
    settings = list(flattened(run.config))
    if settings:
        table = table_of("Every setting", ("setting", "value"), settings, wordy=(1,))
        takeaway = "Each name is what --set takes: --set name=value."
        exhibits.append(Exhibit("Every setting", takeaway, (), table))
    versions = list(flattened(run.versions))
    if versions:
        exhibits.append(Exhibit("Versions", "", (), table_of("Versions", ("package", "version"), versions, wordy=(1,))))
    return Section("setup", "Configuration and versions", _again(run), tuple(exhibits))


def _again(run: Run) -> str:
    if run.seed is None:
        return "No seed was given, so the run cannot be repeated draw for draw."
    return f"The same settings and seed {run.seed} give the same result, whatever the engine or the number of workers."


def _run_rows(run: Run) -> tuple[tuple[str, str], ...]:
    pairs = (
        ("scenario", run.scenario),
        ("seed", NOTHING if run.seed is None else str(run.seed)),
        ("devices", count(run.devices)),
        ("rounds", count(len(run.rounds))),
        ("wall time", duration(run.wall_seconds)),
        ("client trainings a second", trimmed(run.trainings_per_second)),
    )
    return tuple(pair for pair in pairs if pair[1] != NOTHING)


def flattened(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``{"a": {"b": 1}}`` as ``("a.b", "1")``, in the order given."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{name}.")
        else:
            yield name, _said(value)


def _said(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, Mapping):
        return "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_said(item) for item in value) or "none"
    return str(value)
