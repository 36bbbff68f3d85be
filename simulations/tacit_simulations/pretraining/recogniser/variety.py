"""The same text told of others: names swapped, cases changed, line breaks pasted. A name met twice teaches little."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from numpy.random import Generator

from tacit_simulations.pretraining.recogniser.texts import Example, Span

SWAPPED, INVENTED = 0.35, 0.15  # share of examples whose names are swapped; of swapped words, those made up
LOWERED, RAISED, TITLED, BROKEN = 0.10, 0.03, 0.03, 0.05  # of examples: lower case, CAPITALS, Titles, pasted breaks

_HEADS = [*"bcdfghjklmnpqrstvwxyz", "br", "ch", "dr", "gh", "kh", "ng", "pr", "sh", "st", "th", "tr"]
_CORES = [*"aeiouy", "aa", "ae", "ai", "ee", "ei", "ia", "ie", "oe", "oo", "ou", "ui"]
_TAILS = ["", "", "", "n", "r", "l", "s", "k", "m", "nd", "sz", "tt", "ch", "ng"]


@dataclass(slots=True)
class Names:
    """Words and whole values met in all examples, to draw others from."""

    first: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)
    whole: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, examples: Iterable[Example]) -> "Names":
        first: set[str] = set()
        last: set[str] = set()
        whole: dict[str, set[str]] = {"LOCATION": set(), "ORGANIZATION": set()}
        for example in examples:
            for start, end, kind in example.spans:
                value = example.text[start:end]
                if kind == "PERSON" and re.fullmatch(r"[A-Z][a-z]+( [A-Z][a-z]+){0,2}", value):
                    words = value.split()
                    first.add(words[0])
                    last.update(words[1:])
                elif kind in whole and value.isascii() and len(value) < 40 and value[:1].isupper():
                    whole[kind].add(value)
        return cls(sorted(first), sorted(last), {kind: sorted(values) for kind, values in whole.items()})


def invented(rng: Generator) -> str:
    """A made-up name of two or three syllables."""
    parts = [
        f"{_HEADS[rng.integers(len(_HEADS))]}{_CORES[rng.integers(len(_CORES))]}{_TAILS[rng.integers(len(_TAILS))]}"
        for _ in range(rng.integers(2, 4))
    ]
    return "".join(parts).capitalize()


def varied(example: Example, names: Names, rng: Generator) -> Example:
    """``example`` as it might have been of other people, or typed by somebody else."""
    if rng.random() < SWAPPED:
        example = swapped(example, names, rng)
    throw = rng.random()
    if throw < LOWERED:
        return _cased(example, str.lower)
    if throw < LOWERED + RAISED:
        return _cased(example, str.upper)
    if throw < LOWERED + RAISED + TITLED:
        return _cased(example, lambda text: re.sub(r"\b[a-z](?=[a-z]{3})", lambda found: found.group().upper(), text))
    if throw < LOWERED + RAISED + TITLED + BROKEN:
        return replace(example, text=_broken(example.text, rng))
    return example


def swapped(example: Example, names: Names, rng: Generator) -> Example:
    """Every word of a person's name, every place and organisation replaced, the same by the same throughout."""
    chosen: dict[str, str] = {}

    def word(old: str, pool: list[str]) -> str:
        if len(old) < 3 or not old.isascii() or not old.isalpha():
            return old
        key = old.lower()
        if key not in chosen:
            made = rng.random() < INVENTED or not pool
            chosen[key] = invented(rng) if made else pool[rng.integers(len(pool))]
        return like(old, chosen[key])

    def other(value: str, kind: str) -> str:
        if kind == "PERSON":
            parts = re.split(r"(\W+)", value)
            return "".join(word(part, names.last if index else names.first) for index, part in enumerate(parts))
        pool = names.whole.get(kind, [])
        if not pool or not value.isascii():
            return value
        if value not in chosen:
            chosen[value] = pool[rng.integers(len(pool))]
        return like(value, chosen[value])

    return rewritten(example, other)


def like(old: str, new: str) -> str:
    """``new`` written as ``old`` is."""
    if old.islower():
        return new.lower()
    return new.upper() if old.isupper() and len(old) > 1 else new


def rewritten(example: Example, other: Callable[[str, str], str]) -> Example:
    """``example`` with every value replaced by ``other(value, type)`` and spans moved."""
    text: list[str] = []
    spans: list[Span] = []
    last = length = 0
    for start, end, kind in example.spans:
        value = other(example.text[start:end], kind)
        text += [example.text[last:start], value]
        length += start - last
        spans.append((length, length + len(value), kind))
        length += len(value)
        last = end
    return replace(example, text="".join([*text, example.text[last:]]), spans=tuple(spans))


def _cased(example: Example, change: Callable[[str], str]) -> Example:
    changed = change(example.text)
    return replace(example, text=changed) if len(changed) == len(example.text) else example


def _broken(text: str, rng: Generator) -> str:
    """Some spaces become line breaks, as in text copied from a page."""
    return "".join("\n" if letter == " " and rng.random() < 0.08 else letter for letter in text)
