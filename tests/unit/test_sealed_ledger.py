"""Behind a sealed roster a ledger says what was planned: who took part, and how many, changes nothing in it but a salt.

Poisson amplification is a bound only while that holds (docs/server.md).
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from tacit_privacy.accounting.bounds import Adjacency
from tacit_privacy.accounting.budget import Budget, BudgetPolicy
from tacit_privacy.accounting.events import Sampling
from tacit_privacy.contract import digest
from tacit_privacy.ledger.chain import Ledger, ParticipationRow, PrivacyTables
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.sealing import Opening
from tacit_privacy.ledger.verify import verify
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_privacy.mechanisms.noise import NoiseSource, SeededNoise, SystemNoise

KEY = SigningKey.simulated(7)
CAP = 3
HISTORIES: dict[str, list[list[int]]] = {
    "nobody": [[], [], []],
    "always the same": [[4, 5], [4, 5], [4, 5]],
    "always others": [[1], [2, 3, 7, 8], []],
}


class Run:
    """A budget and its ledger in memory."""

    def __init__(self, sealed: bool = True, kind: str = "poisson", replay: bool = True, noise: Any = None) -> None:
        self.database = create_engine("sqlite://")
        PrivacyTables.metadata.create_all(self.database)
        self.session = Session(self.database)
        self.ledger = Ledger(KEY.sign, lambda: 5.0)
        policy = BudgetPolicy(
            epsilon=20.0, delta=1e-2, participations=CAP, adjacency=Adjacency.ZERO_OUT, roster_sealed=sealed,
            population=40,
        )  # fmt: skip
        self.noise: NoiseSource = noise or SeededNoise(1)
        self.sampling = Sampling.model_validate({"kind": kind, "cohort": 8, "population": 40})
        self.budget = Budget(policy, self.ledger, GaussianSum(1.0, 2.0), self.noise, replay)
        self.budget.open(self.session, "0" * 64, KEY.public)

    def round(self, number: int, devices: Sequence[int]) -> str:
        """One release to ``devices``; the name of its reservation."""
        reserved = self.budget.reserve(self.session, number, np.array(devices, dtype=np.intp), self.sampling)
        self.budget.commit(self.session, reserved, devices, "1" * 64, [receipt(number, device) for device in devices])
        return reserved.id

    def bodies(self) -> list[dict[str, Any]]:
        return [entry.body for entry in self.ledger.entries(self.session)]

    def lines(self) -> list[str]:
        return [entry.line() for entry in self.ledger.entries(self.session)]


def receipt(number: int, device: int) -> bytes:
    return f"round {number}, device {device}".encode()


def lived(history: str, **settings: Any) -> Run:
    run = Run(**settings)
    for number, devices in enumerate(HISTORIES[history], 1):
        run.round(number, devices)
    run.budget.close(run.session)
    return run


@pytest.mark.parametrize("kind", ["poisson", "fixed"])
def test_who_took_part_changes_nothing_but_the_commitments(kind: str) -> None:
    told = []
    for history in HISTORIES:
        bodies = lived(history, kind=kind).bodies()
        commitments = [body.pop("receipts") for body in bodies if "receipts" in body]
        assert len(set(commitments)) == 3
        told.append(bodies)
    assert told[0] == told[1] == told[2]
    assert {body["participations"] for body in told[0] if "participations" in body} == {CAP}


def test_an_open_roster_says_what_came_to_pass() -> None:
    """The realised maximum is a tighter figure, and public where who took part is."""
    run = lived("always others", sealed=False)
    assert [body["participations"] for body in run.bodies() if "participations" in body] == [1, 1, 1]


@pytest.mark.parametrize("sealed", [True, False])
def test_no_ledger_holds_what_could_be_guessed_from_an_update(sealed: bool) -> None:
    """A receipt names the exact update, which no noise covers: whoever knows the others could try out one more."""
    run = lived("always others", sealed=sealed)
    published = {body["receipts"] for body in run.bodies() if "receipts" in body}
    receipts = [
        [receipt(number, device) for device in devices] for number, devices in enumerate([[1], [2, 3, 7, 8], []], 1)
    ]
    guesses = {digest(b"".join(sorted(some))) for some in receipts} | {
        Opening.of(some, b"").commitment for some in receipts
    }
    assert len(published) == 3 and not published & guesses


@pytest.mark.parametrize("history", HISTORIES)
def test_a_sealed_ledger_verifies_without_being_opened(history: str) -> None:
    run = lived(history)
    found = verify(run.lines(), KEY.public)
    assert (found.problems, found.state) == ([], "closed")
    assert found.epsilon == run.budget.spent(run.session).epsilon


def test_the_server_can_open_what_it_committed_to() -> None:
    run = Run()
    name = run.round(1, [9, 2])
    (published,) = [body["receipts"] for body in run.bodies() if "receipts" in body]
    opening = Opening.kept(run.session, name)
    assert opening is not None and len(opening.salt) == 32
    assert opening.commitment == published
    assert opening.leaves == tuple(sorted(digest(receipt(1, device)) for device in (2, 9)))
    assert Opening(opening.salt, opening.leaves[:1]).commitment != published
    assert Opening(bytes(32), opening.leaves).commitment != published
    assert Opening.kept(run.session, "another") is None
    assert opening.salt.hex() not in "".join(run.lines())


def test_without_the_salt_a_commitment_cannot_be_guessed() -> None:
    """Receipts are guessable, and an empty cohort is: a digest of them alone would be a list to try."""
    run = lived("nobody")
    guesses = {digest(b""), digest(bytes(32)), Opening.of([], b"").commitment}
    assert not guesses & {body["receipts"] for body in run.bodies() if "receipts" in body}


def test_seeded_salts_repeat_and_the_systems_never_do() -> None:
    def commitments(noise: NoiseSource) -> list[str]:
        return [body["receipts"] for body in lived("nobody", noise=noise).bodies() if "receipts" in body]

    assert commitments(SeededNoise(1)) == commitments(SeededNoise(1))
    assert not set(commitments(SeededNoise(1))) & set(commitments(SeededNoise(2)))
    assert not set(commitments(SystemNoise())) & set(commitments(SystemNoise()))


def test_a_salt_is_no_part_of_the_noise() -> None:
    """It may be shown one day; noise must not follow from it."""
    noise = SeededNoise(1)
    drawn = noise.discrete_gaussian(1e6, 64, "release 1").tobytes()
    assert noise.salt("release 1") not in drawn and noise.salt("release 1") != noise.salt("release 2")


def test_giving_back_tells_no_count() -> None:
    run = Run()
    run.budget.abandon(run.session, run.budget.reserve(run.session, 1, np.array([1]), run.sampling), "3 of 6 needed")
    assert run.bodies()[-1]["why"] == "too few devices"


def test_a_crash_is_charged_to_those_who_were_asked_and_tells_nothing_of_them() -> None:
    run = Run(replay=False)
    run.round(1, [1])
    run.budget.reserve(run.session, 2, np.array([1, 3]), run.sampling)
    run.budget.open(run.session, "0" * 64, KEY.public)
    run.round(2, [2])
    assert run.budget.participations(run.session) == {1: 2, 2: 1, 3: 1}
    assert [body["participations"] for body in run.bodies() if "participations" in body] == [CAP, CAP, CAP]
    assert verify(run.lines(), KEY.public).problems == []


def test_a_sealed_ledger_that_tells_of_participations_is_a_problem() -> None:
    opened = lived("always others", sealed=False)
    bodies = opened.bodies()
    bodies[0]["policy"]["roster_sealed"] = True
    ledger = Ledger(KEY.sign, lambda: 5.0)
    database = create_engine("sqlite://")
    PrivacyTables.metadata.create_all(database)
    with Session(database) as session:
        for entry, body in zip(opened.ledger.entries(opened.session), bodies, strict=True):
            ledger.append(session, entry.kind, body)
        lines = [entry.line() for entry in ledger.entries(session)]
    assert "unsealed" in {problem.kind for problem in verify(lines, KEY.public).problems}


# ---- the account is kept, not read again


def test_a_charge_reads_what_is_new_alone() -> None:
    run = Run()
    read: list[int] = []

    @event.listens_for(run.database, "after_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *more: Any) -> None:
        if statement.startswith('SELECT ledger."index"'):
            read.append(parameters[0])

    for number in range(1, 31):
        run.round(number, [])
    assert read == sorted(read) and read.count(0) == 1 and read[-1] == 59


def test_two_servers_on_one_ledger_see_each_other() -> None:
    one = Run(sealed=False)
    other = Run(sealed=False)
    other.session, other.budget._ledger = one.session, other.ledger
    one.round(1, [1, 2])
    other.round(2, [1])
    one.round(3, [1])
    assert [body["participations"] for body in one.bodies() if "participations" in body] == [1, 2, 3]
    assert one.budget.head(one.session) == other.budget.head(one.session) == (one.ledger.head(one.session), 7)
    assert one.budget.events(one.session) == other.budget.events(one.session)
    assert verify(one.lines(), KEY.public).problems == []


def test_a_transaction_that_was_taken_back_was_never_charged() -> None:
    run = Run(sealed=False)
    run.session.commit()
    before = run.budget.head(run.session), run.budget.spent(run.session)
    with pytest.raises(RuntimeError), run.session.begin_nested():
        run.round(1, [1])
        raise RuntimeError("the disk is full")
    assert (run.budget.head(run.session), run.budget.spent(run.session)) == before
    run.session.rollback()
    run.round(1, [2])
    assert run.budget.participations(run.session) == {2: 1}
    assert verify(run.lines(), KEY.public).problems == []


def test_a_cohort_of_thousands_is_counted_in_a_few_queries() -> None:
    run = Run(sealed=False)
    statements: list[str] = []

    @event.listens_for(run.database, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        statements.append(statement)

    run.round(1, range(6_000))
    run.round(2, range(3_000, 9_000))
    selects = [statement for statement in statements if statement.startswith("SELECT")]
    assert len(selects) < 60
    counts = run.budget.participations(run.session)
    assert len(counts) == 9_000 and sum(counts.values()) == 12_000
    newest = run.session.get(ParticipationRow, 3_000)
    assert newest is not None and newest.count == 2
    assert json.loads(run.lines()[-2])["body"]["participations"] == 2
