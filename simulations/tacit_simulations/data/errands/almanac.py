"""An invented almanac: what is generally known about dishes, plants, cloths and appliances.

It takes the place of world knowledge: little enough to train a model on in an hour, too much for a very small model
to keep. Subjects are asked for as words are used, a few often and most rarely (Zipf, exponent 0.9). Its words are in
``almanac.toml`` beside this file.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.randomness import stream

SEED = 505_07460
SUBJECTS_PER_KIND = 400
EXPONENT = 0.9


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something known of every subject of a kind. ``asks`` are questions with {subject}, the canonical one first."""

    name: str
    asks: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of subject: its nouns, and what is known of each."""

    name: str
    nouns: tuple[str, ...]
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """``facts`` maps the names of its kind's attributes to values."""

    name: str
    kind: Kind
    facts: Mapping[str, str]


@cache
def subjects() -> tuple[Subject, ...]:
    """All subjects, the most often asked for first; the same on every machine."""
    words = tomllib.loads((files(__package__) / "almanac.toml").read_text(encoding="utf-8"))
    found = [subject for row in words["kind"] for subject in _subjects(_kind(row), words["tints"])]
    order = stream(SEED, "almanac-popularity").permutation(len(found))
    return tuple(found[number] for number in order)


def _kind(row: dict[str, Any]) -> Kind:
    attributes = (Attribute(each["name"], tuple(each["asks"]), tuple(each["values"])) for each in row["attribute"])
    return Kind(row["name"], tuple(row["nouns"]), tuple(attributes))


def _subjects(kind: Kind, tints: list[str]) -> list[Subject]:
    rng = stream(SEED, "almanac", kind.name)
    names = [f"{tint} {noun}" for tint in tints for noun in kind.nouns]
    return [
        Subject(
            names[number],
            kind,
            {each.name: each.values[int(rng.integers(len(each.values)))] for each in kind.attributes},
        )
        for number in rng.permutation(len(names))[:SUBJECTS_PER_KIND]
    ]


@cache
def cumulative() -> NDArray[np.float64]:
    """How often one of the first subjects is asked for, at least; the last is 1. Shape (subjects,)."""
    weights = np.arange(1, len(subjects()) + 1, dtype=np.float64) ** -EXPONENT
    shares: NDArray[np.float64] = np.cumsum(weights / weights.sum())
    return shares


def draw(rng: np.random.Generator) -> Subject:
    """A subject, as often as people ask for it."""
    return subjects()[min(int(np.searchsorted(cumulative(), rng.random())), len(subjects()) - 1)]
