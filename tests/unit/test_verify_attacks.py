"""Ledgers and receipts that were made to mislead, by whoever holds the key: named, never believed and never a crash."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ledgers import FIXED, KEY, Books, policy
from pydantic import ValidationError

from tacit_privacy.accounting.events import Correlation, GaussianEvent, Sampling
from tacit_privacy.contract import Statistic, canonical
from tacit_privacy.ledger.bodies import Committed
from tacit_privacy.ledger.chain import GENESIS, entry_hash
from tacit_privacy.ledger.verify import verify
from tacit_privacy.mechanisms.joint import to_slot

EVENT = GaussianEvent(noise_multiplier=2.0, sampling=FIXED)
POISSON = GaussianEvent(noise_multiplier=2.0, sampling=Sampling(kind="poisson", cohort=20, population=2000))
HUGE, TINY = 10**400, 1e-200


def problems(lines: list[str], receipts: list[str] | None = None) -> list[str]:
    return [problem.kind for problem in verify(lines, KEY.public, None, receipts).problems]


def signed_anew(books: Books, position: int, path: tuple[str | int, ...], value: Any) -> list[str]:
    """The ledger with one value changed, in a chain and with signatures that hold."""
    entries, previous, lines = [json.loads(line) for line in books.lines()], GENESIS, []
    place = entries[position]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    for entry in entries:
        fields = {**{name: entry[name] for name in ("index", "kind", "time", "body")}, "previous": previous}
        previous = entry_hash(fields)
        told = {**fields, "hash": previous, "signature": KEY.sign(bytes.fromhex(previous)).hex()}
        lines.append(canonical(told).decode())
    return lines


def test_no_receipt_can_be_read_as_padding() -> None:
    """Salt and signature of other lengths would give one hash two readings: with somebody in the round, and without."""
    books = Books(policy(roster_sealed=True), EVENT, replay=False)
    books.round(1, range(3))
    hidden, lines = 0, []
    for line in books.receipt_lines():
        told = json.loads(line)
        payload = told.get("receipt", "").encode()
        rest = [place for place, byte in enumerate(payload) if byte == len(payload) - place - 1]
        if rest:
            salt = bytes.fromhex(told["salt"]) + bytes([64]) + bytes.fromhex(told["signature"]) + payload[: rest[0]]
            signature = payload[rest[0] + 1 :]
            padding = {"reservation": told["reservation"], "salt": salt.hex(), "signature": signature.hex()}
            line, hidden = json.dumps(padding), hidden + 1
        lines.append(line)
    assert hidden and problems(books.lines(), books.receipt_lines()) == []
    assert "receipts" in problems(books.lines(), lines)


@pytest.mark.parametrize(
    "position, path, value",
    [
        (1, ("body", "arithmetic", "levels"), HUGE),
        (1, ("body", "arithmetic", "dimension"), HUGE),
        (1, ("body", "arithmetic", "dimension"), 10**15),
        (0, ("body", "policy", "plan", "rounds"), HUGE),
        (0, ("body", "policy", "plan", "event", "sampling", "population"), HUGE),
        (2, ("body", "event", "sampling", "cohort"), HUGE),
        (2, ("body", "event", "parts"), [{"name": "adapter", "noise_multiplier": TINY}]),
        (2, ("body", "event", "noise_multiplier"), TINY),
        (2, ("time",), HUGE),
        (2, ("time",), 1e308),
    ],
)
def test_a_number_beyond_all_measure_is_a_problem_and_no_crash(
    position: int, path: tuple[str | int, ...], value: Any
) -> None:
    plan = {"event": POISSON, "rounds": 9}
    books = Books(policy(roster_sealed=True, plan=plan, period_s=1e-3, epsilon=99.0), POISSON, replay=False)
    books.round(1, [1])
    assert problems(books.lines()) == []
    assert problems(signed_anew(books, position, path, value))


def test_an_infinite_time_is_a_problem_and_no_crash() -> None:
    books = Books(policy(period_s=10.0), EVENT, replay=False)
    books.round(1, [1])
    lines = books.lines()
    lines[2] = lines[2].replace('"time":5.0', '"time":1e400')
    assert "spelling" in problems(lines)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_release_tells_how_many_it_is_of_just_where_the_roster_is_open(sealed: bool) -> None:
    books = Books(policy(roster_sealed=sealed), EVENT, replay=False)
    reservation = books.reserve(1, [1])
    told = {"completed": None if not sealed else 1, "realised": 2.5 if sealed else None}
    for name, value in told.items():
        body = Committed(reservation=reservation.id, release="1" * 64, receipts="2" * 64, **{name: value})
        with books.session.begin_nested() as point:
            books.ledger.append(books.session, body)
            found = problems(books.lines())
            point.rollback()
        assert found == (["unsealed"] if sealed else ["completed"])


def test_correlated_noise_beyond_its_plan_is_a_problem() -> None:
    event = EVENT.model_copy(update={"correlation": Correlation(bands=2, rounds=3)})
    books = Books(policy(separation=2), event, replay=False)
    books.round(3, [1])
    assert problems(signed_anew(books, 2, ("body", "round"), 4)) == ["round"]


@example(0.0, 5e-324)
@example(1e308, 1.7e308)
@example(0.0, 1e-320)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_range_a_server_asks_for_a_device_can_answer(low: float, high: float) -> None:
    try:
        statistic = Statistic(name="loss", low=low, high=high)
    except ValidationError:
        return
    for value in (low, high, 0.7):
        assert abs(to_slot(statistic, value, 2**20)) <= 2**20
