"""What `tacit bench modes` compares, where it writes it and how people see it."""

import asyncio
import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tacit_clients.egress.settings import UpstreamSettings
from tacit_clients.gateway.settings import GatewaySettings
from tacit_clients.slm.generation import LocalModel
from tacit_clients.slm.places import NANO
from tacit_privacy.errors import BadInput, EngineFailed
from tacit_privacy.files import write_whole
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_simulations import pair
from tacit_simulations.evaluation.modes import profiles, tasks
from tacit_simulations.evaluation.modes.asking import Asking
from tacit_simulations.evaluation.modes.baselines import ALWAYS_RAW, ALWAYS_REDACTED
from tacit_simulations.evaluation.modes.llm_server import Endpoint, serving
from tacit_simulations.evaluation.modes.pareto import label
from tacit_simulations.evaluation.modes.reaching import reach
from tacit_simulations.evaluation.modes.rows import HERE, Prices
from tacit_simulations.evaluation.modes.run import Plan, evaluate
from tacit_simulations.evaluation.modes.sweeps import SWEEPS, Sweep
from tacit_simulations.evaluation.speed import machine
from tacit_simulations.report.comparison import comparison_report

_LOCAL_THREADS = 2
_NOT_BY_SET = {  # sections where secrets are: what --set says is told with the result
    "upstream": "the large model is --upstream and --model, its key TACIT_UPSTREAM_KEY",
    "server": "nothing listens while modes are compared",
    "keeping": "nothing is kept while modes are compared",
}
_OF_THE_WAY = {f"upstream.{name}" for name in UpstreamSettings.model_fields} - {
    *("upstream.url", "upstream.model", "upstream.key")
}


@dataclass(frozen=True)
class Models:
    """Which pair. All None: the repository's own, where it is."""

    upstream: str | None = None
    model: str | None = None
    llm: str | None = None
    slm: str | None = None
    adapter: Path | None = None

    @property
    def small(self) -> str:
        if self.slm is not None:
            return self.slm
        return NANO if pair.SMALL is None else str(pair.SMALL)

    @property
    def names_large(self) -> bool:
        return (self.upstream, self.model, self.llm) != (None, None, None)

    def remote(self) -> Endpoint | None:
        """Somebody's endpoint; None where a model of one's own is to be served. Raises BadInput for half of both."""
        if self.upstream is None and self.model is None:
            return None
        if self.upstream is None or self.model is None or self.llm is not None:
            raise BadInput("a large model is --upstream URL with --model ID, or --llm MODEL alone")
        return Endpoint(self.upstream, self.model, self.model)

    def upstream_settings(self, large: Endpoint) -> dict[str, Any]:
        """The gateway's, with the key of the environment for somebody else's endpoint."""
        key = os.environ.get("TACIT_UPSTREAM_KEY") or None
        found = {"upstream.url": large.url, "upstream.model": large.model}
        return found | ({"upstream.key": key} if self.upstream is not None else {})


@dataclass(frozen=True)
class Choices:
    """What was typed beside the models."""

    data: Path
    modes: str | None
    sweep: bool
    changes: Sequence[str]
    policy: Path | None
    limit: int | None
    asking: Asking
    prices: Prices
    remote: profiles.Remote
    places: Sequence[str]
    traces: Path | None
    outage_questions: int
    out: Path | None
    sweeps: Mapping[str, Sweep] = field(default_factory=lambda: SWEEPS)
    start: Sequence[float] | None = None  # gaps are measured from it, where the adapter was taught the task


def compare(models: Models, choices: Choices) -> dict[str, Any]:
    """The document of ``--json``; with ``out`` the folder's files too. Raises BadInput, mostly before any work."""
    rows = tasks.read(choices.data, choices.limit)
    places = [profiles.place(name) for name in choices.places or profiles.DEFAULTS]
    policy, changes = RedactionPolicy.load(choices.policy), assignments(choices.changes)
    parameters = profiles.parameters_of(models.small)
    local = LocalModel.open(
        models.small, models.adapter, max_concurrent=_LOCAL_THREADS, longest=choices.asking.max_tokens
    )
    local.check()
    with folder(choices.out), endpoint(models, choices.asking.max_tokens) as large:
        base = models.upstream_settings(large) | {"local.max_tokens": choices.asking.max_tokens}
        plan = Plan(
            dataset=choices.data.stem,
            tasks=rows,
            settings=GatewaySettings.read(None, base | changes),
            change=lambda more: GatewaySettings.read(None, base | changes | dict(more)),
            policy=policy,
            local=local,
            parameters=parameters,
            places=places,
            modes=None if choices.modes is None else [name.strip() for name in choices.modes.split(",")],
            sweep=choices.sweep,
            sweeps=choices.sweeps,
            asking=choices.asking,
            prices=choices.prices,
            remote=choices.remote,
            traces=choices.traces,
            outage_questions=choices.outage_questions,
            start=choices.start,
        )
        if models.remote() is not None:  # one of our own has answered already
            asyncio.run(reach(plan.settings.upstream, choices.asking))
        found = asyncio.run(_evaluated(plan, local))
        told = {
            "dataset": found["dataset"],
            "n": found["n"],
            "models": {
                "slm": shown(models.small),
                "adapter": None if models.adapter is None else models.adapter.name,
                "slm_parameters": parameters,
                "llm": shown(large.name),
            },
            "settings": _stated(choices),
            "machine": machine(),
            "rows": found["rows"],
            "baselines": found["baselines"],
            "pareto": found["pareto"],
        }
        if choices.out is not None:
            _write(choices.out, told)
    return told


async def _evaluated(plan: Plan, local: LocalModel) -> dict[str, Any]:
    async with local:
        await local.ready()
        return await evaluate(plan, lambda line: print(line, file=sys.stderr, flush=True))


def _stated(choices: Choices) -> dict[str, Any]:
    """What figures rest on beside the models."""
    return {
        "seed": choices.asking.seed,
        "max_tokens": choices.asking.max_tokens,
        "price_in": choices.prices.into,
        "price_out": choices.prices.out,
        "llm_tokens_per_s": choices.remote.tokens_per_s,
        "policy": "default" if choices.policy is None else choices.policy.name,
        "changes": list(choices.changes),
        "traces": None if choices.traces is None else choices.traces.name,
    }


def shown(model: str) -> str:
    """A model's name without the folders above it, which are nobody's business."""
    return Path(model).name if model.startswith(("/", ".", "~")) else model


def assignments(words: Sequence[str]) -> dict[str, Any]:
    """``auto.probe_tokens=8`` as a change of the settings; values are TOML, else text. Raises BadInput."""
    changes: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise BadInput(f"--set {name} is no setting; write it like --set auto.probe_tokens=8")
        section = name.partition(".")[0]
        if section in _NOT_BY_SET and name not in _OF_THE_WAY:
            raise BadInput(f"--set {name} is not for a comparison: {_NOT_BY_SET[section]}")
        try:
            changes[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changes[name] = value
    return changes


@contextmanager
def endpoint(models: Models, max_tokens: int) -> Iterator[Endpoint]:
    """The large model: somebody's endpoint, or one of our own that runs while the block does. Raises BadInput."""
    remote = models.remote()
    if remote is not None:
        yield remote
        return
    own = models.llm or pair.LARGE
    if own is None:
        raise BadInput("no large model to ask: give --upstream URL and --model ID, or --llm FOLDER of a causal model")
    with serving(str(own), max_tokens) as large:
        yield large


@contextmanager
def folder(out: Path | None) -> Iterator[None]:
    """An empty folder for the results; one that was made here is gone again after an error. Raises BadInput."""
    if out is None:
        yield
        return
    made = not out.exists()
    if not made and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} is not an empty folder; choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write to {out}: {error.strerror}; choose another --out") from error
    try:
        yield
    except BaseException:
        if made and not any(out.iterdir()):
            out.rmdir()
        raise


def _write(out: Path, told: Mapping[str, Any]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in told["rows"])
    write_whole(out / "rows.jsonl", lines)
    write_whole(out / "result.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    write_whole(out / "report.html", comparison_report(told))


def check_measured(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raises EngineFailed where always asking the large model, redacted or raw, brought no answer at all."""
    silent = [
        row["baseline"] for row in rows if row["baseline"] in (ALWAYS_REDACTED, ALWAYS_RAW) and row["failed"] == 1
    ]
    if silent:
        raise EngineFailed(
            f"{' and '.join(dict.fromkeys(silent))} failed on every question, so no figure of the large model was "
            "measured; see that its endpoint answers, then measure again"
        )


# --- for people


def show(told: Mapping[str, Any], out: Path | None) -> None:
    """The best run of each mode and each baseline, as measured here; of equal ones the cheapest."""
    models = told["models"]
    table = Table(
        title=f"{told['dataset']}: {told['n']:,} questions",
        caption=f"{models['slm']} and {models['llm']}; asked: the large model was.\n"
        "leak: units found in what left; words: of the prompt, that left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    best: dict[str, Mapping[str, Any]] = {}
    for row in told["rows"]:
        name = row["baseline"] or row["mode"]
        if row["device_profile"] == HERE and (name not in best or _worth(row) > _worth(best[name])):
            best[name] = row
    failed = ("failed",) if any(row["failed"] for row in best.values()) else ()
    for index, column in enumerate(("", "right", "95 %", "asked", "tokens", "leak", "words", "p50", *failed)):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in best.values():
        table.add_row(*_line(row), *(f"{100 * row[name]:.1f}%" for name in failed))
    console = Console()
    console.print(table)
    if out is not None:
        console.print(f"To read: {out / 'report.html'}. Every figure: {out / 'rows.jsonl'}", highlight=False)


def _worth(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["quality"], -row["llm_tokens"]


def _line(row: Mapping[str, Any]) -> list[str]:
    leak = "" if row["strict_leakage"] is None else f"{row['strict_leakage']:.3f}"
    return [
        label(row),
        f"{100 * row['quality']:.1f}%",
        f"{100 * row['quality_low']:.0f}-{100 * row['quality_high']:.0f}",
        f"{100 * row['escalation_rate']:.0f}%",
        f"{row['llm_tokens']:.1f}",
        leak,
        f"{100 * row['exposed_words']:.0f}%",
        milliseconds(row["latency_ms_p50"]),
    ]


def milliseconds(value: float | None) -> str:
    return "none" if value is None else f"{value:,.0f} ms"
