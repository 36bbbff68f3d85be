"""What the recogniser reads of a text: word pieces with their place, and how each word is written.

The encoder's vocabulary has no capitals. How a word is written tells much about names, so every word piece carries the
shape of its whole word as a second input. Training and inference share this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

SHAPES = ("special", "lower", "title", "upper", "initial", "mixed", "digits", "alphanumeric", "sign", "caseless")
"""How a word is written; its place in this tuple is the id that the model was trained with."""

TYPES = ("PERSON", "LOCATION", "ORGANIZATION", "ADDRESS", "TITLE", "AGE", "NRP", "DATE_TIME", "ID")
LABELS = ("O", *(f"{place}-{kind}" for kind in TYPES for place in "BI"))

CLS, SEP = 101, 102
"""The encoder's own pieces at both ends of what it reads at once."""

_SPECIAL, _LOWER, _TITLE, _UPPER, _INITIAL, _MIXED, _DIGITS, _ALPHANUMERIC, _SIGN, _CASELESS = range(len(SHAPES))


@dataclass(frozen=True, slots=True)
class Pieces:
    """The word pieces of one text, without the special ones. All arrays have shape (pieces,)."""

    ids: NDArray[np.int64]
    shapes: NDArray[np.int64]
    words: NDArray[np.int64]  # index of the word that a piece belongs to, rising from 0
    starts: NDArray[np.int64]  # code points
    ends: NDArray[np.int64]


def shape(word: str) -> int:
    """Id of the way ``word`` is written."""
    if not word.isalpha():
        if word.isdigit():
            return _DIGITS
        if not any(letter.isalnum() for letter in word):
            return _SIGN
        if any(letter.isdigit() for letter in word):
            return _ALPHANUMERIC
    if word.islower():
        return _LOWER
    if word.isupper():
        return _INITIAL if len(word) == 1 else _UPPER
    if word[:1].isupper() and word[1:].islower():
        return _TITLE
    return _MIXED if any(letter.isupper() or letter.islower() for letter in word) else _CASELESS


def encodable(text: str) -> str:
    """``text`` of the same length for the tokenizer: a lone surrogate becomes the replacement character."""
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)


def pieces(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Pieces]:
    """The pieces of every text, offsets in code points of that text."""
    plain = [encodable(text) for text in texts]
    encodings = tokenizer.encode_batch(plain, add_special_tokens=False)
    return [_pieces(text, encoding) for text, encoding in zip(plain, encodings, strict=True)]


def _pieces(text: str, encoding: Encoding) -> Pieces:
    offsets, words = encoding.offsets, [-1 if word is None else word for word in encoding.word_ids]
    shapes: list[int] = []
    for _, group in groupby(words):
        first, count = len(shapes), len(list(group))
        shapes += [shape(text[offsets[first][0] : offsets[first + count - 1][1]])] * count
    places = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    ids, written, index = (np.array(each, dtype=np.int64) for each in (encoding.ids, shapes, words))
    return Pieces(ids, written, index, places[:, 0], places[:, 1])
