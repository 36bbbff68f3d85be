"""Texts and detections that are as unkind as can be, for the laws of redaction; by hypothesis or seeded."""

import random
from collections.abc import Sequence

from tacit_privacy.pii.entities import Entity

TYPES = ("PERSON", "ORGANIZATION", "EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "ID", "LOCATION")
PIECES = (
    *(
        "Anna Kowalska",
        "Anna",
        "anna",
        "KOWALSKA",
        "Anna Nowak",
        "A. Kowalska",
        "Mr Smith",
        "Zoe\u0308",
        "Zoë",
        "张伟",
        "李娜",
    ),
    *(
        "Acme Ltd",
        "Acme",
        "anna@ex.org",
        "+48 600 123 456",
        "4111 1111 1111 1111",
        "O'Neil",
        'O"Neil',
        "Straße",
        "\uff21\uff2e\uff2e\uff21",
    ),
    *(
        "PERSON_k3f9q",
        "person_K3F9Q_b",
        "PERSON\\_k3f9q",
        "ESCAPED_ab2cd",
        "PERSON_",
        "PERSON",
        "ID_2a2a2",
        "_b",
        "_c",
        "k3f9q",
    ),
    *(
        "_",
        "__",
        "\\_",
        "\\\\_",
        "\\",
        "_________",
        "'s",
        "\u2019s",
        "'",
        ".",
        " ",
        "  ",
        "\n",
        "\t",
        "\x00",
        "\ud800",
        "\udfff",
    ),
    *(
        "\u200b",
        "\u00ad",
        "\u0301",
        "é",
        "ß",
        "ﬁ",
        "K",
        "\u017f",
        "İ",
        "😀",
        "a",
        "b",
        "1",
        "-",
        "/",
        "@",
        '"',
        "{",
        "}",
        "[",
        "]",
        ",",
    ),
    *("Ada Bellweather", "Ada", "Bellweather", "555-0100", "example.org", "http://ex.org/", "](", "<", ">", "!["),
)


class Drawn:
    """A detector that finds what it is told to, text by text, and then anything else it is asked for: nothing."""

    def __init__(self, found: dict[str, list[Entity]]) -> None:
        self.found = found

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        return [list(self.found.get(text, ())) for text in texts]


def apart(spans: Sequence[tuple[int, int, str]], length: int) -> list[Entity]:
    """``spans`` cut to a text of ``length`` and to what does not overlap, as a Detector's answer has to be."""
    found: list[Entity] = []
    for start, size, type in sorted(spans):
        start = start % (length + 1)
        found.append(Entity(start, min(length, start + size), type, 0.9))
    found.sort()
    kept: list[Entity] = []
    for entity in found:
        if entity.start < entity.end and (not kept or kept[-1].end <= entity.start):
            kept.append(entity)
    return kept


def random_text(generator: random.Random, issued: Sequence[str] = ()) -> str:
    """Pieces put together, placeholders already issued among them."""
    pool = (*PIECES, *issued)
    return "".join(generator.choice(pool) for _ in range(generator.randrange(12)))


def random_spans(generator: random.Random, length: int) -> list[Entity]:
    """Up to four spans anywhere in a text of ``length``."""
    count = generator.randrange(5)
    return apart(
        [(generator.randrange(length + 1), generator.randrange(1, 15), generator.choice(TYPES)) for _ in range(count)],
        length,
    )
