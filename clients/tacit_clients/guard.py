"""The device's own veto: what the server asks is checked against what it promised before and what the owner allows."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from tacit_privacy.contract import AdapterSpec, RoundTerms, canonical
from tacit_privacy.errors import TermsRefused
from tacit_privacy.ledger.bodies import Restored
from tacit_privacy.ledger.chain import Entry
from tacit_privacy.ledger.keys import SigningKey, verifies
from tacit_privacy.mechanisms.coding import Coding

LEVELS = (2**8, 2**26)  # coarser is no grid; squares of finer steps would overflow, see mechanisms.gaussian
CLIPS = (1e-9, 1e9)  # a clip norm outside is a mistake or a trick
MOST_EPOCHS, MOST_TOKENS = 100, 2**15  # in a round, of an example: more would keep a device busy for ever
MOST_RUNS = 1024  # a server that keeps renaming its run does not fill the device
_SIGNED = b"tacit guard memory\n"  # before what is signed, so that it is no receipt


@dataclass(frozen=True, slots=True)
class Floor:
    """What the device's owner insists on, whatever a server promises. None: nothing of that kind."""

    least_noise: float | None = None  # noise multiplier of a release
    largest_clip: float | None = None
    most_participations: int | None = None  # in all runs together, so that a renamed run gains nothing


NO_FLOOR = Floor()


@dataclass(frozen=True, slots=True)
class RunMemory:
    """What a device remembers of one run: where it stands, and the strictest promise that it agreed to."""

    round: int = 0
    participations: int = 0
    limit: int = 0  # the fewest participations ever promised; 0: none seen
    ledger_length: int = 0
    ledger_head: str = ""
    separation: int = 1  # the longest pause
    noise: float = 0.0  # the largest noise multiplier
    clip: float = 0.0  # the smallest limit of the clip norm; 0: none seen
    period_s: float = 0.0  # the longest period after which participations are new; 0: they never are
    since: float = 0.0  # when this period began, by the device's clock
    recent: int = 0  # participations in it

    def renewed(self, period_s: float, now: float) -> bool:
        """Whether a period is over, and participations count from nothing again."""
        return self.recent == 0 or (period_s > 0 and now - self.since >= period_s)

    def after(self, terms: RoundTerms, now: float = 0.0) -> "RunMemory":
        """Once it has taken part in the round of ``terms`` at ``now``."""
        limit = terms.clip_limit or terms.clip_norm
        told = terms.period_s or 0.0
        period = told if not self.round else 0.0 if 0.0 in (told, self.period_s) else max(told, self.period_s)
        new = self.renewed(period, now)
        return RunMemory(
            round=terms.round,
            participations=self.participations + 1,
            limit=min(self.limit or terms.participations, terms.participations),
            ledger_length=terms.ledger_length,
            ledger_head=terms.ledger_head,
            separation=max(self.separation, terms.separation),
            noise=max(self.noise, terms.noise_multiplier),
            clip=min(self.clip or limit, limit),
            period_s=period,
            since=now if new else self.since,
            recent=1 if new else self.recent + 1,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a device has seen a ledger."""

    length: int
    head: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What a device remembers of every run it took part in, and of every ledger: plain values, kept in its own store.

    No run is ever forgotten, so neither re-enrolment nor a detour over another run resets a participation count. A
    device with a key signs its memory, so that nobody else can change it. What no signature can tell is that the store
    was wiped or put back to an earlier state as a whole: that is the owner's to protect.
    """

    runs: dict[str, RunMemory] = field(default_factory=dict)
    ledgers: dict[str, Seen] = field(default_factory=dict)  # by the hash of their first entry

    def of(self, run: str) -> RunMemory:
        return self.runs.get(run, RunMemory())

    @property
    def participations(self) -> int:
        """In all runs."""
        return sum(known.participations for known in self.runs.values())

    def as_values(self, key: SigningKey | None = None) -> dict[str, str]:
        """JSON texts, as Flower's ConfigRecord holds them, and their signature where the device has a ``key``."""
        runs = canonical({run: asdict(known) for run, known in self.runs.items()}).decode()
        ledgers = canonical({name: asdict(seen) for name, seen in self.ledgers.items()}).decode()
        signed = {"signature": key.sign(_signed(runs, ledgers)).hex()} if key else {}
        return {"runs": runs, "ledgers": ledgers, **signed}

    @classmethod
    def from_values(cls, values: dict[str, Any], public_key: str | None = None) -> Self:
        """The inverse of ``as_values``. Raises TermsRefused on a memory that is damaged, or not signed by the device
        where that has a key: nobody may guess it.
        """
        try:
            if public_key is not None:
                signature = bytes.fromhex(values["signature"])
                if not verifies(public_key, _signed(values["runs"], values["ledgers"]), signature):
                    raise TermsRefused("memory", "the device's own record of past rounds was changed; restore it")
            runs = {run: RunMemory(**known) for run, known in json.loads(values["runs"]).items()}
            return cls(runs, {name: Seen(**seen) for name, seen in json.loads(values["ledgers"]).items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TermsRefused("memory", "the device's own record of past rounds is damaged; restore it") from error


def _signed(runs: str, ledgers: str) -> bytes:
    return _SIGNED + f"{runs}\n{ledgers}".encode()


def check(
    memory: Memory,
    terms: RoundTerms,
    payload: bytes,
    signature: bytes,
    resident: AdapterSpec,
    server_key: str | None,
    floor: Floor = NO_FLOOR,
    now: float = 0.0,
    one_ledger: bool = False,
) -> Memory:
    """Agree to a round, or raise TermsRefused; returns what the device will remember once it has replied.

    Pure. Checked, in this order: the signature by the pinned key (None: nothing is pinned, for simulations and trials
    alone); the resident adapter's shape; a sane grid, coding, clip, training and set of statistics; rounds that only
    go forward, with the pause between two participations; at most as many participations, at least as much noise and
    at most the clip that this run promised at its strictest and that the owner allows; a ledger that never shrinks and
    never changes what it said, and with ``one_ledger`` no other beside it. ``now``: seconds on the device's own clock,
    which participations by period are counted by.
    """
    if server_key is not None and not verifies(server_key, payload, signature):
        raise TermsRefused("signature", "the terms are not signed by the pinned server key")
    _check_sense(terms, resident)
    known = memory.of(terms.run)
    strict = known.after(terms, now)  # with what these very terms promise
    _check_turns(known, strict, terms)
    _check_protection(strict, terms)
    _check_owner(memory, strict, terms, floor)
    _check_ledger(memory, known, terms, one_ledger)
    if terms.run not in memory.runs and len(memory.runs) >= MOST_RUNS:
        raise TermsRefused("runs", f"the device already remembers {MOST_RUNS} runs; its owner has to clear old ones")
    ledgers = {terms.ledger: Seen(terms.ledger_length, terms.ledger_head)} if terms.ledger else {}
    return Memory({**memory.runs, terms.run: strict}, {**memory.ledgers, **ledgers})


def resolved(memory: Memory, ledger: str, entry: Entry, public_key: str) -> Memory:
    """Memory after its server said, in a signed entry of the ledger, that it was restored from an older copy and that
    whatever was lost is charged. Raises TermsRefused where the entry does not cover what the device has seen.
    """
    seen = memory.ledgers.get(ledger)
    if seen is None:
        return memory
    if entry.index >= seen.length:
        raise TermsRefused("rollback", "what the server owns up to is not what was seen here")
    if not entry.holds(public_key) or entry.kind != "restore":
        raise TermsRefused("rollback", "what the server says of its restored ledger is not signed by its key")
    told = Restored.model_validate(entry.body)
    same = told.length > seen.length or (told.length == seen.length and told.head == seen.head)
    if not same:
        raise TermsRefused(
            "rollback", f"the server owns up to {told.length} lost entries; {seen.length} were seen here"
        )
    return Memory(memory.runs, {**memory.ledgers, ledger: Seen(entry.index + 1, entry.hash)})


def _check_sense(terms: RoundTerms, resident: AdapterSpec) -> None:
    if terms.spec != resident or terms.rank > resident.rank:
        raise TermsRefused("adapter", "the terms describe another adapter than the resident one")
    if not LEVELS[0] <= terms.levels <= LEVELS[1]:
        raise TermsRefused("levels", f"a grid of {terms.levels} levels is outside 2^8 to 2^26")
    if not Coding(terms.bits, terms.quantum, terms.levels).sensible(terms.spec.prefix(terms.rank)):
        raise TermsRefused("bits", f"nothing is left of an update in {terms.bits} bits of {terms.quantum} grid steps")
    for clip in (terms.clip_norm, terms.clip_limit or terms.clip_norm):
        if not CLIPS[0] <= clip <= CLIPS[1]:
            raise TermsRefused("clip", f"a clip norm of {clip} is outside {CLIPS[0]} to {CLIPS[1]}")
    if terms.training.epochs > MOST_EPOCHS or terms.training.max_length > MOST_TOKENS:
        raise TermsRefused("training", f"the terms ask for more than {MOST_EPOCHS} epochs or {MOST_TOKENS} tokens")
    if len({statistic.name for statistic in terms.statistics}) < len(terms.statistics):
        raise TermsRefused("statistics", "the terms ask for a statistic twice")


def _check_turns(known: RunMemory, strict: RunMemory, terms: RoundTerms) -> None:
    if terms.round <= known.round:
        raise TermsRefused("replayed", f"round {terms.round} is not after round {known.round}")
    if strict.recent > strict.limit:
        raise TermsRefused("exhausted", f"already took part {strict.recent - 1} times of {strict.limit}")
    if known.participations and terms.round - known.round < strict.separation:
        raise TermsRefused(
            "separation", f"round {terms.round} is less than {strict.separation} rounds after round {known.round}"
        )


def _check_protection(strict: RunMemory, terms: RoundTerms) -> None:
    if terms.noise_multiplier < strict.noise:
        raise TermsRefused("noise", f"a noise multiplier of {terms.noise_multiplier:g} after one of {strict.noise:g}")
    if terms.clip_norm > strict.clip:
        raise TermsRefused("clip", f"a clip norm of {terms.clip_norm:g} passes the promised {strict.clip:g}")


def _check_owner(memory: Memory, strict: RunMemory, terms: RoundTerms, floor: Floor) -> None:
    if floor.least_noise is not None and terms.noise_multiplier < floor.least_noise:
        raise TermsRefused(
            "noise", f"a noise multiplier of {terms.noise_multiplier:g} is below the owner's {floor.least_noise:g}"
        )
    if floor.largest_clip is not None and strict.clip > floor.largest_clip:
        raise TermsRefused("clip", f"a clip norm of up to {strict.clip:g} is above the owner's {floor.largest_clip:g}")
    if floor.most_participations is not None and memory.participations >= floor.most_participations:
        raise TermsRefused(
            "exhausted", f"already took part {memory.participations} times, as often as the owner allows"
        )


def _check_ledger(memory: Memory, known: RunMemory, terms: RoundTerms, one_ledger: bool) -> None:
    """Against what was seen of this ledger in any run; of a run that names none, against what was seen in it."""
    if one_ledger and (not terms.ledger or (memory.ledgers and terms.ledger not in memory.ledgers)):
        raise TermsRefused("ledger", "the server shows another ledger than before, which forgets what was spent")
    seen = Seen(known.ledger_length, known.ledger_head)
    if terms.ledger:
        seen = memory.ledgers.get(terms.ledger, Seen(0, ""))
    if terms.ledger_length < seen.length:
        raise TermsRefused("rollback", f"the ledger shrank from {seen.length} to {terms.ledger_length} entries")
    if terms.ledger_length == seen.length and seen.head not in ("", terms.ledger_head):
        raise TermsRefused("fork", "the ledger shows another head for the same length")
