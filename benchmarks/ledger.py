"""The ledger and the budget: a check at round 1,000, an offline verification, receipts, and durable appends.

A coordinator spends 1,000 rounds in a database file, each step in a transaction of its own and 100 devices a round,
once for every way of charging. Rounds 1,001 and on are timed. What only computes is timed in seconds of the processor,
so that other processes cost neither side; what waits for the disk by the wall clock. Repetitions of what is compared
alternate.
"""

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from figures import Figure, save, verdict

from tacit_privacy.accounting.budget import Budget, Reservation
from tacit_privacy.accounting.events import Adjacency, Arithmetic, Correlation, GaussianEvent, Sampling
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.accounting.poisson import epsilon_composed, epsilon_poisson
from tacit_privacy.accounting.policy import BudgetPolicy, Planned, _of_plan
from tacit_privacy.accounting.sampled import epsilon_sampled
from tacit_privacy.contract import LEVELS, Receipt
from tacit_privacy.ledger.bodies import Begun, Lost
from tacit_privacy.ledger.chain import Entry, Ledger
from tacit_privacy.ledger.database import begin, open_database
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.receipts import SignedReceipt, Tree, read_leaves
from tacit_privacy.ledger.verify import verify
from tacit_privacy.mechanisms.noise import SystemNoise

CHECK_S, VERIFY_S, RECEIPTS_SHARE, APPEND_SHARE = 0.010, 1.0, 0.5, 1 / 3
ROUNDS, COHORT, POPULATION = 1_000, 100, 10_000
TIMED = 40  # rounds whose check is timed, behind the first 1,000
RECEIPT_ROUNDS = 200
DELTA = 1e-6
COMMITS = 200  # durable ones in a repetition
FIXED = Sampling(kind="fixed", cohort=COHORT, population=POPULATION)
POISSON = Sampling(kind="poisson", cohort=COHORT, population=POPULATION)
CORRELATED = Correlation(bands=32, rounds=2 * ROUNDS)

Clock = Callable[[], float]


def constant(event: GaussianEvent) -> Callable[[int], GaussianEvent]:
    return lambda number: event


def changing(number: int) -> GaussianEvent:
    """No two rounds have the same noise."""
    return GaussianEvent(noise_multiplier=4.0 + number / ROUNDS, sampling=FIXED)


@dataclass(frozen=True)
class Way:
    """A way of charging: what the policy says, and the event of each round."""

    what: str
    event: Callable[[int], GaussianEvent]
    planned: GaussianEvent | None = None
    separation: int = 1

    @property
    def policy(self) -> BudgetPolicy:
        return BudgetPolicy(
            epsilon=100.0,
            delta=DELTA,
            participations=2 * ROUNDS if self.planned else 64,
            separation=self.separation,
            adjacency=Adjacency.ZERO_OUT,
            roster_sealed=self.planned is not None,
            population=POPULATION,
            plan=Planned(event=self.planned, rounds=2 * ROUNDS) if self.planned else None,
        )


_POISSON = GaussianEvent(noise_multiplier=1.0, sampling=POISSON)
_CORRELATED = GaussianEvent(noise_multiplier=8.0, sampling=FIXED, correlation=CORRELATED)
WAYS = {
    "fixed": Way("fixed cohorts, open roster", constant(GaussianEvent(noise_multiplier=4.0, sampling=FIXED))),
    "planned": Way("Poisson cohorts by a plan, sealed roster", constant(_POISSON), planned=_POISSON),
    "adaptive": Way("noise that changes every round", changing),
    "correlated": Way("correlated noise, 32 bands", constant(_CORRELATED), separation=10),
}


@dataclass
class Coordinator:
    """One run's budget in a database file."""

    folder: Path
    way: Way
    signing: bool  # whether devices sign receipts
    noise: SystemNoise = field(default_factory=SystemNoise)
    key: SigningKey = field(default_factory=SigningKey.generate)
    checks: list[float] = field(default_factory=list)  # seconds of each round's check
    rounds: list[float] = field(default_factory=list)  # seconds of each round's reserving and committing

    def __post_init__(self) -> None:
        self.database = open_database(f"sqlite:///{self.folder / 'ledger.db'}")
        self.ledger = Ledger(self.key.sign, time.time)
        self.devices = [SigningKey.simulated(1, device) for device in range(POPULATION if self.signing else 0)]
        self.publics = [key.public for key in self.devices]
        self.counts = [0] * POPULATION
        self.restart()

    def restart(self) -> None:
        """Begin anew with what the database holds."""
        arithmetic = Arithmetic(levels=LEVELS, dimension=8_192)
        run = Begun(
            run="bench", config="0" * 64, code="bench", clip_norm=1.0, arithmetic=arithmetic, noise_source="system"
        )
        self.budget = Budget(self.way.policy, self.ledger, run, self.noise, replay=False)
        with begin(self.database) as session:
            self.budget.open(session, self.key.public)

    def spend(self, numbers: range) -> None:
        """Reserve and commit these rounds. Every cohort is the next hundred devices."""
        for number in numbers:
            members = (np.arange(COHORT) + COHORT * (number - 1)) % POPULATION
            start = time.perf_counter()
            with begin(self.database) as session:
                asked = time.perf_counter()
                reservation = self.budget.reserve(session, number, members, self.way.event(number))
                self.checks.append(time.perf_counter() - asked)
            reserved = time.perf_counter() - start
            receipts = self._receipts(reservation, members.tolist()) if self.signing else []
            start = time.perf_counter()
            with begin(self.database) as session:
                self.budget.commit(session, reservation, members.tolist(), "1" * 64, receipts)
            self.rounds.append(reserved + time.perf_counter() - start)

    def _receipts(self, reservation: Reservation, members: list[int]) -> list[SignedReceipt]:
        """What the devices of a round sign."""
        with begin(self.database) as session:
            head, length = self.budget.head(session)
        found = []
        for device in members:
            self.counts[device] += 1
            payload = Receipt(
                run="bench",
                round=reservation.round,
                device=f"device-{device}",
                public_key=self.publics[device],
                terms="3" * 64,
                update="4" * 64,
                participation=self.counts[device],
                ledger_head=head,
                ledger_length=length,
            ).to_bytes()
            found.append(SignedReceipt(payload, self.devices[device].sign(payload)))
        return found

    def entries(self) -> list[Entry]:
        with begin(self.database) as session:
            return self.ledger.entries(session)

    def receipt_lines(self, entries: list[Entry]) -> Iterator[str]:
        with begin(self.database) as session:
            for entry in entries:
                if entry.kind == "commit" and (tree := Tree.kept(session, entry.body["reservation"])):
                    yield from tree.lines(entry.body["reservation"])


def alternating(jobs: Mapping[str, Callable[[], object]], repetitions: int, clock: Clock) -> dict[str, list[float]]:
    """Seconds of each repetition of each job, one after the other, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for repetition in range(repetitions + 1):
        for name, job in jobs.items():
            start = clock()
            job()
            if repetition:
                taken[name].append(clock() - start)
    return taken


def forget() -> None:
    """A verifier starts with nothing computed."""
    for remembered in (epsilon_of, epsilon_sampled, epsilon_composed, _of_plan):
        remembered.cache_clear()


def one_query() -> float:
    """Epsilon of 1,000 Poisson rounds by a privacy loss distribution."""
    forget()
    return epsilon_poisson(1.0, COHORT / POPULATION, ROUNDS, DELTA)


def verification(public: str, entries: list[Entry], repetitions: int) -> dict[str, Any]:
    """Verify a ledger without its receipts; beside it, bare verifications of as many signatures."""
    lines, key = [entry.line() for entry in entries], Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))

    def whole() -> None:
        forget()
        if not verify(lines, public).ok:
            raise RuntimeError("the benchmark's ledger does not verify")

    def bare() -> None:
        for entry in entries:
            key.verify(entry.signature, bytes.fromhex(entry.hash))

    return {"seconds": alternating({"verify": whole, "bare": bare}, repetitions, time.thread_time)}


def receipts(coordinator: Coordinator, repetitions: int) -> dict[str, Any]:
    """Verify the first rounds with all their receipts; beside it, bare verifications of the receipts' signatures."""
    entries = coordinator.entries()[: 2 + 2 * RECEIPT_ROUNDS]
    lines, public = [entry.line() for entry in entries], coordinator.key.public
    told = list(coordinator.receipt_lines(entries))
    signed = [leaf.receipt for _, leaf in read_leaves(told) if leaf.receipt.payload]
    keys = [Receipt.from_bytes(receipt.payload).public_key for receipt in signed]
    bare_ones = [Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)) for key in keys]

    def whole() -> None:
        found = verify(lines, public, receipts=told)
        if not found.ok or found.receipts != len(signed):
            raise RuntimeError("the benchmark's receipts do not verify")

    def bare() -> None:
        for key, receipt in zip(bare_ones, signed, strict=True):
            key.verify(receipt.signature, receipt.payload)

    taken = alternating({"verify": whole, "bare": bare}, repetitions, time.thread_time)
    return {"receipts": len(signed), "entries": len(entries), "seconds": taken}


def appends(folder: Path, repetitions: int) -> dict[str, Any]:
    """Entries appended, each in a transaction of its own; beside it, bare durable commits of a small row."""
    engine, key = open_database(f"sqlite:///{folder / 'appends.db'}"), SigningKey.generate()
    ledger = Ledger(key.sign, time.time)
    rows = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        rows.execute(f"PRAGMA {pragma}")
    rows.execute("CREATE TABLE bare (position INTEGER PRIMARY KEY, payload TEXT)")

    def append() -> None:
        for _ in range(COMMITS):
            with begin(engine) as session:
                ledger.append(session, Lost(reservation="1.1"))

    def bare() -> None:
        for _ in range(COMMITS):
            rows.execute("BEGIN IMMEDIATE")
            rows.execute("INSERT INTO bare (payload) VALUES (?)", ("0" * 200,))
            rows.execute("COMMIT")

    taken = alternating({"append": append, "bare": bare}, repetitions, time.perf_counter)
    rows.close()
    engine.dispose()
    return {"seconds": taken, "per_second": {name: COMMITS / median(seconds) for name, seconds in taken.items()}}


def measure(root: Path, repetitions: int) -> dict[str, Any]:
    found: dict[str, Any] = {"checks": {}, "verify": {}}
    for name, way in WAYS.items():
        folder = root / name
        folder.mkdir()
        coordinator = Coordinator(folder, way, signing=name == "fixed")
        coordinator.spend(range(1, ROUNDS + 1))
        entries = coordinator.entries()
        found["verify"][name] = verification(coordinator.key.public, entries, repetitions)
        if coordinator.signing:
            found["receipts"] = receipts(coordinator, repetitions)
        coordinator.restart()
        coordinator.spend(range(ROUNDS + 1, ROUNDS + TIMED + 1))
        found["checks"][name] = {"checks": coordinator.checks[ROUNDS:], "rounds": coordinator.rounds[ROUNDS:]}
        coordinator.database.dispose()
    found["query"] = alternating({"pld": one_query}, repetitions, time.perf_counter)["pld"]
    found["appends"] = appends(root, repetitions)
    return found


def judge(found: dict[str, Any]) -> list[Figure]:
    query, append = median(found["query"]), found["appends"]["per_second"]
    share = append["append"] / append["bare"]
    return [
        *(_check(name, found["checks"][name]["checks"], query) for name in WAYS),
        *(_verified(name, found["verify"][name]["seconds"], query) for name in WAYS),
        _receipts(found["receipts"]),
        Figure(
            "durable ledger appends a second, each in a transaction of its own",
            f"{append['append']:,.0f}, {share:.2f} of bare ones",
            f"bare durable SQLite commits of one row: {append['bare']:,.0f}",
            "at least a third of bare ones",
            share >= APPEND_SHARE,
        ),
        Figure(
            "rounds a second, reserved and committed with 100 receipts, in two transactions",
            f"{1 / median(found['checks']['fixed']['rounds']):.0f}",
            f"two durable appends of one entry: {append['append'] / 2:,.0f}",
        ),
    ]


def _check(name: str, seconds: list[float], query: float) -> Figure:
    taken = median(seconds)
    return Figure(
        f"budget check at round 1,000: {WAYS[name].what}",
        f"{taken * 1e3:.1f} ms, {query / taken:.0f} times faster",
        f"one query of a privacy loss distribution: {query:.2f} s",
        f"under {CHECK_S * 1e3:.0f} ms",
        taken < CHECK_S,
    )


def _verified(name: str, seconds: Mapping[str, list[float]], query: float) -> Figure:
    taken, bare = median(seconds["verify"]), median(seconds["bare"])
    bounding = f"; bounding the plan takes a query of {query:.2f} s" if WAYS[name].planned else ""
    return Figure(
        f"verify 1,000 rounds without receipts: {WAYS[name].what}",
        f"{taken:.2f} s, {taken / bare:.1f} times bare signatures",
        f"its {2 * ROUNDS + 2:,} bare Ed25519 verifications: {bare:.2f} s{bounding}",
        f"under {VERIFY_S:.0f} s",
        taken < VERIFY_S,
    )


def _receipts(found: dict[str, Any]) -> Figure:
    count, seconds = found["receipts"], found["seconds"]
    rate, bare = count / median(seconds["verify"]), count / median(seconds["bare"])
    return Figure(
        "receipts verified a second with their ledger, 100 a round",
        f"{rate:,.0f}, {rate / bare:.2f} of bare signatures",
        f"bare Ed25519 verifications of the same receipts: {bare:,.0f}",
        f"at least {RECEIPTS_SHARE} of bare signatures",
        rate / bare >= RECEIPTS_SHARE,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="measured repetitions of each comparison")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.repetitions)
    rows = judge(found)
    save("ledger", rows, found)
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
