"""Behind a sealed roster a ledger says what was planned: who took part, and how many, changes nothing in it but a salt.

Poisson amplification is a bound only while that holds (docs/server.md).
"""

import json
from typing import Any

import pytest
from ledgers import KEY, Books, policy
from sqlalchemy import event

from tacit_privacy.accounting.events import GaussianEvent, Sampling
from tacit_privacy.contract import commitment, digest
from tacit_privacy.errors import BudgetExhausted
from tacit_privacy.ledger import merkle
from tacit_privacy.ledger.bodies import parse
from tacit_privacy.ledger.receipts import SignedReceipt, Tree
from tacit_privacy.ledger.tables import ParticipationRow
from tacit_privacy.ledger.verify import verify
from tacit_privacy.mechanisms.noise import NoiseSource, SeededNoise, SystemNoise

CAP = 3
HISTORIES: dict[str, list[list[int]]] = {
    "nobody": [[], [], []],
    "always the same": [[4, 5], [4, 5], [4, 5]],
    "always others": [[1], [2, 3, 7, 8], []],
}


def books(sealed: bool = True, kind: str = "poisson", replay: bool = True, noise: Any = None) -> Books:
    """A budget and its ledger in memory."""
    allowed = policy(epsilon=20.0, delta=1e-2, participations=CAP, roster_sealed=sealed, population=40)
    sampling = Sampling.model_validate({"kind": kind, "cohort": 8, "population": 40})
    return Books(allowed, GaussianEvent(noise_multiplier=2.0, sampling=sampling), replay, noise)


def lived(history: str, **settings: Any) -> Books:
    run = books(**settings)
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
    published = set(run.told("receipts"))
    guesses = set()
    for name in {entry.body["reservation"] for entry in run.ledger.entries(run.session) if entry.kind == "commit"}:
        tree = Tree.kept(run.session, name)
        assert tree is not None
        payloads = sorted(receipt.payload for receipt in tree.receipts)
        guesses |= {
            digest(b"".join(payloads)),
            Tree.of(tree.receipts, 8, b"").root,
            Tree.of(tree.receipts, 8, bytes(32)).root,
        }
    assert len(published) == 3 and not published & guesses


@pytest.mark.parametrize("history", HISTORIES)
def test_a_sealed_ledger_verifies_without_being_opened(history: str) -> None:
    run = lived(history)
    found = verify(run.lines(), KEY.public)
    assert (found.problems, found.state) == ([], "closed")
    assert found.epsilon == run.budget.spent(run.session).epsilon


def test_the_server_can_open_what_it_committed_to() -> None:
    run = books()
    name = run.round(1, [9, 2])
    (published,) = run.told("receipts")
    tree = Tree.kept(run.session, name)
    assert tree is not None and tree.root == published
    assert sorted(json.loads(receipt.payload)["device"] for receipt in tree.receipts) == ["device-2", "device-9"]
    assert Tree(tree.leaves[::-1]).root != published
    assert Tree.kept(run.session, "another") is None
    told = "".join(run.lines())
    assert not any(leaf.salt.hex() in told or leaf.hash.hex() in told for leaf in tree.leaves)


def test_one_receipt_can_be_shown_to_be_in_a_round_without_any_other() -> None:
    run = books()
    tree = Tree.kept(run.session, run.round(1, [9, 2, 5]))
    assert tree is not None
    for place, leaf in enumerate(tree.leaves):
        proof = tree.proof(place)
        assert merkle.climb(leaf.hash, place, proof).hex() == run.told("receipts")[0]
        assert merkle.climb(leaf.hash, place ^ 1, proof).hex() != run.told("receipts")[0]
        other = SignedReceipt(b"another receipt", leaf.receipt.signature)
        forged = merkle.leaf_hash(leaf.salt, other.signature, other.payload)
        assert merkle.climb(forged, place, proof).hex() != run.told("receipts")[0]


def test_a_tree_is_as_wide_as_was_planned_whoever_came() -> None:
    widths = set()
    for devices in ([], [1], range(8)):
        run = books()
        tree = Tree.kept(run.session, run.round(1, devices))
        assert tree is not None
        widths.add(len(tree.leaves))
        assert len(tree.receipts) == len(devices)
    assert len(widths) == 1


def test_seeded_salts_repeat_and_the_systems_never_do() -> None:
    def commitments(noise: NoiseSource) -> list[str]:
        return lived("nobody", noise=noise).told("receipts")

    assert commitments(SeededNoise(1)) == commitments(SeededNoise(1))
    assert not set(commitments(SeededNoise(1))) & set(commitments(SeededNoise(2)))
    assert not set(commitments(SystemNoise())) & set(commitments(SystemNoise()))


def test_a_salt_is_no_part_of_the_noise() -> None:
    """It may be shown one day; noise must not follow from it."""
    noise = SeededNoise(1)
    drawn = noise.discrete_gaussian(1e6, 64, "release 1").tobytes()
    assert noise.salt("release 1") not in drawn and noise.salt("release 1") != noise.salt("release 2")


def test_giving_back_tells_no_count() -> None:
    run = books()
    run.budget.abandon(run.session, run.reserve(1, [1]), "3 of 6 needed")
    assert run.bodies()[-1]["why"] == "too few devices"


def test_a_crash_is_charged_to_those_who_were_asked_and_tells_nothing_of_them() -> None:
    run = books(replay=False)
    run.round(1, [1])
    run.reserve(2, [1, 3])
    run.open()
    run.round(2, [2])
    assert run.budget.participations(run.session) == {1: 2, 2: 1, 3: 1}
    assert [body["participations"] for body in run.bodies() if "participations" in body] == [CAP, CAP, CAP]
    assert verify(run.lines(), KEY.public).problems == []


def test_a_sealed_ledger_that_tells_of_participations_is_a_problem() -> None:
    opened, other = lived("always others", sealed=False), books(sealed=True)
    for entry in opened.ledger.entries(opened.session)[2:]:
        other.ledger.append(other.session, parse(entry.kind, entry.body))
    told = [problem.detail for problem in verify(other.lines(), KEY.public).problems if problem.kind == "unsealed"]
    assert len(told) == 6  # participations and completed devices, of three rounds


# ---- the account is kept, not read again


def test_a_charge_reads_what_is_new_alone() -> None:
    run = books()
    run.session.commit()
    read: list[int] = []

    @event.listens_for(run.database, "after_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *more: Any) -> None:
        if statement.startswith("SELECT ledger") and ">=" in statement:
            read.append(parameters[0])

    for number in range(1, 31):
        run.round(number, [])
    assert read == sorted(read) and read[0] == 2 and read[-1] == 61


def test_two_runs_on_one_ledger_see_each_other() -> None:
    one = books(sealed=False)
    one.session.commit()
    other = Books(one.budget.policy, one.event, run="other", database=one.database)
    for number, run in enumerate((one, other, one), 1):
        run.round(number, [1, 2] if number == 1 else [1])
        run.session.commit()
    assert one.told("participations") == [1, 2, 3]
    assert one.budget.head(one.session) == other.budget.head(other.session)
    assert one.budget.events(one.session) == other.budget.events(other.session)
    one.close()
    one.session.commit()
    assert verify(one.lines(), KEY.public).state == "open"  # the other is still under way
    other.close()
    assert (verify(other.lines(), KEY.public).problems, verify(other.lines(), KEY.public).state) == ([], "closed")


def test_a_reservation_of_another_run_counts_before_it_is_settled() -> None:
    one = books(sealed=False)
    one.session.commit()
    other = Books(one.budget.policy, one.event, run="other", database=one.database)
    other.session.commit()
    for number in (1, 2):
        one.round(number, [1])
    one.reserve(3, [1])
    one.session.commit()
    with pytest.raises(BudgetExhausted, match="4 times but the policy allows 3"):
        other.reserve(1, [1])
    assert other.reserve(1, [2]).round == 1


def test_a_transaction_that_was_taken_back_was_never_charged() -> None:
    run = books(sealed=False)
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
    run = books(sealed=False)
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
    newest = run.session.get(ParticipationRow, ("run", 3_000))
    assert newest is not None and newest.count == 2
    assert run.told("participations") == [1, 2]


def test_a_receipt_cannot_be_recognised_by_who_guesses_the_update() -> None:
    """Receipts are published where the roster is open: what they say of an update must be no digest of it."""
    vector = b"the exact update of a device"
    said = [commitment(noise.salt("receipt"), vector) for noise in (SystemNoise(), SystemNoise(), SeededNoise(1))]
    assert len({*said, digest(vector), commitment(bytes(32), vector)}) == 5
