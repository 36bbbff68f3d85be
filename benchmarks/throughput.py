"""Training fleet: client trainings per second of the pool, beside a bare loop and Flower's runtime, in one run.

The work is the same everywhere: tacit-nano, rank 8 on the query and value projections, A frozen, four SGD steps of
8 x 32 tokens. Ours runs whole rounds (cohort, ledger, messages, guard, clip, sum, noise, checkpoint); the bare loop
only trains. A rate is that of the median round after a warm-up; a ratio is the median over repeats, each of which runs
all three one after the other.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bare_steps
import numpy as np
from figures import Figure, save, verdict

WORK = "4 SGD steps of 8 x 32 tokens, tacit-nano, rank 8 on q and v; 2 processes; population 2,000, cohort 50"
POPULATION, COHORT, ROUNDS, PROCESSES, REPEATS = 2000, 50, 6, 2, 5
SCENARIO = """
name = "throughput"
[data]
kind = "file"
path = {path!r}
task = "language"
partition = "iid"
quantity_sigma = 0.0
test_fraction = 0.01
[fleet]
devices = {population}
crash_rate = 0.0
[federation]
rounds = {rounds}
cohort = {cohort}
[adapter]
rank = 8
alpha = 16
targets = ["q_proj", "v_proj"]
[training]
optimizer = "sgd"
learning_rate = 0.1
batch_size = {batch}
max_steps = {steps}
max_length = {length}
[evaluation]
devices = 0
compare = []
[runtime]
engine = {engine!r}
workers = {processes}
"""


def write_texts(path: Path) -> None:
    """Texts of more than 32 tokens, 32 a device or more, so that every batch is 8 x 32 as in the bare loop."""
    from tacit_simulations.data.home.household import Household

    with path.open("w", encoding="utf-8") as file:
        for home in range(2 * POPULATION):
            said = Household(1, home).say(33 * 6)
            for start in range(0, len(said), 6):
                text = ". ".join(u.text for u in said[start : start + 6])
                file.write(json.dumps({"text": text}) + "\n")


def ours(folder: Path, engine: str) -> float:
    """Client trainings per second of a run's rounds, start of workers included once and left out by a warm-up round."""
    from tacit_simulations.progress import Silent
    from tacit_simulations.run import simulate
    from tacit_simulations.scenario import load_scenario

    texts = folder / "texts.jsonl"
    if not texts.exists():
        write_texts(texts)
    marks: list[float] = []

    class Watch(Silent):
        def step(self, note: str = "") -> None:
            marks.append(time.perf_counter())

    scenario = folder / f"{engine}.toml"
    scenario.write_text(
        SCENARIO.format(
            path=str(texts),
            population=POPULATION,
            rounds=ROUNDS,
            cohort=COHORT,
            batch=bare_steps.BATCH,
            steps=bare_steps.STEPS,
            length=bare_steps.LENGTH,
            engine=engine,
            processes=PROCESSES,
        )
    )
    out = folder / f"{engine}-{time.monotonic_ns()}"
    simulate(load_scenario(str(scenario)), out, False, Watch())
    return float(COHORT / np.median(np.diff(marks)))


def peer(name: str) -> float:
    """A peer in a process of its own, so that neither sees the other's threads."""
    call = {
        "bare": f"bare_steps.bare_rate({PROCESSES}, {COHORT}, {ROUNDS - 1})",
        "flower": f"bare_steps.flower_rate({POPULATION}, {COHORT}, {ROUNDS})",
    }[name]
    code = f"import bare_steps\nif __name__ == '__main__': print('rate', {call})"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "peer.py"
        script.write_text(f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{code}\n")
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    return float(next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("rate ")))


def main() -> None:
    figures: dict[str, list[float]] = {"bare": [], "pool": [], "flower": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(REPEATS):
            for name in ("bare", "pool", "flower"):
                figures[name].append(ours(Path(folder), name) if name == "pool" else peer(name))
            print(
                f"repeat {number + 1}: {', '.join(f'{n} {found[-1]:.1f}' for n, found in figures.items())}", flush=True
            )
    median = {name: float(np.median(values)) for name, values in figures.items()}
    of_bare, of_flower = (float(np.median(np.divide(figures["pool"], figures[n]))) for n in ("bare", "flower"))
    rows = [
        Figure(
            "pool engine, client trainings per second over the bare loop's",
            f"{of_bare:.2f} ({median['pool']:.1f} per second)",
            f"bare two-process loop: {median['bare']:.1f} per second",
            "at least 0.9",
            of_bare >= 0.9,
        ),
        Figure(
            "pool engine over Flower's simulation runtime",
            f"{of_flower:.2f}",
            f"Flower's runtime: {median['flower']:.1f} per second",
            "at least 1.5",
            of_flower >= 1.5,
        ),
    ]
    save("throughput", rows, {"work": WORK, "clients_per_second": figures, "median": median})
    sys.exit(verdict(rows))


if __name__ == "__main__":
    main()
