"""How long people wait: the default local model here, and every mode on emulated devices over recorded links.

The modes want the pair of the repository (``simulations/pair``) and, for recorded links, TACIT_DATA. Measure on an idle
machine. ``--quick`` is for trying it out and writes nothing.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from figures import Figure, save, show, verdict
from modes import FIXED, ROUTED, here, router, written
from modes import choices as mode_choices

from tacit_clients.slm.places import NANO, NANO_FOLDER
from tacit_simulations.commands import _bench_latency
from tacit_simulations.commands._bench_modes import Models, compare
from tacit_simulations.data.errands import frozen
from tacit_simulations.evaluation.modes import profiles
from tacit_simulations.evaluation.modes.rows import HERE
from tacit_simulations.pair import LARGE, SMALL

ANSWER: Final = 16  # tokens
PRICE: Final = "modes.routing.token_price=0.004"  # 57 % of the gap for 34 % of the tokens, on all frozen errands
FIRST_MS: Final = 100.0  # p95 to the first text of a local answer
DECISION_MS: Final = 5.0  # p50 of the predictor
LLM_RATE: Final = 60.0  # tokens a second of the emulated large model, after 0.3 s: a hosted model's order of magnitude
PLACES: Final = (
    "phone-sd730@cellular-4g",
    "phone-sd425@cellular-3g",
    "laptop-mainstream@wifi-fibre",
    "pi-5-8gb@wifi-dsl",
)
DEVICE: Final = ("device_ttft_ms_p50", "device_latency_ms_p50", "device_latency_ms_p95", "energy_j")
_MODES: Final = ("local", "pipeline", "routing", "auxiliary", "distillation", "fusion", "llm")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few questions; nothing is written")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        file = None if LARGE is None or SMALL is None else router(Path(folder), quick)
        requests = 10 if quick else 200
        long = local(str(unending(Path(folder))), None, requests)
        found: dict[str, Any] = {"local": local(NANO, file, requests), "unending": long["local"]}
        figures = about_local(found["local"], found["unending"])
        if file is None:
            print("modes left out: the live pair is not here (simulations/pair); tacit models train makes it")
        else:
            found["modes"] = modes(Path(folder), file, quick)
            figures += about_modes(found["modes"]["emulated"])
    if quick:
        show(figures)
    else:
        save("latency", figures, found)
    return verdict(figures)


def local(model: str, predictor: Path | None, requests: int) -> dict[str, Any]:
    """Prompts of 64 tokens, answers of at most 16."""
    chosen = _bench_latency.Choices(64, ANSWER, requests, 0, predictor, (), None)
    return _bench_latency.measure(Models(slm=model), chosen)


def unending(folder: Path) -> Path:
    """A copy of the default model that takes no token for an answer's end, so that it writes as many as it may.

    The model itself ends its answers to these prompts after about four tokens. Weights and work per token are the same.
    """
    place = folder / "unending"
    shutil.copytree(NANO_FOLDER, place)
    for name, change in (
        ("config.json", {"eos_token_id": 0}),
        ("generation_config.json", {"eos_token_id": 0}),
        ("tokenizer_config.json", {"eos_token": "<pad>"}),
    ):
        file = place / name
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    return place


def about_local(found: Mapping[str, Any], long: Mapping[str, Any]) -> list[Figure]:
    """``long``: of the model whose answers do not end early."""
    direct, served = found["local"]["direct"], found["local"]["gateway"]
    first, checked = served["ttft_ms"], found["verification"]
    full, alone = (long[way]["whole_ms"] for way in ("gateway", "direct"))
    figures = [
        Figure(
            f"first text of tacit-nano's answer through the gateway, prompts of {found['local']['prompt_tokens']:.0f} "
            "tokens, p95",
            f"{first['p95']:.1f} ms (p50 {first['p50']:.1f})",
            f"the model by itself {direct['ttft_ms']['p95']:.1f} (p50 {direct['ttft_ms']['p50']:.1f})",
            f"under {FIRST_MS:.0f} ms",
            bool(first["p95"] < FIRST_MS),
        ),
        Figure(
            f"whole answer of {served['answer_tokens']:.0f} tokens through the gateway, p95",
            f"{served['whole_ms']['p95']:.1f} ms (p50 {served['whole_ms']['p50']:.1f})",
            f"the model by itself {direct['whole_ms']['p95']:.1f} (p50 {direct['whole_ms']['p50']:.1f})",
        ),
        Figure(
            f"whole answer of {long['gateway']['answer_tokens']:.0f} tokens through the gateway, p95 (the same model "
            "kept from ending earlier)",
            f"{full['p95']:.1f} ms (p50 {full['p50']:.1f})",
            f"the model by itself {alone['p95']:.1f} (p50 {alone['p50']:.1f})",
        ),
        Figure(
            "checking a local answer by one question about it, p50",
            f"{checked['question_ms']['p50']:.1f} ms",
            f"by {checked['consistency_ms']['samples']} further answers {checked['consistency_ms']['p50']:.1f} ms",
        ),
    ]
    if found["predictor"] is not None:
        decision = found["predictor"]["decision_ms"]
        figures.append(
            Figure(
                "a decision of the router, p50",
                f"{decision['p50']:.2f} ms (p95 {decision['p95']:.2f})",
                f"first text of a local answer {first['p50']:.1f} ms",
                f"under {DECISION_MS:.0f} ms",
                bool(decision["p50"] < DECISION_MS),
            )
        )
    return figures


def modes(folder: Path, predictor: Path, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Every mode with its settings as they are, on frozen errands: here and on devices."""
    data = written(folder / "errands.jsonl", frozen.rows()[: 10 if quick else 200])
    traces = Path(os.environ.get("TACIT_DATA", "")) / "bandwidth_traces"
    chosen = replace(
        mode_choices(data, [*FIXED, *ROUTED, PRICE, f"modes.routing.predictor={predictor}"], None, outage=0),
        sweep=False,
        places=PLACES,
        traces=traces if traces.is_dir() else None,
        remote=profiles.Remote(LLM_RATE),
    )
    told = compare(Models(), chosen)
    names = ("mode", "baseline", "device_profile", "link", "questions", "quality", "escalation_rate", *DEVICE)
    at = [{name: row[name] for name in names} for row in told["rows"] if row["device_profile"] != HERE]
    found = {"emulated": at, "here": here(told)}
    return {name: [row for row in rows if row["baseline"] not in ("random", "length")] for name, rows in found.items()}


def about_modes(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """A row for each mode and device; the large model alone beside it."""
    figures = []
    for place in PLACES:
        device, _, link = place.partition("@")
        there = {
            row["mode"]: row
            for row in rows
            if row["device_profile"] == device and row["link"] == link and row["baseline"] != "always-llm-raw"
        }
        beside = there["llm"]
        for name in _MODES:
            row = there[name]
            figures.append(
                Figure(
                    f"{name} on a simulated {device} by {link}: whole answer, p50",
                    f"{row['device_latency_ms_p50']:,.0f} ms (p95 {row['device_latency_ms_p95']:,.0f}, first text "
                    f"{row['device_ttft_ms_p50']:,.0f}), {row['energy_j']:.3f} J",
                    f"always the large model {beside['device_latency_ms_p50']:,.0f} ms, {beside['energy_j']:.3f} J",
                )
            )
    return figures


if __name__ == "__main__":
    sys.exit(main())
