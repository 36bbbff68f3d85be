"""Memory over a million redactions of texts whose words are always new, beside Presidio's over fewer.

Presidio and spaCy keep every word they have ever seen, so a process that serves for months grows. Here resident memory
is sampled as texts pass, and a line is fitted to what follows the warm-up. The run can be stopped and goes on where it
was; each start is a process of its own and has a line of its own.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
from figures import Figure, save, show, verdict
from pii_texts import endless

from tacit_privacy.files import write_whole

TEXTS, PEER_TEXTS, QUICK = 1_000_000, 100_000, 4_000
BATCH, WARM_SHARE, SAMPLES = 32, 0.2, 200
SHORT = 20_000  # texts of one start over which caches and allocators settle: no line is fitted to fewer
FLAT_MB = 20.0  # a million texts with six new words each: what is kept of a word would be hundreds of times this
STATE = Path(__file__).parents[1] / "runs" / "pii_memory.json"


def redact_for_ever(recogniser: Path | None) -> Any:
    """Takes a batch of texts and redacts it in a conversation of its own."""
    from tacit_privacy.pii.policy import RedactionPolicy
    from tacit_privacy.pii.pseudonyms import Conversation
    from tacit_privacy.pii.redactor import Redactor
    from tacit_simulations.evaluation.pii.detectors import detector

    policy = RedactionPolicy()
    redactor = Redactor(detector(policy, recogniser), policy)
    return lambda texts: redactor.redact_many(texts, Conversation("bench", os.urandom(32)))


def analyse_for_ever(recogniser: Path | None) -> Any:
    """The same with Presidio without a model."""
    from tacit_simulations.evaluation.pii.peers import presidio

    peer = presidio()
    return lambda texts: [peer.detect(text) for text in texts]


SUBJECTS = {"tacit": redact_for_ever, "Presidio": analyse_for_ever}


def run(subject: str, wanted: int, recogniser: Path | None, state: Path) -> None:
    """Pass texts until ``wanted`` have passed since the state began; the state is written at every sample."""
    segments: list[dict[str, Any]] = json.loads(state.read_text()) if state.exists() else []
    done = segments[-1]["done"] if segments else 0
    if done >= wanted:
        return
    passing, process = SUBJECTS[subject](recogniser), psutil.Process()
    texts = endless(done)
    segment: dict[str, Any] = {"start": done, "done": done, "seconds": 0.0, "samples": []}
    segments.append(segment)
    begin, every = time.monotonic(), max(BATCH, wanted // SAMPLES)
    while done < wanted:
        before = done
        passing(list(islice(texts, BATCH)))
        done += BATCH
        if done // every != before // every or done >= wanted:
            gc.collect()
            segment["samples"].append([done, process.memory_info().rss])
            segment |= {"done": done, "seconds": time.monotonic() - begin}
            state.parent.mkdir(parents=True, exist_ok=True)
            write_whole(state, json.dumps(segments))


def slope(segments: list[dict[str, Any]]) -> float | None:
    """Megabytes a million texts: the mean of all starts' lines, weighed by their length; None where all are short."""
    lines = []
    for segment in segments:
        warm = segment["start"] + WARM_SHARE * (segment["done"] - segment["start"])
        points = np.array([sample for sample in segment["samples"] if sample[0] >= warm], dtype=np.float64)
        if len(points) >= 8 and segment["done"] - segment["start"] >= SHORT:
            lines.append((np.polyfit(points[:, 0], points[:, 1], 1)[0], len(points)))
    return float(np.average([line for line, _ in lines], weights=[n for _, n in lines])) if lines else None


def measure(subject: str, wanted: int, options: argparse.Namespace, state: Path) -> dict[str, Any]:
    """In a process of its own."""
    command = [sys.executable, __file__, "--subject", subject, "--texts", str(wanted), "--state", str(state)]
    if options.recogniser:
        command += ["--recogniser", str(options.recogniser)]
    subprocess.run(command, check=True)
    segments = json.loads(state.read_text())
    samples = [sample for segment in segments for sample in segment["samples"]]
    return {
        "texts": segments[-1]["done"],
        "starts": len(segments),
        "mb_per_million": slope(segments),
        "last_mb": samples[-1][1] / 1e6,
        "most_mb": max(rss for _, rss in samples) / 1e6,
        "texts_per_second": (segments[-1]["done"] - segments[-1]["start"]) / segments[-1]["seconds"],
        "samples": samples,
    }


def judge(found: dict[str, dict[str, Any]]) -> list[Figure]:
    mine, peer = found["tacit"], found["Presidio"]
    lines = {name: one["mb_per_million"] for name, one in found.items()}
    told = {name: "too short to say" if line is None else f"{line:+.1f} MB" for name, line in lines.items()}
    return [
        Figure(
            f"growth of memory a million texts, over {mine['texts']:,} redactions with new words in each",
            f"{told['tacit']}, {mine['last_mb']:.0f} MB at the end",
            f"Presidio without a model, over {peer['texts']:,}: {told['Presidio']}",
            f"at most {FLAT_MB:.0f} MB",
            None if lines["tacit"] is None else lines["tacit"] <= FLAT_MB,
        )
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=TEXTS, help="redactions in all, those of former starts among them")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} texts from the start; nothing is written")
    parser.add_argument("--fresh", action="store_true", help="forget former starts")
    parser.add_argument("--recogniser", type=Path, help="folder of a recogniser in place of the one that ships")
    parser.add_argument("--state", type=Path, default=STATE, help="where a stopped run is kept")
    parser.add_argument("--subject", choices=SUBJECTS, help="pass texts to this one alone, and only keep the state")
    options = parser.parse_args()
    if options.subject:
        run(options.subject, options.texts, options.recogniser, options.state)
        return 0
    found = {}
    for subject, wanted in (("tacit", options.texts), ("Presidio", min(PEER_TEXTS, options.texts))):
        wanted = QUICK if options.quick else wanted
        state = options.state.with_suffix(f".{'quick' if options.quick else 'whole'}.{subject}.json")
        if options.quick or options.fresh:
            state.unlink(missing_ok=True)
        found[subject] = measure(subject, wanted, options, state)
    rows = judge(found)
    if options.quick:
        show(rows)
        return 0
    save("pii_memory", rows, found)
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
