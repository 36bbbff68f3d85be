"""Words, pairs of words and pieces of words, hashed into a fixed number of buckets.

No vocabulary exists, so none can differ between devices or tell what a device has read: a public hash says which
bucket a word falls in. CRC-32 is the same on every machine and in every version.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

LIMIT: Final = 2000
"""Characters of a prompt that are read."""

_TOKEN = re.compile(r"[^\W_]+|[^\w\s]")
_PIECES = (3, 4)  # letters, within a word and its two blanks


@dataclass(frozen=True, slots=True)
class Grams:
    """Buckets that a prompt falls in, rising, and how much of each; both shape (k,)."""

    buckets: NDArray[np.int64]
    values: NDArray[np.float64]


def grams(prompt: str, bits: int) -> Grams:
    """Of ``prompt`` in 2 tables of ``2**bits`` buckets: words and pairs in the first, pieces in the second.

    Counts are damped by a logarithm; each half then has L2 norm 1, or none where there is no word. Source of the
    choice: the TF-IDF baseline of the field, with a hash in place of its vocabulary (Weinberger et al. 2009).
    """
    words = [_plain(word) for word in _TOKEN.findall(prompt[:LIMIT].lower())]
    size = 1 << bits
    halves = (
        Counter(zlib.crc32(_bytes(each)) % size for each in _words(words)),
        Counter(zlib.crc32(_bytes(each), 7) % size + size for each in _pieces(words)),
    )
    buckets = [np.array(sorted(half), dtype=np.int64) for half in halves]
    values = [_unit(np.array([half[int(b)] for b in order])) for half, order in zip(halves, buckets, strict=True)]
    return Grams(np.concatenate(buckets), np.concatenate(values))


def _plain(word: str) -> str:
    return "#" if len(word) > 4 and word.isdigit() else word


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _words(words: list[str]) -> Iterator[str]:
    yield from words
    for first, second in pairwise(words):
        yield f"{first} {second}"


def _pieces(words: list[str]) -> Iterator[str]:
    for word in words:
        padded = f" {word} "
        for size in _PIECES:
            for start in range(len(padded) - size + 1):
                yield padded[start : start + size]


def _unit(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    if not counts.size:
        return np.zeros(0)
    damped = 1 + np.log(counts)
    return np.asarray(damped / np.linalg.norm(damped), dtype=np.float64)


def words_of(prompt: str, bits: int) -> NDArray[np.uint16]:
    """The set of words of ``prompt`` as buckets of one table, rising."""
    words = {_plain(word) for word in _TOKEN.findall(prompt[:LIMIT].lower())}
    return np.array(sorted({zlib.crc32(_bytes(word)) % (1 << bits) for word in words}), dtype=np.uint16)
