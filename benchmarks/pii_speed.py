"""Redaction: sentences a second on one core, delay of a prompt on all of them, memory, each beside what limits it.

Beside detection stands the bare graph of the recogniser, run by ONNX Runtime on the very arrays that detection made of
the same texts, and Presidio without a model. Repetitions of all of them alternate. Speeds are counted in seconds of the
processor, so that other processes cost no side anything; delays by the wall clock.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from figures import Figure, save, show, verdict
from pii_texts import prompts, sentences

from tacit_privacy.pii.detection.recogniser import Recogniser
from tacit_privacy.pii.detection.recogniser.model import CORES
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.pseudonyms import Conversation
from tacit_privacy.pii.redactor import Redactor
from tacit_simulations.evaluation.pii.detectors import detector
from tacit_simulations.evaluation.pii.peers import presidio

PER_SECOND, MEMORY_MB, P95_MS = 250, 500, 25
BATCH, TURN = 64, 10  # texts, and prompts, that each way has before the next one's turn
SHIPPED = Path(__file__).parents[1] / "privacy/tacit_privacy/pii/detection/recogniser/weights"
_PEAK = """
import json, re, sys
def told(**more):
    # VmHWM, since ru_maxrss of a process that was started by a large one is the large one's
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
    print(json.dumps({"peak_mb": peak, "torch": "torch" in sys.modules, **more}), file=sys.stderr)
"""
_WATCHED = """
from tacit_privacy.cli import main
told(code=main(["redact", "--jsonl", "--quiet"]))
"""
_PEER = """
from tacit_simulations.evaluation.pii.peers import presidio
engine = presidio()
for line in sys.stdin:
    engine.detect(json.loads(line)["text"])
told()
"""


class Recorder:
    """A session that keeps the arrays it is given."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.inputs: list[dict[str, Any]] = []

    def run(self, names: None, inputs: dict[str, Any]) -> Any:
        self.inputs.append(inputs)
        return self.session.run(names, inputs)


def bare(recogniser: Recogniser, batches: Sequence[Sequence[str]]) -> Callable[[int], None]:
    """Runs the graph alone on what the recogniser makes of batch ``number``."""
    recorded = []
    for texts in batches:
        recorder = Recorder(recogniser._session)
        Recogniser(recorder, recogniser._tokenizer).detect(texts)
        recorded.append(recorder.inputs)
    session = recogniser._session

    def run(number: int) -> None:
        for inputs in recorded[number]:
            session.run(None, inputs)

    return run


def ways(recogniser: Path, batches: list[list[str]]) -> dict[str, Callable[[int], Any]]:
    """What is compared: each takes the number of a batch."""
    policy = RedactionPolicy()
    found = detector(policy, recogniser)
    redactor, peer = Redactor(found, policy), presidio()
    key = os.urandom(32)
    return {
        "detection": lambda number: found.detect(batches[number]),
        "redaction": lambda number: redactor.redact_many(batches[number], Conversation("bench", key)),
        "bare graph": bare(Recogniser.open(recogniser), batches),
        "Presidio": lambda number: [peer.detect(text) for text in batches[number]],
    }


def speeds(recogniser: Path, count: int, repetitions: int) -> dict[str, list[float]]:
    """Texts a second of every way, once for each repetition; all ways take turns, batch by batch."""
    texts = sentences(count)
    batches = [texts[start : start + BATCH] for start in range(0, count, BATCH)]
    compared = ways(recogniser, batches)
    for run in compared.values():
        run(0)
    taken: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(repetitions):
        spent = dict.fromkeys(compared, 0.0)
        for number in range(len(batches)):
            for name, run in compared.items():
                begin = time.thread_time()
                run(number)
                spent[name] += time.thread_time() - begin
        for name, seconds in spent.items():
            taken[name].append(count / seconds)
    return taken


def delays(recogniser: Path, count: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a prompt of 100 words, alone."""
    singles = [[text] for text in prompts(count)]
    compared = ways(recogniser, singles)
    taken: dict[str, list[float]] = {name: [] for name in compared}
    os.environ[CORES] = str(os.cpu_count())
    for start in range(0, count, TURN):
        for name, run in compared.items():
            run(start)  # others had the caches meanwhile
            for number in range(start, min(count, start + TURN)):
                begin = time.perf_counter()
                run(number)
                taken[name].append((time.perf_counter() - begin) * 1e3)
    os.environ[CORES] = "1"
    return {name: {"p50": median(found), "p95": quantiles(found, n=20)[-1]} for name, found in taken.items()}


def memory(script: str, count: int) -> dict[str, Any]:
    """Peak of a process of its own that reads ``count`` sentences, and whether it loads torch."""
    rows = "".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(sentences(count)))
    done = subprocess.run(
        [sys.executable, "-c", _PEAK + script], input=rows, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    if found.pop("code", 0):
        raise SystemExit(f"tacit redact failed: {done.stderr[-500:]}")
    return found


def judge(found: dict[str, Any]) -> list[Figure]:
    rate = {name: median(values) for name, values in found["speeds"].items()}
    delay, own, peer = found["delays"], found["memory"], found["peer_memory"]

    def beside(name: str) -> str:
        graph = rate["bare graph"]
        return (
            f"the bare graph on the same arrays: {graph:.0f}, {rate[name] / graph:.2f} of it; "
            f"Presidio without a model: {rate['Presidio']:.0f}"
        )

    p95 = delay["detection"]["p95"]
    return [
        Figure(
            "detection with the recogniser, sentences a second on one core",
            f"{rate['detection']:.0f}",
            beside("detection"),
            f"at least {PER_SECOND}",
            rate["detection"] >= PER_SECOND,
        ),
        Figure(
            "whole redaction, sentences a second on one core",
            f"{rate['redaction']:.0f}",
            beside("redaction"),
            f"at least {PER_SECOND}",
            rate["redaction"] >= PER_SECOND,
        ),
        Figure(
            f"detection in a prompt of 100 words on {os.cpu_count()} cores, p95 (p50)",
            f"{p95:.1f} ms ({delay['detection']['p50']:.1f} ms)",
            f"the bare graph on one core: {delay['bare graph']['p95']:.1f} ms ({delay['bare graph']['p50']:.1f} ms); "
            f"Presidio without a model: {delay['Presidio']['p95']:.1f} ms",
            f"under {P95_MS} ms",
            p95 < P95_MS,
        ),
        Figure(
            "whole redaction of such a prompt, p95 (p50)",
            f"{delay['redaction']['p95']:.1f} ms ({delay['redaction']['p50']:.1f} ms)",
            f"detection alone: {p95:.1f} ms",
        ),
        Figure(
            f"memory of a tacit redact process, peak; {'with' if own['torch'] else 'without'} torch",
            f"{own['peak_mb']:.0f} MB",
            f"a process that runs Presidio without a model, {'with' if peer['torch'] else 'without'} torch: "
            f"{peer['peak_mb']:.0f} MB",
            f"under {MEMORY_MB} MB, no torch",
            own["peak_mb"] < MEMORY_MB and not own["torch"],
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few texts, one repetition; nothing is written")
    parser.add_argument("--recogniser", type=Path, default=SHIPPED, help="folder in place of the one that ships")
    options = parser.parse_args()
    count, repetitions, alone = (256, 1, 20) if options.quick else (2048, 7, 300)
    found: dict[str, Any] = {"delays": delays(options.recogniser, alone)}
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everything)})
    found["speeds"] = speeds(options.recogniser, count, repetitions)
    os.sched_setaffinity(0, everything)
    found |= {"memory": memory(_WATCHED, count), "peer_memory": memory(_PEER, min(count, 256))}
    rows = judge(found)
    if options.quick:
        show(rows)
        return 0
    save("pii_speed", rows, found | {"sentences": count, "batch": BATCH, "repetitions": repetitions})
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
