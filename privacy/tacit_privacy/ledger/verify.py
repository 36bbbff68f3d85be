"""Replay a ledger offline: the file and the public key are enough to check the chain and recompute every bound."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tacit_privacy.contract import canonical
from tacit_privacy.ledger.account import Account
from tacit_privacy.ledger.bodies import (
    KINDS,
    Abandoned,
    Begun,
    Body,
    Closed,
    Committed,
    Ended,
    Lost,
    Opened,
    Reserved,
    Restored,
    Rotated,
    parse,
    releases_within,
)
from tacit_privacy.ledger.chain import GENESIS, entry_hash
from tacit_privacy.ledger.keys import PublicKeys, verifies
from tacit_privacy.ledger.leaves import ReceiptReader
from tacit_privacy.ledger.receipts import width_for

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
    """What a replay found. ``ok`` only when nothing is wrong; ``state`` tells a finished ledger from an open one.

    ``epsilon`` is what was spent at ``delta``; where budgets are renewed by period it is of the period that spent most,
    and ``lifetime_epsilon`` is of all of them. ``histogram``: how many devices took part how often, from the receipts;
    None where they were not checked.
    """

    entries: int = 0
    head: str = GENESIS
    state: str = "open"
    noise_source: str = "unknown"
    epsilon: float = 0.0
    delta: float = 0.0
    lifetime_epsilon: float | None = None
    problems: list[Problem] = field(default_factory=list)
    receipts: int = 0
    histogram: dict[int, int] | None = None
    account: Account = field(default_factory=Account, repr=False)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "ok": self.ok,
            "state": self.state,
            "noise_source": self.noise_source,
            "entries": self.entries,
            "head": self.head,
            "problems": [{"index": p.index, "kind": p.kind, "detail": p.detail} for p in self.problems],
            "epsilon": self.epsilon if math.isfinite(self.epsilon) else None,
            "delta": self.delta,
        }
        if self.lifetime_epsilon is not None:
            told["lifetime_epsilon"] = self.lifetime_epsilon if math.isfinite(self.lifetime_epsilon) else None
        if self.histogram is not None:
            told["receipts"] = self.receipts
            told["participations"] = {str(often): devices for often, devices in sorted(self.histogram.items())}
        return told


def verify(
    lines: Iterable[str], public_key: str, witness: str | None = None, receipts: Iterable[str] | None = None
) -> Verification:
    """Check every link and signature, replay what was charged, and recompute epsilon at every charge.

    ``public_key`` is the key that the ledger began with or the one that signs it now: each vouches for the other.
    ``witness`` is a head seen earlier: it must occur in the chain, or the ledger was rolled back or forked. With
    ``receipts`` (the lines of receipts.jsonl) every Merkle root is rebuilt, every device's signature checked, and how
    often each took part is counted instead of believed.
    """
    found = Verification()
    replay = _Replay(found, None if receipts is None else ReceiptReader(receipts))
    seen = {GENESIS}
    for number, line in enumerate(lines):
        entry = _parse(line, number, found)
        if entry is None:
            break
        replay.step(number, entry)
        found.entries, found.head = number + 1, entry["hash"]
        seen.add(found.head)
    if found.entries == 0:
        found.problems.append(Problem(0, "empty", "the ledger has no entries"))
    if witness is not None and witness not in seen:
        found.problems.append(Problem(found.entries, "witness", "the head seen earlier is not in this ledger"))
    replay.finish(public_key)
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
    if not _is_canonical(entry, line):
        found.problems.append(Problem(number, "spelling", "the line is not the one canonical text of its entry"))
    return entry


def _is_canonical(entry: dict[str, Any], line: str) -> bool:
    """An entry that can be written in two ways can be changed without being found out."""
    try:
        return canonical(entry).decode() == line.removesuffix("\n")
    except (ValueError, RecursionError):
        return False


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _hash_holds(entry: dict[str, Any]) -> bool:
    try:
        content = {key: entry[key] for key in set(_FIELDS) - {"hash", "signature"}}
        return bool(entry_hash(content) == entry["hash"])
    except (ValueError, RecursionError):  # a number too large for a float has no canonical text
        return False


def _signature_holds(keys: PublicKeys, public_key: str, entry: dict[str, Any]) -> bool:
    try:
        signature = bytes.fromhex(entry["signature"])
    except ValueError:
        return False
    # spelt in one way only: an entry that can be changed and still verifies is no evidence
    return signature.hex() == entry["signature"] and keys.verifies(public_key, bytes.fromhex(entry["hash"]), signature)


class _Replay:
    """Judges entry by entry what an account of them adds up."""

    def __init__(self, found: Verification, receipts: ReceiptReader | None) -> None:
        self._found, self._receipts = found, receipts
        self._account = found.account
        self._keys = PublicKeys()
        self._number = 0
        self._first_key = ""
        self._time = -math.inf
        self._owed = 0  # releases that a restore owned up to and that are not charged yet
        self._hashes: list[str] = []

    def step(self, number: int, entry: dict[str, Any]) -> None:
        """Judge the next entry, and add it to the account where it can be read."""
        self._number = number
        body = self._read(entry)
        self._check_link(entry, body)
        if body is not None:
            self._judge_before(body, entry)
            self._account.take(body, self._moment(entry))
            self._judge_after(body)
        self._hashes.append(entry["hash"])

    def finish(self, public_key: str) -> None:
        found, account = self._found, self._account
        self._number = max(0, found.entries - 1)
        if found.entries and public_key.lower() not in (self._first_key, account.key):
            self._wrong("key", "the ledger is not signed by this key")
        found.state = "closed" if account.closed else "open"
        found.noise_source = account.noise_source
        if account.policy is not None:
            found.epsilon, found.delta = account.dearest().epsilon, account.policy.delta
            if account.policy.period_s is not None:
                found.lifetime_epsilon = account.spent_ever().epsilon
        if self._receipts is not None:
            for problem in self._receipts.finish():
                self._wrong("receipts", problem)
            found.receipts, found.histogram = self._receipts.receipts, self._receipts.histogram()

    def _moment(self, entry: dict[str, Any]) -> float:
        try:
            return float(entry["time"])
        except OverflowError:
            return 0.0

    def _read(self, entry: dict[str, Any]) -> Body | None:
        kind = entry["kind"]
        if self._account.closed:
            self._wrong("after_close", "an entry follows the closing one")
        if (self._number == 0) != (kind == "open"):
            self._wrong("order", f"entry {self._number} is of kind {kind!r}")
        if kind not in KINDS:
            self._wrong("kind", f"unknown kind {kind!r}")
            return None
        try:
            return parse(kind, entry["body"])
        except (ValueError, RecursionError) as error:
            self._wrong("body", f"in an entry of kind {kind}: {error}")
            return None

    def _check_link(self, entry: dict[str, Any], body: Body | None) -> None:
        if entry["index"] != self._number:
            self._wrong("index", f"entry {entry['index']} stands at position {self._number}")
        if entry["previous"] != self._found.head:
            self._wrong("chain", "the previous hash is not that of the entry before")
        if self._moment(entry) < self._time:
            self._wrong("time", "the entry is older than the one before")
        self._time = max(self._time, self._moment(entry))
        key = self._account.key
        if isinstance(body, Opened) and self._number == 0:
            self._first_key = key = body.public_key
        if not _hash_holds(entry):
            self._wrong("hash", "the content does not have the hash it claims")
        elif not _signature_holds(self._keys, key, entry):
            self._wrong("signature", "the signature is not by the key that signs this ledger")

    def _judge_before(self, body: Body, entry: dict[str, Any]) -> None:
        """What an entry may not say after those before it."""
        account = self._account
        self._judge_owed(body)
        match body:
            case Begun():
                if body.run in account.runs:
                    self._wrong("run", f"{body.run} was begun before")
            case Reserved():
                self._judge_reservation(body)
            case Committed() | Abandoned() | Lost():
                if body.reservation not in account.waiting:
                    self._wrong("unreserved", f"{body.reservation} is not open")
                elif isinstance(body, Committed):
                    self._judge_release(body)
            case Rotated():
                if not verifies(body.public_key, bytes.fromhex(self._found.head), bytes.fromhex(body.endorsement)):
                    self._wrong("endorsement", "the new key did not sign the hash before")
            case Restored():
                self._judge_restore(body)
            case Ended():
                self._judge_end(body.run)
            case Closed():
                for name in account.waiting:
                    self._wrong("open_reservation", f"closed while {name} was open")

    def _judge_restore(self, body: Restored) -> None:
        """A release is two entries, a reservation and its end; one more may have been waiting for its end."""
        missing = body.length - self._number
        if missing < 1 or body.releases < releases_within(missing):
            self._wrong("restore", f"{missing} entries are missing and {body.releases} releases are owned up to")
        self._owed = body.releases

    def _judge_owed(self, body: Body) -> None:
        """Behind a restore come the lost releases that it owns up to, or the ledger's end, before anything else."""
        if self._owed and isinstance(body, Lost):
            self._owed -= 1
        elif self._owed and not isinstance(body, Reserved | Closed):
            self._wrong("restore", f"{self._owed} releases that were owned up to are not charged")

    def _judge_reservation(self, body: Reserved) -> None:
        account = self._account
        if body.run not in account.runs or body.run in account.ended:
            self._wrong("run", f"{body.run} is not under way")
        if body.reservation in account.charged:
            self._wrong("reservation", f"{body.reservation} was reserved before")
        planned = body.event.correlation
        if planned is not None and body.round > planned.rounds:
            self._wrong("round", f"round {body.round} of noise that was planned for {planned.rounds}")
        together = math.hypot(*(body.event.noise_multiplier / part.noise_multiplier for part in body.event.parts))
        if body.event.parts and not math.isclose(together, 1.0, rel_tol=_TOLERANCE):
            self._wrong("parts", "the parts of the release do not have the noise that it is charged for")
        for waiting in account.waiting.values():
            if waiting.run == body.run:
                self._wrong("open_reservation", f"{waiting.name} was neither committed nor given back")

    def _judge_release(self, body: Committed) -> None:
        charge = self._account.waiting[body.reservation]
        if body.realised is not None and body.realised < charge.event.noise_multiplier:
            self._wrong(
                "noise", f"released with noise {body.realised:g}; {charge.event.noise_multiplier:g} was charged"
            )
        policy = self._account.policy
        if policy is not None and policy.roster_sealed and (body.completed, body.realised) != (None, None):
            self._wrong("unsealed", "tells how many devices there were, or how much noise they brought")
        elif policy is not None and not policy.roster_sealed and body.completed is None:
            self._wrong("completed", "an open roster says how many devices a release is of")
        if body.completed is not None and body.completed > width_for(charge.event.sampling):
            self._wrong("completed", f"{body.completed} devices do not fit what was planned")
        if self._receipts is not None:
            for kind, detail in self._receipts.check(body, charge, self._hashes, policy):
                self._wrong(kind, detail)

    def _judge_end(self, run: str) -> None:
        if run not in self._account.runs or run in self._account.ended:
            self._wrong("run", f"{run} is not under way")
        if any(charge.run == run for charge in self._account.waiting.values()):
            self._wrong("open_reservation", f"{run} ended while a reservation was open")

    def _judge_after(self, body: Body) -> None:
        """Whether what an entry claims is what the account comes to with it."""
        account = self._account
        match body:
            case Reserved():
                self._judge_charge(body)
            case Closed():
                if body.releases != account.releases:
                    self._wrong("releases", f"claims {body.releases}, replay gives {account.releases}")
                if account.policy is not None:
                    self._compare(body.epsilon, account.dearest().epsilon)

    def _judge_charge(self, body: Reserved) -> None:
        account, policy = self._account, self._account.policy
        if policy is None:
            return
        charge = account.charged[body.reservation]
        epsilon = account.spent(charge.period).epsilon
        self._compare(body.epsilon, epsilon)
        if epsilon > policy.epsilon * (1 + _TOLERANCE):
            self._wrong("over_budget", f"{epsilon:.6g} passes the cap of {policy.epsilon:.6g}")
        told, most = body.participations, policy.participations
        ever = told if body.lifetime is None else body.lifetime.participations
        if policy.roster_sealed and (told != most or ever != most * (charge.period + 1 if body.lifetime else 1)):
            self._wrong("unsealed", f"tells of {told} participations; the plan says {most}")
        elif told > most or ever < told or (told == 0 and body.event.sampling.kind == "fixed"):
            self._wrong("participations", f"{told} participations; a device of a round has 1 to {most}")
        if (body.lifetime is None) != (policy.period_s is None):
            self._wrong("lifetime", "what all periods add up to is told where there are periods, and only there")
        elif body.lifetime is not None:
            self._compare(body.lifetime.epsilon, account.spent_ever().epsilon)

    def _compare(self, claimed: float, replayed: float) -> None:
        if not math.isclose(replayed, claimed, rel_tol=_TOLERANCE):
            self._wrong("epsilon", f"claims {claimed:.6g}, replay gives {replayed:.6g}")

    def _wrong(self, kind: str, detail: str) -> None:
        self._found.problems.append(Problem(self._number, kind, detail))
