"""What the entries of a ledger add up to, entry by entry: a charge need not read those before it again."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tacit_privacy.accounting.bounds import Bound
from tacit_privacy.accounting.events import Arithmetic, GaussianEvent
from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.ledger.bodies import (
    Abandoned,
    Begun,
    Body,
    Closed,
    Committed,
    Ended,
    Lost,
    Opened,
    Reserved,
    Rotated,
)


@dataclass(frozen=True, slots=True)
class Charge:
    """A release that is charged, and the most releases that any one device contributed to with it."""

    event: GaussianEvent
    participations: int
    run: str
    round: int
    period: int
    name: str
    lifetime: int  # the most releases that any one device ever contributed to with it
    epsilon: float


@dataclass
class Account:
    """The sum of a ledger's entries so far. ``take`` never raises: whether they make sense is a verifier's question."""

    opened: Opened | None = None
    since: float = 0.0  # time of the first entry
    key: str = ""  # that the next entry is signed with
    runs: dict[str, Begun] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    charged: dict[str, Charge] = field(default_factory=dict)  # by reservation, in order
    waiting: dict[str, Charge] = field(default_factory=dict)  # of those, what is neither released nor settled
    releases: int = 0
    closed: bool = False
    correlated: set[str] = field(default_factory=set)  # runs whose noise is, each within itself
    _tallies: dict[int, Counter[GaussianEvent]] = field(default_factory=dict)  # by period
    _most: dict[int, int] = field(default_factory=dict)  # by period, while nothing is given back

    def take(self, body: Body, time: float) -> None:
        """Add the next entry."""
        match body:
            case Opened():
                if self.opened is None:
                    self.opened, self.key, self.since = body, body.public_key, time
            case Begun():
                self.runs.setdefault(body.run, body)
            case Reserved():
                self._reserve(body, time)
            case Committed():
                self.releases += 1
                self._realise(body)
                self.waiting.pop(body.reservation, None)
            case Abandoned():
                self._give_back(body.reservation)
            case Lost():
                self.waiting.pop(body.reservation, None)
            case Rotated():
                self.key = body.public_key
            case Ended():
                self.ended.add(body.run)
            case Closed():
                self.closed = True

    @property
    def policy(self) -> BudgetPolicy | None:
        return self.opened.policy if self.opened else None

    @property
    def arithmetic(self) -> Arithmetic | None:
        """The coarsest numbers that any run draws its noise in."""
        if not self.runs:
            return None
        told = [begun.arithmetic for begun in self.runs.values()]
        return Arithmetic(levels=min(a.levels for a in told), dimension=max(a.dimension for a in told))

    @property
    def noise_source(self) -> str:
        """Where noise comes from; of several runs the first that does not draw from the operating system counts."""
        told = [begun.noise_source for begun in self.runs.values()]
        return next((name for name in told if name != "system"), told[0] if told else "unknown")

    def period(self, time: float) -> int:
        """The number of the budget period at ``time``, from 0; all of a ledger's life is one where none is set."""
        length = self.policy.period_s if self.policy else None
        passed = 0.0 if length is None else (time - self.since) / length
        return math.floor(passed) if 0 <= passed < math.inf else 0

    def tally(self, period: int | None = None) -> Counter[GaussianEvent]:
        """How often each event is charged, in a period or ever."""
        if period is not None:
            return self._tallies.get(period, Counter())
        return sum(self._tallies.values(), Counter())

    def most(self, period: int) -> int:
        """The most releases that any one device contributed to in a period."""
        return self._most.get(period, 0)

    @property
    def longest(self) -> int:
        """The most releases that any one device ever contributed to."""
        return max((charge.lifetime for charge in self.charged.values()), default=0)

    def spent(self, period: int, extra: GaussianEvent | None = None, participations: int = 0, run: str = "") -> Bound:
        """What a period has spent, or would have with one more release of ``extra`` by ``run``. Raises ValueError
        before a policy is known.
        """
        return self._bound(self.tally(period), max(self.most(period), participations), extra, run)

    def spent_ever(self, extra: GaussianEvent | None = None, participations: int = 0, run: str = "") -> Bound:
        """What all periods have spent together, or would have with one more release of ``extra`` by ``run``."""
        return self._bound(self.tally(), max(self.longest, participations), extra, run)

    def dearest(self) -> Bound:
        """What the period that spent most has spent: what the promise is about."""
        found = [self.spent(period) for period in self._tallies or (0,)]
        return max(found, key=lambda bound: bound.epsilon)

    def _bound(
        self, tally: Counter[GaussianEvent], participations: int, extra: GaussianEvent | None, run: str
    ) -> Bound:
        if self.policy is None:
            raise ValueError("a ledger without a policy promises nothing")
        runs = self.correlated | ({run} if extra is not None and extra.correlation is not None else set())
        counted = tally
        if extra is not None:
            counted = Counter(tally)  # a copy, which a sum of counters is not: that hashes every event anew
            counted[extra] += 1
        return self.policy.charged(counted, participations, self.arithmetic, len(runs))

    def _reserve(self, body: Reserved, time: float) -> None:
        ever = body.lifetime.participations if body.lifetime else body.participations
        period = self.period(time)
        charge = Charge(
            body.event, body.participations, body.run, body.round, period, body.reservation, ever, body.epsilon
        )
        self._give_back(body.reservation)  # a name that comes twice is charged once here, and a problem elsewhere
        self.charged[body.reservation] = self.waiting[body.reservation] = charge
        self._tallies.setdefault(period, Counter())[body.event] += 1
        self._most[period] = max(self.most(period), body.participations)
        if body.event.correlation is not None:
            self.correlated.add(body.run)

    def _realise(self, body: Committed) -> None:
        """Devices' shares of noise may add up to more than what was paid for, never to less."""
        charge = self.charged.get(body.reservation)
        if charge is None or body.realised is None or body.realised <= charge.event.noise_multiplier:
            return
        event = charge.event.model_copy(update={"noise_multiplier": body.realised, "parts": ()})
        self.charged[body.reservation] = replace(charge, event=event)
        tally = self._tallies[charge.period]
        tally[charge.event] -= 1
        tally[event] += 1
        self._tallies[charge.period] = +tally

    def _give_back(self, reservation: str) -> None:
        charge = self.charged.pop(reservation, None)
        self.waiting.pop(reservation, None)
        if charge is not None:
            tally = self._tallies[charge.period]
            tally[charge.event] -= 1
            self._tallies[charge.period] = +tally
            self._most[charge.period] = _most(self.charged.values(), charge.period)


def _most(charges: Iterable[Charge], period: int) -> int:
    return max((charge.participations for charge in charges if charge.period == period), default=0)
