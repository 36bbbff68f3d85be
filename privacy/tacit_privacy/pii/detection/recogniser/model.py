"""Run the shipped encoder with ONNX Runtime; texts of any length, many at once, no torch."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.detection.recogniser.decode import entities
from tacit_privacy.pii.detection.recogniser.features import CLS, LABELS, SEP, Pieces, pieces
from tacit_privacy.pii.entities import Entity

if TYPE_CHECKING:
    import onnxruntime
    from tokenizers import Tokenizer

THRESHOLD = 0.5
"""Score at which a word is taken for an entity, unless the policy says otherwise."""

WINDOW, OVERLAP = 190, 32  # most pieces read at once, pieces that two windows share
CORES = "OMP_NUM_THREADS"
"""Environment: how many windows of a long text are read at the same time; every core takes one, unless it says less."""


class Recogniser:
    """One loaded model; serves many threads at once and keeps nothing of any text."""

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        tokenizer: "Tokenizer",
        threshold: float = THRESHOLD,
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        self._session, self._tokenizer = session, tokenizer
        self._threshold, self._thresholds = threshold, dict(thresholds or {})

    @classmethod
    def shipped(cls, threshold: float = THRESHOLD, thresholds: Mapping[str, float] | None = None) -> "Recogniser":
        """The recogniser in the installation; loaded once in a process. Raises BadInput where its files are missing."""
        with as_file(files("tacit_privacy") / "pii" / "detection" / "recogniser" / "weights") as folder:
            return cls(*_loaded(folder), threshold, thresholds)

    @classmethod
    def open(
        cls, folder: Path, threshold: float = THRESHOLD, thresholds: Mapping[str, float] | None = None
    ) -> "Recogniser":
        """A recogniser from a folder of one's own that holds model.onnx and tokenizer.json."""
        return cls(*_loaded(folder), threshold, thresholds)

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        """For each text its entities: sorted, not overlapping."""
        read = self.read(texts)
        return [
            entities(one, scores, self._thresholds, self._threshold)
            for one, scores in zip(read, self.scores(read), strict=True)
        ]

    def read(self, texts: Sequence[str]) -> list[Pieces]:
        """The word pieces of every text."""
        return pieces(self._tokenizer, texts)

    def scores(self, read: Sequence[Pieces]) -> list[NDArray[np.float32]]:
        """Scores of every text's pieces, shape (pieces, labels).

        A window is read by itself and by one core: eight-bit sums are scaled by what is read at once, so that a window
        read beside others would score a little differently, and what is masked would depend on who asks meanwhile.
        """
        return [self._scores(one) for one in read]

    def _scores(self, one: Pieces) -> NDArray[np.float32]:
        size = len(one.ids)
        out = np.zeros((size, len(LABELS)), dtype=np.float32)
        parts = _windows(size)

        def put(start: int, end: int) -> None:
            low = start + OVERLAP // 2 if start else 0
            high = end - OVERLAP // 2 if end < size else end
            out[low:high] = self._window(one.ids[start:end], one.shapes[start:end])[low - start : high - start]

        cores = _cores() if len(parts) > 1 else 1
        if cores > 1:
            list(_readers(cores, os.getpid()).map(put, *zip(*parts, strict=True)))
        else:
            for part in parts:
                put(*part)
        return out

    def _window(self, ids: NDArray[np.int64], shapes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of the pieces of one window, shape (pieces, labels); the model reads it between its special pieces."""
        inputs = {
            "ids": np.array([[CLS, *ids, SEP]], dtype=np.int64),
            "shapes": np.array([[0, *shapes, 0]], dtype=np.int64),
        }
        (scores,) = self._session.run(None, inputs)
        return scores[0, 1:-1]  # type: ignore[no-any-return]


def _windows(size: int) -> list[tuple[int, int]]:
    """Where windows over ``size`` pieces begin and end: each shares OVERLAP pieces with the one before."""
    step = WINDOW - OVERLAP
    return [(start, min(size, start + WINDOW)) for start in range(0, max(min(size, 1), size - OVERLAP), step)]


def _cores() -> int:
    stated = os.environ.get(CORES, "")
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, int(stated)) if stated.isdigit() and int(stated) else here


@cache
def _readers(count: int, process: int) -> ThreadPoolExecutor:
    """Threads of ``process``: a forked one begins without its parent's."""
    return ThreadPoolExecutor(count, thread_name_prefix="recogniser")


@cache
def _loaded(folder: Path) -> "tuple[onnxruntime.InferenceSession, Tokenizer]":
    import onnxruntime
    from tokenizers import Tokenizer

    lacking = [name for name in ("model.onnx", "tokenizer.json") if not (folder / name).is_file()]
    if lacking:
        raise BadInput(
            f"the recogniser's folder {folder} is without {', '.join(lacking)}; tacit doctor says what to type"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch for ever
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return session, Tokenizer.from_file(str(folder / "tokenizer.json"))
