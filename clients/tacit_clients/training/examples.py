"""What a device learns from: examples, and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Task(StrEnum):
    """How an example becomes a loss and a score."""

    INSTRUCT = "instruct"  # prompt -> target text; loss on the target alone; score: exact match of the greedy answer
    CLASSIFY = "classify"  # prompt -> label; a linear head on the pooled hidden state; score: accuracy
    LANGUAGE = "language"  # prompt is plain text; loss on every token; score: next-token accuracy


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn. ``target`` is for INSTRUCT, ``label`` (0 up) for CLASSIFY; LANGUAGE has ``prompt`` alone."""

    prompt: str
    target: str = ""
    label: int = -1


@dataclass(frozen=True, slots=True)
class DeviceData:
    """A device's own examples. ``test`` never enters training; both stay on the device."""

    train: tuple[Example, ...]
    test: tuple[Example, ...]


class ExampleSource(Protocol):
    """Where devices find their data, by stable device index from 0. Cheap to pickle; loads lazily, once a process."""

    @property
    def task(self) -> Task: ...

    @property
    def labels(self) -> Sequence[str]:
        """Names of the classes of a CLASSIFY task, else empty."""
        ...

    @property
    def devices(self) -> int:
        """How many devices have data."""
        ...

    def device(self, index: int) -> DeviceData: ...

    def held_out(self) -> Sequence[Example]:
        """Examples of the same distribution in no training set: what a simulation scores the shared model on."""
        ...
