"""A router that a simulated fleet trains under device-level privacy, on RouteLLM's recorded grades of MMLU.

Reads TACIT_DATA. ``--quick`` is for trying it out and writes nothing.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy starts its threads

import numpy as np
from figures import Figure, save, show, verdict
from routing import examples

from tacit_simulations.evaluation.recorded.pairs import routellm_mmlu
from tacit_simulations.evaluation.routing.federation import FederatedRouter, study

EACH, PUBLIC = 8, 500  # judged prompts of a device; prompts without answers that anybody may know
EPSILONS = (8.0, 2.0)
SEEDS = (0, 1, 2)  # of devices, cohorts and noise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed and one epsilon; nothing is written")
    quick = parser.parse_args().quick
    folder = Path(os.environ.get("TACIT_DATA", "")) / "routellm_mmlu"
    if not folder.is_dir():
        print("left out: routellm_mmlu is not in TACIT_DATA")
        return 0
    rows = examples(routellm_mmlu(folder), None, np.random.default_rng(0))
    found = {
        epsilon: [measured(rows, FederatedRouter(epsilon), seed) for seed in (SEEDS[:1] if quick else SEEDS)]
        for epsilon in (EPSILONS[:1] if quick else EPSILONS)
    }
    figures = [figure(epsilon, studies) for epsilon, studies in found.items()]
    if quick:
        show(figures)
    else:
        save("federated_router", figures, {f"epsilon {epsilon:g}": studies for epsilon, studies in found.items()})
    return verdict(figures)


def measured(rows: list[Any], settings: FederatedRouter, seed: int) -> dict[str, Any]:
    """A fifth of the prompts is no device's; of the rest some are public."""
    order = np.random.default_rng(seed).permutation(len(rows))
    test, rest = order[: len(rows) // 5], order[len(rows) // 5 :]
    public = [rows[index].prompt for index in rest[:PUBLIC]]
    theirs = [rows[index] for index in rest[PUBLIC:]]
    return study(theirs, [rows[index] for index in test], public, EACH, replace(settings, seed=seed))


def figure(epsilon: float, studies: list[dict[str, Any]]) -> Figure:
    def mean(name: str) -> float:
        return float(np.mean([each[name] for each in studies]))

    first = studies[0]
    return Figure(
        f"a router trained by {first['devices']:,} simulated devices with {EACH} prompts each, epsilon {epsilon:g}, "
        f"delta {first['delta']:g}: APGR on prompts that none has",
        f"{mean('private'):.3f}",
        f"without noise {mean('without_noise'):.3f}, all prompts in one place {mean('pooled'):.3f}, a device alone "
        f"{mean('alone'):.3f}",
        "above a device alone",
        bool(min(each["private"] - each["alone"] for each in studies) > 0),
    )


if __name__ == "__main__":
    sys.exit(main())
