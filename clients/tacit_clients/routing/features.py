"""What the router knows of a prompt: about a hundred numbers from its text alone, in well under a millisecond.

They describe form and demand, hardly ever the subject: how long, how many quantities, negations and conditions, whether
there are options and how alike they are. What only says which subject a question is from does not help on the next.
"""

import math
import zlib
from collections.abc import Sequence
from functools import cache
from statistics import fmean, pstdev

import numpy as np
from numpy.typing import NDArray

from tacit_clients.routing.lexicon import JOINING, KINDS, STRESSED, WHOLE
from tacit_clients.routing.patterns import (
    CAPITALS,
    FORMULA,
    LETTER,
    LONGEST_QUANTITY,
    NAME,
    NAME_IN_OPTION,
    QUANTITY,
    QUOTES,
    SYMBOLS,
    TOKEN,
)
from tacit_clients.routing.reading import NUMBER, SENTENCE_END, WORD, Reading, read

Vector = NDArray[np.float64]


def describe(prompt: str) -> Vector:
    """The features of ``prompt``, shape (len(names()),), all finite, in the order of ``names()``."""
    return np.fromiter(_features(read(prompt)).values(), dtype=np.float64)


@cache
def names() -> tuple[str, ...]:
    """Of the features; the same for every prompt."""
    return tuple(_features(read("")))


def _features(reading: Reading) -> dict[str, float]:
    stem = reading.stem
    words = WORD.findall(stem)
    return {
        "length": math.log1p(reading.length),
        "stem_length": math.log1p(len(stem)),
        "lines": math.log1p(max(0, reading.lines - 1)),
        **_words(words),
        **_sentences(stem, len(words)),
        **_quantities(stem, len(words)),
        **_characters(stem),
        **_names(stem, len(words)),
        **_ending(stem),
        **_kinds(stem.lower(), len(words)),
        **_repetition(stem),
        **_options(reading.options, stem, {word.lower() for word in words}),
    }


def _words(words: Sequence[str]) -> dict[str, float]:
    count, lengths = len(words), [len(word) for word in words] or [0]
    return {
        "words": math.log1p(count),
        "word_length": fmean(lengths),
        "word_length_spread": pstdev(lengths),
        "long_words": _share(sum(length >= 9 for length in lengths), count),
        "short_words": _share(sum(0 < length <= 3 for length in lengths), count),
        "distinct_words": len({word.lower() for word in words}) / max(1, count) ** 0.8,
    }


def _sentences(stem: str, words: int) -> dict[str, float]:
    parts = [part for part in SENTENCE_END.split(stem) if part.strip()]
    count = max(1, len(SENTENCE_END.findall(stem)))
    return {
        "sentences": math.log(count),
        "words_per_sentence": math.log1p(words / count),
        "longest_sentence": math.log1p(max((len(part) for part in parts), default=0)),
        "last_sentence": math.log1p(len(parts[-1]) if parts else 0),
    }


def _quantities(stem: str, words: int) -> dict[str, float]:
    numbers = NUMBER.findall(stem)
    return {
        "numbers": math.log1p(len(numbers)),
        "number_share": len(numbers) / (words + len(numbers) + 1),
        "distinct_numbers": math.log1p(len(set(numbers))),
        "long_numbers": math.log1p(sum(len(number) >= 4 for number in numbers)),
        "decimals": math.log1p(sum("." in number for number in numbers)),
    }


def _characters(stem: str) -> dict[str, float]:
    size = len(stem)
    return {
        "digits": _share(sum(map(str.isdigit, stem)), size),
        "capitals": _share(sum(map(str.isupper, stem)), size),
        "not_ascii": _share(sum(letter > "\x7f" for letter in stem), size),
        "symbols": _share(_count(stem, SYMBOLS), size),
        "brackets": _share(_count(stem, "()[]{}"), size),
        "commas": _share(_count(stem, ",;:"), size),
        "quotes": _share(_count(stem, QUOTES), size),
    }


def _names(stem: str, words: int) -> dict[str, float]:
    count = len(NAME.findall(stem))
    return {
        "names": math.log1p(count),
        "name_share": _share(count, words),
        "acronyms": math.log1p(len(CAPITALS.findall(stem))),
        "letters": math.log1p(len(LETTER.findall(stem))),  # single ones, as variables are
        "stressed": float(STRESSED.search(stem) is not None),
    }


def _ending(stem: str) -> dict[str, float]:
    end = stem.rstrip()[-1:]
    return {
        "question": float("?" in stem),
        "ends_question": float(end == "?"),
        "ends_colon": float(end == ":"),
        "ends_dot": float(end == "."),
        "ends_open": float(end.isalpha()),
        "blank": float("__" in stem or "_ " in stem or "..." in stem),
        "bar": float("|" in stem),
    }


def _kinds(lower: str, words: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, pattern in KINDS.items():
        count = sum(1 for _ in pattern.finditer(lower))
        found[name] = float(count > 0)
        found[f"{name}_rate"] = count / (words + 3) ** 0.7
    return found


def _repetition(stem: str) -> dict[str, float]:
    raw = stem.encode("utf-8", "surrogatepass")
    packed = len(zlib.compress(raw, 6))
    return {"packed": math.log1p(packed), "packed_share": packed / max(20, len(raw))}


def _options(options: Sequence[str], stem: str, stem_words: set[str]) -> dict[str, float]:
    """Zeros where there are none, so that prompts without options differ by one indicator."""
    if not options:
        return dict.fromkeys(_option_names(), 0.0)
    return {"options": 1.0, **_option_sizes(options, stem), **_option_kinds(options), **_alike(options, stem_words)}


@cache
def _option_names() -> tuple[str, ...]:
    return tuple(_options(("a", "b"), "", set()))


def _option_sizes(options: Sequence[str], stem: str) -> dict[str, float]:
    lengths = [len(option) for option in options]
    mean, total = fmean(lengths), sum(lengths)
    return {
        "option_length": math.log1p(mean),
        "option_spread": pstdev(lengths) / (1 + mean),
        "option_longest": math.log1p(max(lengths)),
        "option_shortest": math.log1p(min(lengths)),
        "option_share": total / (total + len(stem) + 1),
    }


def _option_kinds(options: Sequence[str]) -> dict[str, float]:
    whole = "".join(options)
    negation = KINDS["negation"]
    return {
        "option_digits": fmean(any(map(str.isdigit, option)) for option in options),
        "option_numeric": fmean(
            QUANTITY.fullmatch(option.strip()[:LONGEST_QUANTITY]) is not None for option in options
        ),
        "option_formula": _share(_count(whole, FORMULA), len(whole)),
        "option_negation": fmean(negation.search(option.lower()) is not None for option in options),
        "option_whole": float(any(WHOLE.search(option.lower()) for option in options)),
        "option_joining": fmean(JOINING.search(option.lower()) is not None for option in options),
        "option_names": fmean(NAME_IN_OPTION.search(option) is not None for option in options),
        "option_sentences": fmean(option.rstrip().endswith(".") for option in options),
        "option_lower": fmean(option[:1].islower() for option in options),
    }


def _alike(options: Sequence[str], stem_words: set[str]) -> dict[str, float]:
    """How much options resemble each other and the question: the more, the finer the distinction asked for."""
    tokens = [[token.lower() for token in TOKEN.findall(option)] for option in options]
    sets = [set(each) for each in tokens]
    every = [token for each in tokens for token in each]
    pairs = [_share(len(a & b), len(a | b)) for i, a in enumerate(sets) for b in sets[i + 1 :]]
    start = options[0][:4].lower()
    return {
        "option_words": math.log1p(len(every) / len(options)),
        "option_word_length": fmean(map(len, every)) if every else 0.0,
        "option_distinct": _share(len(set(every)), len(every)),
        "option_overlap": fmean(pairs),
        "option_in_stem": fmean(_share(len(each & stem_words), len(each)) for each in sets),
        "option_same_start": fmean(option[:4].lower() == start for option in options[1:]),
        "option_permuted": float(len({tuple(sorted(each)) for each in sets}) < len(sets)),
    }


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


def _count(text: str, letters: str) -> int:
    return sum(map(text.count, letters))
