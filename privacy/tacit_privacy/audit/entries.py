"""What a ledger's entries tell beyond the account: who signed, what was released, what came to nothing."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from tacit_privacy.ledger.bodies import KINDS, Abandoned, Body, Committed, Lost, Opened, Reserved, Rotated, parse

Fate = Literal["released", "open", "given back", "lost"]


@dataclass(frozen=True, slots=True)
class Release:
    """One reservation and what became of it. ``completed``: devices in it, None where the ledger does not say."""

    name: str
    run: str
    round: int
    planned: int
    charged: float  # noise multiplier
    fate: Fate = "open"
    completed: int | None = None
    realised: float | None = None


@dataclass(frozen=True, slots=True)
class KeyChange:
    """From the entry at ``index`` on (the one after, where the key was rotated in), this key signs."""

    index: int
    public_key: str
    time: float


@dataclass
class Entries:
    """Collects while somebody else reads: a ledger of any length passes through once."""

    releases: dict[str, Release] = field(default_factory=dict)
    streams: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)  # why releases were given back
    keys: list[KeyChange] = field(default_factory=list)
    hashes: set[str] = field(default_factory=set)
    first: float | None = None
    last: float | None = None

    def passing(self, lines: Iterable[str]) -> Iterator[str]:
        """The same lines. What cannot be read is left out: saying so is the verifier's part."""
        for line in lines:
            self._note(line)
            yield line

    @property
    def released(self) -> list[Release]:
        return [release for release in self.releases.values() if release.fate == "released"]

    def _note(self, line: str) -> None:
        try:
            entry = json.loads(line)
            time, kind = float(entry["time"]), entry["kind"]
            self.hashes.add(str(entry["hash"]))
            body = parse(kind, entry["body"]) if kind in KINDS else None
            index = int(entry["index"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return
        self.first, self.last = time if self.first is None else self.first, time
        if body is not None:
            self._take(body, index, time)

    def _take(self, body: Body, index: int, time: float) -> None:
        match body:
            case Opened():
                self.keys.append(KeyChange(index, body.public_key, time))
            case Rotated():
                self.keys.append(KeyChange(index + 1, body.public_key, time))
            case Reserved():
                event = body.event
                self.releases[body.reservation] = Release(
                    body.reservation, body.run, body.round, event.sampling.cohort, event.noise_multiplier
                )
                self.streams[body.stream] += 1
            case Committed():
                self._settle(body.reservation, "released", body.completed, body.realised)
            case Abandoned():
                self._settle(body.reservation, "given back")
                self.reasons[body.why] += 1
            case Lost():
                self._settle(body.reservation, "lost")

    def _settle(self, name: str, fate: Fate, completed: int | None = None, realised: float | None = None) -> None:
        if name in self.releases:
            self.releases[name] = replace(self.releases[name], fate=fate, completed=completed, realised=realised)


def own_key(line: str | None) -> str:
    """The key that a ledger's first entry names; empty where there is none to read."""
    try:
        return str(json.loads(line or "")["body"]["public_key"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
