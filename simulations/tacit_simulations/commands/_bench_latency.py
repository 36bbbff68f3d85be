"""What `tacit bench latency` times and how people see it."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tacit_clients.gateway.settings import GatewaySettings
from tacit_clients.slm.generation import LocalModel
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_simulations.commands._bench_modes import Models, endpoint, milliseconds, shown
from tacit_simulations.evaluation.modes import latency, profiles
from tacit_simulations.evaluation.modes.asking import Asking
from tacit_simulations.evaluation.modes.llm_server import Endpoint
from tacit_simulations.evaluation.modes.reaching import reach
from tacit_simulations.evaluation.modes.run import Plan, evaluate
from tacit_simulations.evaluation.modes.tasks import Task
from tacit_simulations.evaluation.speed import machine

_KEPT = ("mode", "baseline", "device_profile", "link", "emulated", "failed")
_TIMES = ("ttft_ms_p50", "ttft_ms_p95", "latency_ms_p50", "latency_ms_p95")


@dataclass(frozen=True)
class Choices:
    """What was typed beside the models."""

    prompt_tokens: int
    answer_tokens: int
    requests: int
    seed: int
    predictor: Path | None
    places: Sequence[str]
    llm_rate: float | None
    traces: Path | None = None


def measure(models: Models, choices: Choices) -> dict[str, Any]:
    """The document of ``--json``. Raises BadInput, before anything is timed where it can."""
    remote = models.remote()
    places = [profiles.place(name) for name in choices.places or profiles.DEFAULTS]
    profiles.network_of(choices.traces, choices.seed)  # a folder without traces is told at once
    local = LocalModel.open(models.small, models.adapter, longest=choices.answer_tokens)
    local.check()
    if remote is not None:
        asyncio.run(reach(_settings(models, choices, remote).upstream, _asking(choices)))
    return asyncio.run(_measured(models, choices, places, local))


async def _measured(
    models: Models, choices: Choices, places: Sequence[profiles.Place], local: LocalModel
) -> dict[str, Any]:
    async with local:
        await local.ready()
        count = choices.requests + latency.WARM_UP
        texts = await latency.made_up_prompts(local, choices.prompt_tokens, count, choices.seed)
        predicted = None if choices.predictor is None else latency.measure_predictor(choices.predictor, texts)
        _tell("the local model, by itself and through the gateway")
        alone = await latency.measure_local(local, texts, choices.answer_tokens)
        _tell("its answers checked by itself")
        checked = await latency.measure_verification(local, texts, choices.answer_tokens)
        modes = await _modes(models, choices, places, local, texts)
        return {
            "machine": machine(),
            "model": shown(models.small),
            "local": alone,
            "predictor": predicted,
            "verification": checked,
            "modes": modes,
        }


async def _modes(
    models: Models, choices: Choices, places: Sequence[profiles.Place], local: LocalModel, texts: Sequence[str]
) -> list[dict[str, Any]] | None:
    """Every mode here and on the devices, where a large model was given; else None."""
    if not models.names_large:
        return None
    with endpoint(models, choices.answer_tokens) as large:
        return await _ended(models, choices, places, local, texts, large)


async def _ended(
    models: Models,
    choices: Choices,
    places: Sequence[profiles.Place],
    local: LocalModel,
    texts: Sequence[str],
    large: Endpoint,
) -> list[dict[str, Any]]:
    plan = Plan(
        dataset="latency",
        tasks=[Task(str(number), text, ("",)) for number, text in enumerate(texts[latency.WARM_UP :])],
        settings=_settings(models, choices, large),
        change=lambda more: _settings(models, choices, large, more),
        policy=RedactionPolicy.load(None),
        local=local,
        parameters=profiles.parameters_of(models.small),
        places=places,
        sweep=False,
        asking=_asking(choices),
        remote=profiles.Remote(choices.llm_rate),
        traces=choices.traces,
        outage_questions=0,
    )
    found = await evaluate(plan, _tell)
    return [_timed(row) for row in found["rows"] if row["knob"] is None]


def _settings(
    models: Models, choices: Choices, large: Endpoint, more: Mapping[str, Any] = MappingProxyType({})
) -> GatewaySettings:
    limit = {"local.max_tokens": choices.answer_tokens}
    return GatewaySettings.read(None, models.upstream_settings(large) | limit | dict(more))


def _asking(choices: Choices) -> Asking:
    return Asking(choices.answer_tokens, seed=choices.seed)


def _timed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's times, on its device, and the share of questions that brought none."""
    prefix = "device_" if row["emulated"] else ""
    return {name: row[name] for name in _KEPT} | {name: row[prefix + name] for name in _TIMES}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# --- for people


def show(found: Mapping[str, Any]) -> None:
    """One table of the local model, and one of the modes where there is a large model."""
    console, local = Console(), found["local"]
    where = f"{found['machine']['processor']}, {found['machine']['cores']} cores; {local['requests']} requests"
    table = _table(f"{found['model']}: prompts of {local['prompt_tokens']:.0f} tokens", ("", "p50", "p95"), where)
    for name, part in (("by itself", local["direct"]), ("through the gateway", local["gateway"])):
        table.add_row(f"first text, {name}", *_pair(part["ttft_ms"]))
        table.add_row(f"whole answer, {name}", *_pair(part["whole_ms"]))
    if local["direct"]["tokens_per_s"] is not None:
        table.add_row("tokens a second", f"{local['direct']['tokens_per_s']:,.0f}", "")
    table.add_row("check by one question", *_pair(found["verification"]["question_ms"]))
    again = found["verification"]["consistency_ms"]
    table.add_row(f"check by {again['samples']} more answers", *_pair(again))
    if found["predictor"] is not None:
        table.add_row("decision of the router", *_pair(found["predictor"]["decision_ms"]))
    console.print(table)
    if found["modes"] is not None:
        console.print(_of_modes(found["modes"]))


def _of_modes(rows: Sequence[Mapping[str, Any]]) -> Table:
    failed = ("failed",) if any(row["failed"] for row in rows) else ()
    columns = ("", "where", "first", "whole", "95 %", *failed)
    table = _table("Modes", columns, "Medians, and 95 % within. Devices are emulated.")
    for row in rows:
        where = "here" if not row["emulated"] else f"{row['device_profile']}@{row['link']}"
        times = (milliseconds(row[name]) for name in ("ttft_ms_p50", "latency_ms_p50", "latency_ms_p95"))
        shares = (f"{100 * row[name]:.1f}%" for name in failed)
        table.add_row((row["baseline"] or row["mode"]).removeprefix("always-"), where, *times, *shares)
    return table


def _table(title: str, columns: Sequence[str], caption: str) -> Table:
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 or column == "where" else "right", no_wrap=True)
    return table


def _pair(spread: Mapping[str, float]) -> tuple[str, str]:
    return f"{spread['p50']:,.2f} ms", f"{spread['p95']:,.2f} ms"
