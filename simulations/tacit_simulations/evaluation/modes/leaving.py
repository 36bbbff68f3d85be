"""What crossed: units that must not leave and words of the person, looked for in every outbound byte."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tacit_simulations.evaluation.modes.tasks import Task
from tacit_simulations.evaluation.pii.leakage import leaked, scorable

RUN: Final = 3  # words in a row that are the person's own and not a coincidence
_WORD: Final = re.compile(r"\w+")
_PROTOCOL: Final = frozenset(("model", "role", "type"))  # keys whose values are nobody's text


@dataclass(frozen=True, slots=True)
class Crossing:
    """One question's: ``units`` that count and ``leaked`` of them; words and bytes of the prompt that crossed."""

    units: int = 0
    leaked: int = 0
    words: int = 0  # distinct words of the prompt
    words_out: int = 0
    text_bytes: int = 0  # of the prompt's words, UTF-8
    text_bytes_out: int = 0


def crossing(task: Task, sent: Sequence[bytes]) -> Crossing:
    """What of ``task`` stands in the bodies ``sent``.

    A unit leaks where its text, case-folded and with white space made one, stands in the bytes as they are or in any
    string that JSON makes of them, also of JSON inside a string. A word crossed where it is a word of any such string
    that is no key and none of the protocol's own. Bytes crossed where their word stands in a run of RUN words of the
    prompt that is in such a string word for word, or the prompt is shorter and stands whole: single words also come
    from what a mode itself writes.
    """
    outbound = [text for body in sent for text in texts_of(body)]
    units, _ = scorable(task.prompt, task.units or ())
    gone = leaked(units, "\n".join(outbound)) if units else frozenset[str]()
    words = words_of(task.prompt)
    heard = [words_of(text) for body in sent for text in _opened(body.decode("utf-8", "replace"), keys=False)]
    crossed = _crossed(words, heard)
    return Crossing(
        units=len(units),
        leaked=len(gone),
        words=len(set(words)),
        words_out=len(set(words) & {word for some in heard for word in some}),
        text_bytes=sum(len(word.encode()) for word in words),
        text_bytes_out=sum(len(word.encode()) for word, out in zip(words, crossed, strict=True) if out),
    )


def words_of(text: str) -> list[str]:
    """Case-folded words, in order."""
    return _WORD.findall(text.casefold())


def texts_of(body: bytes) -> list[str]:
    """``body`` as it is, then every string in it, keys included, JSON inside strings opened too."""
    raw = body.decode("utf-8", "replace")
    return [raw, *dict.fromkeys(_opened(raw))]


def _opened(text: str, keys: bool = True) -> Iterator[str]:
    if text[:1] not in ("{", "[", '"'):
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    for leaf in _leaves(value, keys):
        yield leaf
        yield from _opened(leaf.strip(), keys)


def _leaves(value: Any, keys: bool) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _leaves(item, keys)
        case dict():
            for key, item in value.items():
                if keys:
                    yield key
                if keys or key not in _PROTOCOL:
                    yield from _leaves(item, keys)


@dataclass(slots=True)
class _Grams:
    """Runs of ``length`` words that were heard."""

    length: int
    heard: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, words: Sequence[str]) -> None:
        self.heard.update(tuple(words[at : at + self.length]) for at in range(len(words) - self.length + 1))


def _crossed(words: Sequence[str], heard: Sequence[Sequence[str]]) -> list[bool]:
    """For each word of the prompt whether it crossed as part of a run."""
    crossed = [False] * len(words)
    grams = _Grams(min(RUN, len(words)))
    if not grams.length:
        return crossed
    for some in heard:
        grams.add(some)
    for at in range(len(words) - grams.length + 1):
        if tuple(words[at : at + grams.length]) in grams.heard:
            crossed[at : at + grams.length] = [True] * grams.length
    return crossed
