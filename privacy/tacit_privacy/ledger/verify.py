"""Replay a ledger offline: the file and the public key are enough to check the chain and recompute the bound."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tacit_privacy.accounting.bounds import bounds, smallest
from tacit_privacy.accounting.budget import BudgetPolicy
from tacit_privacy.accounting.events import Exposure, GaussianEvent
from tacit_privacy.ledger.bodies import KINDS, Abandoned, Closed, Committed, Lost, Opened, Reserved, parse
from tacit_privacy.ledger.chain import GENESIS, entry_hash
from tacit_privacy.ledger.keys import verifies

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "index": int,
    "kind": str,
    "time": (int, float),
    "body": dict,
    "previous": str,
    "hash": str,
    "signature": str,
}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOLERANCE = 1e-6  # relative: accountants of other versions may differ in the last digits


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at an entry. ``kind`` is a short stable word."""

    index: int
    kind: str
    detail: str


@dataclass
class Verification:
    """What a replay found. ``ok`` only when nothing is wrong; ``state`` tells a finished ledger from an open one."""

    entries: int = 0
    head: str = GENESIS
    state: str = "open"
    noise_source: str = "unknown"
    epsilon: float = 0.0
    delta: float = 0.0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "state": self.state,
            "noise_source": self.noise_source,
            "entries": self.entries,
            "head": self.head,
            "problems": [{"index": p.index, "kind": p.kind, "detail": p.detail} for p in self.problems],
            "epsilon": self.epsilon if math.isfinite(self.epsilon) else None,
            "delta": self.delta,
        }


def verify(lines: Iterable[str], public_key: str, witness: str | None = None) -> Verification:
    """Check every link and signature, replay reserve/commit/abandon/lost, and recompute epsilon at every charge.

    ``witness`` is a head seen earlier: it must occur in the chain, or the ledger was rolled back or forked.
    """
    found = Verification()
    replay = _Replay(found)
    seen = {GENESIS}
    for number, line in enumerate(lines):
        entry = _parse(line, number, found)
        if entry is None:
            break
        _check_link(entry, number, public_key, found)
        replay.step(number, entry)
        found.entries, found.head = number + 1, entry["hash"]
        seen.add(found.head)
    if found.entries == 0:
        found.problems.append(Problem(0, "empty", "the ledger has no entries"))
    if witness is not None and witness not in seen:
        found.problems.append(Problem(found.entries, "witness", "the head seen earlier is not in this ledger"))
    replay.finish()
    return found


def _parse(line: str, number: int, found: Verification) -> dict[str, Any] | None:
    """The fields of an entry, of the right types; None, and a problem, where they cannot be had."""
    try:
        entry = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        found.problems.append(Problem(number, "json", str(error)))
        return None
    if not isinstance(entry, dict) or set(entry) != set(_FIELDS):
        found.problems.append(Problem(number, "fields", f"an entry has exactly the fields {sorted(_FIELDS)}"))
        return None
    for name, kinds in _FIELDS.items():
        if not isinstance(entry[name], kinds) or isinstance(entry[name], bool):
            found.problems.append(Problem(number, "fields", f"{name} is not of the type it has in a ledger"))
            return None
    if not _DIGEST.fullmatch(entry["hash"]):
        found.problems.append(Problem(number, "fields", "hash is not 64 hexadecimal digits"))
        return None
    return entry


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _check_link(entry: dict[str, Any], number: int, public_key: str, found: Verification) -> None:
    def wrong(kind: str, detail: str) -> None:
        found.problems.append(Problem(number, kind, detail))

    if entry["index"] != number:
        wrong("index", f"entry {entry['index']} stands at position {number}")
    if entry["previous"] != found.head:
        wrong("chain", "the previous hash is not that of the entry before")
    if not _hash_holds(entry):
        wrong("hash", "the content does not have the hash it claims")
    elif not _signature_holds(public_key, entry):
        wrong("signature", "the signature is not by this key")


def _hash_holds(entry: dict[str, Any]) -> bool:
    try:
        content = {key: entry[key] for key in set(_FIELDS) - {"hash", "signature"}}
        return bool(entry_hash(content) == entry["hash"])
    except (ValueError, RecursionError):  # a number too large for a float has no canonical text
        return False


def _signature_holds(public_key: str, entry: dict[str, Any]) -> bool:
    try:
        signature = bytes.fromhex(entry["signature"])
    except ValueError:
        return False
    # spelt in one way only: an entry that can be changed and still verifies is no evidence
    return signature.hex() == entry["signature"] and verifies(public_key, bytes.fromhex(entry["hash"]), signature)


class _Replay:
    """The state that entries build up: who paid for what."""

    def __init__(self, found: Verification) -> None:
        self._found = found
        self._policy: BudgetPolicy | None = None
        self._events: dict[str, tuple[GaussianEvent, int]] = {}
        self._waiting: str | None = None
        self._releases = 0
        self._closed = False

    def step(self, number: int, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        if self._closed:
            self._wrong(number, "after_close", "an entry follows the closing one")
        if (number == 0) != (kind == "open"):
            self._wrong(number, "order", f"entry {number} is of kind {kind!r}")
        if kind not in KINDS:
            self._wrong(number, "kind", f"unknown kind {kind!r}")
            return
        try:
            body = parse(kind, entry["body"])
        except (ValueError, RecursionError) as error:
            self._wrong(number, "body", f"in an entry of kind {kind}: {error}")
            return
        match body:
            case Opened():
                self._policy, self._found.noise_source = body.policy, body.noise_source
            case Reserved():
                self._reserve(number, body)
            case Committed() | Lost() | Abandoned():
                self._settle(number, body)
            case Closed():
                self._close(number, body)

    def finish(self) -> None:
        self._found.state = "closed" if self._closed else "open"
        if self._policy is not None:
            self._found.epsilon, self._found.delta = self._epsilon(), self._policy.delta

    def _reserve(self, number: int, body: Reserved) -> None:
        if self._waiting is not None:
            self._wrong(number, "open_reservation", f"{self._waiting} was neither committed nor given back")
        if body.reservation in self._events:
            self._wrong(number, "reservation", f"{body.reservation} was reserved before")
        self._waiting = body.reservation
        self._events[body.reservation] = (body.event, body.participations)
        epsilon = self._epsilon()
        if not math.isclose(epsilon, body.epsilon, rel_tol=_TOLERANCE):
            self._wrong(number, "epsilon", f"claims {body.epsilon:.6g}, replay gives {epsilon:.6g}")
        if self._policy is None:
            return
        if epsilon > self._policy.epsilon * (1 + _TOLERANCE):
            self._wrong(number, "over_budget", f"{epsilon:.6g} passes the cap of {self._policy.epsilon:.6g}")
        told, most = body.participations, self._policy.participations
        if self._policy.roster_sealed and told != most:
            self._wrong(number, "unsealed", f"tells of {told} participations; the plan says {most}")
        elif told > most or (told == 0 and body.event.sampling.kind == "fixed"):
            self._wrong(number, "participations", f"{told} participations; a device of a round has 1 to {most}")

    def _settle(self, number: int, body: Committed | Lost | Abandoned) -> None:
        if body.reservation != self._waiting:
            self._wrong(number, "unreserved", f"{body.reservation} was not reserved just before")
        self._waiting = None
        match body:
            case Committed():
                self._releases += 1
            case Abandoned():
                self._events.pop(body.reservation, None)

    def _close(self, number: int, body: Closed) -> None:
        self._closed = True
        if self._waiting is not None:
            self._wrong(number, "open_reservation", f"closed while {self._waiting} was open")
        if body.releases != self._releases:
            self._wrong(number, "releases", f"claims {body.releases}, replay gives {self._releases}")
        if not math.isclose(self._epsilon(), body.epsilon, rel_tol=_TOLERANCE):
            self._wrong(number, "epsilon", f"claims {body.epsilon:.6g}, replay gives {self._epsilon():.6g}")

    def _epsilon(self) -> float:
        if self._policy is None or not self._events:
            return 0.0
        events = [event for event, _ in self._events.values()]
        most = max(participations for _, participations in self._events.values())
        exposure = Exposure(most, sealed=self._policy.roster_sealed)
        listed = bounds(Counter(events), exposure, self._policy.delta)
        return smallest(listed, self._policy.adjacency).epsilon

    def _wrong(self, number: int, kind: str, detail: str) -> None:
        self._found.problems.append(Problem(number, kind, detail))
