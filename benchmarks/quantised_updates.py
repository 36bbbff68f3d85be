"""Updates in 8 and 4 bits beside 32: what a device sends, what a run learns at the same epsilon, how far codes reach.

The scenario home-quick with five seeds, whole at each number of bits: the same homes, the same noise multiplier. Then
the first updates of 24 of its homes by themselves, coded at several reaches. `--quick`: one seed, and nothing saved.
"""

import argparse
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, told, verdict
from numpy.typing import NDArray

from tacit_clients.slm.adapters import AdaptedModel, build_spec
from tacit_clients.slm.models import load, single_thread
from tacit_clients.training.local import train
from tacit_privacy.adapters import initial_vector
from tacit_privacy.contract import LEVELS, Bits
from tacit_privacy.mechanisms.coding import Coding
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_privacy.randomness import stream
from tacit_server.store import Store
from tacit_simulations.data.sources import build_source
from tacit_simulations.progress import Silent
from tacit_simulations.run import simulate
from tacit_simulations.scenario import load_scenario

SEEDS = (1, 2, 3, 4, 5)
FEWER: tuple[Bits, ...] = (8, 4)
WANTED = {8: (0.25, 1.01), 4: (0.125, 1.03)}  # most bytes and most held-out loss, over those of 32 bits
SPANS = {8: (4, 8, 12, 16, 24), 4: (2, 3, 4, 5, 6)}
DEVICES = 24
OPTIMIZERS = {
    "SGD": ("training.optimizer=sgd", "training.learning_rate=1.0"),
    "AdamW": ("training.optimizer=adamw", "training.learning_rate=0.003"),
}
Runs = dict[Bits, list[dict[str, float]]]  # a run of each seed
F64 = NDArray[np.float64]


def run(bits: Bits, seed: int) -> dict[str, float]:
    """One private run: bytes of an update as the server counted them, and the scores on held-out examples."""
    sets = [f"federation.update_bits={bits}", f"seed={seed}"]
    sets += ["evaluation.compare=[]", "evaluation.devices=100", "evaluation.every=6"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        result = simulate(load_scenario("home-quick", sets), out, False, Silent())
        with Store(f"sqlite:///{out / 'state' / 'private.db'}") as store:
            records = store.rounds()
    scores, rounds = result["evaluation"], result["rounds"]
    return {
        "seed": seed,
        "update_bytes": sum(r["bytes_up"] for r in records) / sum(r["completed"] for r in records),
        "sent_bytes": sum(r["bytes_up"] for r in rounds),
        "loss": scores["federated_private"]["loss"],
        "metric": scores["federated_private"]["metric"],
        "loss_untrained": scores["federated_private"]["curve"][0]["loss"],
        "epsilon": result["privacy"]["epsilon"],
    }


def ratio(runs: Runs, bits: Bits, name: str) -> list[float]:
    """``name`` over the same at 32 bits, seed by seed."""
    return [few[name] / whole[name] for few, whole in zip(runs[bits], runs[32], strict=True)]


def learnt(runs: Runs) -> list[Figure]:
    """Bytes, loss and score at 8 and 4 bits beside 32."""
    return [row for bits in FEWER for row in (_traffic(runs, bits), _loss(runs, bits), _score(runs, bits))]


def _traffic(runs: Runs, bits: Bits) -> Figure:
    most, _ = WANTED[bits]
    found, sent = statistics.mean(ratio(runs, bits, "update_bytes")), statistics.mean(ratio(runs, bits, "sent_bytes"))
    return Figure(
        f"home-quick, {bits} bits: bytes of an update, of those at 32 bits",
        f"{found:.3f} ({runs[bits][0]['update_bytes']:,.0f} bytes)",
        f"32 bits: {runs[32][0]['update_bytes']:,.0f} bytes; of all that devices sent, receipts included, {sent:.2f}",
        f"at most {most:g}",
        found <= most,
    )


def _loss(runs: Runs, bits: Bits) -> Figure:
    _, most = WANTED[bits]
    found = ratio(runs, bits, "loss")
    whole, few = (statistics.mean(row["loss"] for row in runs[each]) for each in (32, bits))
    return Figure(
        f"home-quick, {bits} bits: held-out loss over that at 32 bits, epsilon {runs[bits][0]['epsilon']:.2f}",
        f"{statistics.mean(found):.3f} ({min(found):.3f} to {max(found):.3f}, {len(found)} seeds)",
        f"mean loss {few:.3f}; 32 bits {whole:.3f}, {_spread(runs[32], 'loss')}",
        f"at most {most:g}",
        statistics.mean(found) <= most,
    )


def _score(runs: Runs, bits: Bits) -> Figure:
    found = ratio(runs, bits, "metric")
    whole, few = (statistics.mean(row["metric"] for row in runs[each]) for each in (32, bits))
    return Figure(
        f"home-quick, {bits} bits: exact match over that at 32 bits",
        f"{statistics.mean(found):.3f} ({min(found):.3f} to {max(found):.3f})",
        f"mean {few:.3f}; 32 bits {whole:.3f}, {_spread(runs[32], 'metric')}",
    )


def _spread(rows: list[dict[str, float]], name: str) -> str:
    """How far seeds alone lie apart."""
    return f"by seed {min(row[name] for row in rows):.3f} to {max(row[name] for row in rows):.3f}"


def first_updates(optimizer: str) -> F64:
    """What the first devices of home-quick learn from the untouched adapter, (devices, d), each cut to norm 1."""
    scenario = load_scenario("home-quick", OPTIMIZERS[optimizer])
    source = build_source(scenario.data, scenario.seed, scenario.fleet.devices)
    model, chosen = load(scenario.model.name), scenario.adapter
    spec = build_spec(model, chosen.method, chosen.rank, chosen.alpha, chosen.seed, chosen.targets, len(source.labels))
    adapted, start = AdaptedModel(model, spec, labels=len(source.labels)), initial_vector(spec)

    def delta(device: int) -> F64:
        rng = stream(scenario.seed, "first update", device)
        examples = source.device(device).train
        found = train(adapted, examples, source.task, start, spec.rank, scenario.training, rng).delta.astype(np.float64)
        return found / float(np.linalg.norm(found))

    updates = np.stack([delta(device) for device in range(DEVICES)])
    adapted.remove()
    return updates


def coded(updates: F64, bits: Bits, span: float) -> tuple[float, float]:
    """What codes that reach ``span`` times clip / sqrt(d) make of updates (n, d) of the length of the clip.

    The share of their mean that is kept along its own direction, and the error of one update over the clip.
    """
    most, length = 2 ** (bits - 1) - 1, updates.shape[1]
    coding = Coding(bits, math.ceil(span * LEVELS / (most * math.sqrt(length))), LEVELS)
    none = np.zeros(0, dtype=np.int32)
    sent = [coding.encode(one, 1.0, none, SeededNoise(1, number)) for number, one in enumerate(updates)]
    found = np.stack([coding.decode(vector, length, 0) for vector in sent]).astype(np.float64) / LEVELS
    mean = updates.mean(axis=0)
    kept = float(found.mean(axis=0) @ mean / (mean @ mean))
    return kept, float(np.mean(np.linalg.norm(found - updates, axis=1)))


def reaches() -> tuple[list[Figure], dict[str, Any]]:
    """How much of the mean of real updates is kept at each reach: the choice in ``Coding.of``."""
    rows: list[Figure] = []
    details: dict[str, Any] = {}
    for optimizer in OPTIMIZERS:
        updates = first_updates(optimizer)
        for bits in FEWER:
            found = {span: coded(updates, bits, span) for span in SPANS[bits]}
            details[f"{optimizer} {bits}"] = {str(span): list(pair) for span, pair in found.items()}
            rows.append(_reach(optimizer, bits, found))
    return rows, details


def _reach(optimizer: str, bits: Bits, found: dict[int, tuple[float, float]]) -> Figure:
    chosen = {8: 12, 4: 4}[bits]
    kept, error = found[chosen]
    others = ", ".join(f"{span}: {pair[0]:.3f}" for span, pair in found.items() if span != chosen)
    return Figure(
        f"{bits} bits, updates of {optimizer}: share kept of the mean of {DEVICES}, codes reaching {chosen} "
        "coordinates of an even update",
        f"{kept:.3f} (one update is off by {error:.2f} clips)",
        f"at other reaches, {others}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, nothing saved")
    quick: bool = parser.parse_args().quick
    single_thread()
    reached, kept = reaches()
    widths: tuple[Bits, ...] = (32, *FEWER)
    runs: Runs = {bits: [run(bits, seed) for seed in (SEEDS[:1] if quick else SEEDS)] for bits in widths}
    details = {"runs": {str(bits): rows for bits, rows in runs.items()}, "reaches": kept}
    sys.exit(verdict(told("quantised_updates", [*learnt(runs), *reached], details, quick)))


if __name__ == "__main__":
    main()
