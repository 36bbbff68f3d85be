"""Texts for benchmarks of redaction: real ones written for Tacit, and an endless stream whose words are always new."""

import random
import re
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Final

from tacit_simulations.pretraining.recogniser.texts import written

_HEADS: Final = (
    "b",
    "d",
    "f",
    "g",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "w",
    "z",
    "br",
    "st",
    "sh",
    "tr",
    "kl",
)
_CORES: Final = ("a", "e", "i", "o", "u", "ai", "ei", "ou", "oa", "ie")
_FORMS: Final = (
    "{0} {1} of {2} wrote to {3} about the {4} contract; call {6} before Friday.",
    "Hi {0}, could you forward the {4} notes to {3}? {1} asked for them in {2}.",
    "Invoice {7}: {0} {1}, {8} {1} Street, {2}. Paid by card {9}.",
    "My colleague {0} from {4} is moving to {2} next month, her new address is {8} {0} Lane.",
    "Please translate: '{0} {1} lives in {2} and works for {4}.' It goes to {3}.",
    '{{"name": "{0} {1}", "city": "{2}", "mail": "{3}", "order": "{7}"}}',
    "what is the {5} of {2} and how does {5} compare with last year's {4} report",
)


def sentences(count: int) -> list[str]:
    """Sentences of the documents written for Tacit, 4 to 40 words each."""
    found: list[str] = []
    for document in written():
        for one in re.split(r"(?<=[.!?])\s+|\n+", document.text):
            if 4 <= len(one.split()) <= 40:
                found.append(one)
    return list(islice(cycle(random.Random(1).sample(found, len(found))), count))


def prompts(count: int, words: int = 100) -> list[str]:
    """Texts of ``words`` words each, cut from the documents."""
    everything = re.findall(r"\S+\s+", "\n".join(document.text for document in written()))
    starts = range(0, len(everything) - words, words)
    chosen = random.Random(2).sample(starts, len(starts))
    return ["".join(everything[start : start + words]).rstrip() for start in islice(cycle(chosen), count)]


def word(number: int) -> str:
    """A word of its own for every number."""
    parts = []
    while True:
        number, head = divmod(number, len(_HEADS))
        number, core = divmod(number, len(_CORES))
        parts.append(_HEADS[head] + _CORES[core])
        if not number:
            return "".join(parts) + "n"


def endless(start: int) -> Iterator[str]:
    """Text ``start`` and all behind it; every one holds words that none before it has."""
    number = start
    while True:
        rng = random.Random(number)
        new = [word(6 * number + offset).capitalize() for offset in range(6)]
        digits = "".join(str(rng.randrange(10)) for _ in range(16))
        mail = f"{new[0].lower()}.{new[1].lower()}@{new[4].lower()}.example.org"
        phone = f"+1 212 555 {digits[:4]}"
        values = [new[0], new[1], new[2], mail, new[4], new[5].lower(), phone, digits[:8], digits[8:10], digits]
        text = rng.choice(_FORMS).format(*values)
        yield text * (20 if number % 997 == 0 else 1)
        number += 1
