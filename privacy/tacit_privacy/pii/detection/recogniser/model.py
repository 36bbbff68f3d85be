"""Run the shipped encoder with ONNX Runtime on one core; texts of any length, many at once, no torch."""

import os
from collections.abc import Iterator, Mapping, Sequence
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

WINDOW, OVERLAP = 160, 32  # pieces read at once, pieces that two windows share
BATCH_PIECES = 2048  # of one run: bounds memory whatever is asked


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
        """Scores of every text's pieces, shape (pieces, labels)."""
        out = [np.zeros((len(one.ids), len(LABELS)), dtype=np.float32) for one in read]
        windows = [(index, start) for index, one in enumerate(read) for start in _starts(len(one.ids))]
        windows.sort(key=lambda window: min(WINDOW, len(read[window[0]].ids) - window[1]))
        for batch in _batches(windows, read):
            for (index, start), scores in zip(batch, self._run([_cut(read[i], s) for i, s in batch]), strict=True):
                size = len(out[index])
                end = min(size, start + WINDOW)
                low = start + OVERLAP // 2 if start else 0
                high = end - OVERLAP // 2 if end < size else end
                out[index][low:high] = scores[low - start : high - start]
        return out

    def _run(self, rows: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> NDArray[np.float32]:
        """Scores of windows of ids and shapes, without their special pieces; shape (rows, longest, labels)."""
        longest = max(len(ids) for ids, _ in rows) + 2
        inputs = {name: np.zeros((len(rows), longest), dtype=np.int64) for name in ("ids", "shapes", "mask")}
        for index, (ids, shapes) in enumerate(rows):
            size = len(ids)
            inputs["ids"][index, : size + 2] = [CLS, *ids, SEP]
            inputs["shapes"][index, 1 : size + 1] = shapes
            inputs["mask"][index, : size + 2] = 1
        (scores,) = self._session.run(None, inputs)
        return scores[:, 1:]  # type: ignore[no-any-return]


def _starts(size: int) -> Iterator[int]:
    """Where windows over ``size`` pieces begin: each shares OVERLAP pieces with the one before."""
    start = 0
    while start < size:
        yield start
        if start + WINDOW >= size:
            return
        start += WINDOW - OVERLAP


def _cut(one: Pieces, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return one.ids[start : start + WINDOW], one.shapes[start : start + WINDOW]


def _batches(windows: list[tuple[int, int]], read: Sequence[Pieces]) -> Iterator[list[tuple[int, int]]]:
    """Windows of rising length in batches of at most BATCH_PIECES, padding counted."""
    batch: list[tuple[int, int]] = []
    for index, start in windows:
        size = min(WINDOW, len(read[index].ids) - start) + 2
        if batch and (len(batch) + 1) * size > BATCH_PIECES:
            yield batch
            batch = []
        batch.append((index, start))
    if batch:
        yield batch


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
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch for ever
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    return session, Tokenizer.from_file(str(folder / "tokenizer.json"))
