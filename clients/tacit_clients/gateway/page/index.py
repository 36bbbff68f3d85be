"""All records without what left in them: read once, followed as they come and go, so that thousands can be filtered."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from threading import Lock
from typing import Final, Literal

from tacit_clients.egress import Book, Ending, Entry

PAGE: Final = 50


@dataclass(frozen=True, slots=True)
class Row:
    """A record in the list."""

    entry: Entry  # with an empty body
    model: str  # the upstream's, as it was asked for
    ending: Ending | None  # None: not known (yet)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are wanted; empty fields want all."""

    shown: Literal["", "left", "refused"] = ""
    mode: str = ""
    type: str = ""
    conversation: str = ""
    since: date | None = None
    until: date | None = None  # that day included

    def fits(self, entry: Entry) -> bool:
        if self.shown and entry.left != (self.shown == "left"):
            return False
        if (self.mode and entry.mode != self.mode) or (self.type and not entry.masked.get(self.type)):
            return False
        if self.conversation and entry.conversation != self.conversation:
            return False
        return _after(entry.at, self.since) and (self.until is None or not _after(entry.at, self.until + _DAY))


_DAY = timedelta(days=1)


def _after(at: float, day: date | None) -> bool:
    return day is None or datetime.fromtimestamp(at).date() >= day


@dataclass(frozen=True, slots=True)
class Totals:
    """Over all records that fit."""

    left: int
    refused: int
    bytes_up: int
    bytes_down: int
    masked: dict[str, int]

    @property
    def values(self) -> int:
        return sum(self.masked.values())


@dataclass(frozen=True, slots=True)
class View:
    """One page of the list."""

    rows: list[Row] = field(repr=False)
    totals: Totals
    number: int
    pages: int
    modes: list[str]
    types: list[str]
    any: bool  # whether there is any record at all


class Index:
    """For worker threads. Bodies stay sealed in the vault."""

    def __init__(self, book: Book) -> None:
        self._book, self._lock = book, Lock()
        self._rows: dict[int, tuple[Entry, str]] = {}
        self._endings: dict[int, Ending] = {}
        self._read_to, self._endings_to = 0, 0

    def view(self, wanted: Filter, page: int) -> View:
        """Page ``page`` (from 1; too high a one gives the last) of what fits, the newest first."""
        with self._lock:
            self._follow()
            kept = [self._row(number) for number in sorted(self._rows, reverse=True)]
        fitting = [row for row in kept if wanted.fits(row.entry)]
        pages = max(1, -(-len(fitting) // PAGE))
        number = min(max(page, 1), pages)
        modes = sorted({row.entry.mode for row in kept})
        types = sorted({type for row in kept for type in row.entry.masked})
        shown = fitting[(number - 1) * PAGE : number * PAGE]
        return View(shown, _totals(fitting), number, pages, modes, types, bool(kept))

    def find(self, number: int) -> tuple[Entry, Ending | None] | None:
        """One record with its body."""
        entry = self._book.find(number)
        if entry is None:
            return None
        with self._lock:
            self._follow()
            return entry, self._endings.get(number)

    def of_conversation(self, conversation: str) -> list[int]:
        """Numbers of a conversation's records."""
        with self._lock:
            self._follow()
            return [number for number, (entry, _) in self._rows.items() if entry.conversation == conversation]

    def _row(self, number: int) -> Row:
        entry, model = self._rows[number]
        return Row(entry, model, self._endings.get(number))

    def _follow(self) -> None:
        """Take in what is new, drop what is erased or past its time."""
        self._book.flush()
        present = set(self._book.numbers())
        while fresh := self._book.entries(after=self._read_to, limit=500):
            for entry in fresh:
                self._rows[entry.number] = replace(entry, body=""), _model_of(entry.body)
            self._read_to = fresh[-1].number
            present |= {entry.number for entry in fresh}
        endings, self._endings_to = self._book.endings(self._endings_to)
        self._endings |= endings
        self._rows = {number: row for number, row in self._rows.items() if number in present}
        self._endings = {number: ending for number, ending in self._endings.items() if number in present}


def _totals(rows: list[Row]) -> Totals:
    masked: Counter[str] = Counter()
    for row in rows:
        masked.update(row.entry.masked)
    left = sum(row.entry.left for row in rows)
    down = sum(row.ending.bytes_down for row in rows if row.ending)
    ordered = dict(sorted(masked.items(), key=lambda pair: (-pair[1], pair[0])))
    return Totals(left, len(rows) - left, sum(row.entry.bytes for row in rows), down, ordered)


def _model_of(body: str) -> str:
    found = json.loads(body) if body else None
    return str(found.get("model", "")) if isinstance(found, dict) else ""
