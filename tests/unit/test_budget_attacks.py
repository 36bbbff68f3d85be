"""What nobody may do to a budget, whoever calls it: each was charged too little once."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import EXACT, FIXED, KEY, Books, policy

from tacit_privacy.accounting.bounds import smallest, without_amplification
from tacit_privacy.accounting.events import Adjacency, Correlation, GaussianEvent
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.errors import BudgetExhausted, LedgerBroken
from tacit_privacy.ledger.participation import DeviceLimit
from tacit_privacy.ledger.verify import verify

EVENT = GaussianEvent(noise_multiplier=2.0, sampling=FIXED)


@pytest.mark.parametrize("sealed", [False, True])
def test_no_roster_hides_a_participation_beyond_the_cap(sealed: bool) -> None:
    one = Books(policy(roster_sealed=sealed), EVENT, replay=False)
    other = Books(policy(roster_sealed=sealed), EVENT, replay=False, run="other", database=one.database)
    one.round(1, [1, 2])
    one.session.commit()
    before = other.lines()
    with pytest.raises(BudgetExhausted, match="2 times but the policy allows 1"):
        other.reserve(1, [2, 3])
    assert other.lines() == before
    other.round(1, [3])


@pytest.mark.parametrize("accepted", [[1, 9], [1, 1]])
def test_nothing_is_committed_for_devices_that_it_was_not_reserved_for(accepted: list[int]) -> None:
    books = Books(policy(participations=3), EVENT, replay=False)
    reservation = books.reserve(1, [1, 2])
    with pytest.raises(LedgerBroken, match="not for every device"):
        books.budget.commit(books.session, reservation, accepted, "1" * 64, [])
    books.commit(reservation, [1])


def test_no_device_is_in_a_round_of_its_pause() -> None:
    books = Books(policy(participations=3, separation=3), EVENT, replay=False)
    books.round(1, [1, 2])
    books.round(2, [3])
    with pytest.raises(LedgerBroken, match="less than 3 rounds before round 3"):
        books.reserve(3, [2, 4])
    books.round(4, [2, 4])


def test_what_is_replayed_is_what_was_paid_for() -> None:
    books = Books(policy(participations=3), EVENT, replay=True)
    paid = books.reserve(1, [1, 2])
    louder = EVENT.model_copy(update={"noise_multiplier": 0.5})
    for number, devices, event in ((2, [1, 2], EVENT), (1, [1, 3], EVENT), (1, [1, 2], louder)):
        with pytest.raises(LedgerBroken, match="for another release"):
            books.budget.reserve(books.session, number, np.array(devices), event)
    assert books.reserve(1, [1, 2]) == paid


def test_correlated_noise_covers_the_rounds_that_it_was_planned_for() -> None:
    event = EVENT.model_copy(update={"correlation": Correlation(bands=2, rounds=4)})
    books = Books(policy(participations=3, separation=2), event, replay=False)
    books.round(4, [1])
    with pytest.raises(LedgerBroken, match="planned for 4 rounds"):
        books.reserve(5, [2])


def correlated(rounds: int) -> GaussianEvent:
    return EVENT.model_copy(update={"correlation": Correlation(bands=2, rounds=rounds)})


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(1, 9), min_size=1), st.integers(2, 3))
def test_rounds_that_were_given_back_still_count_for_pauses(released: set[int], separation: int) -> None:
    """Of the rounds that were released, one device was in as many as its pauses allow: the others are no columns."""
    books = Books(policy(participations=9, separation=separation, epsilon=1000.0), correlated(9), replay=False)
    was_in: list[int] = []
    for number in range(1, 10):
        own = number in released and (not was_in or number - was_in[-1] >= separation)
        reservation = books.reserve(number, [1] if own else [100 + number])
        if number in released:
            books.commit(reservation, [1] if own else [100 + number])
            was_in += [number] if own else []
        else:
            books.budget.abandon(books.session, reservation, "too few")
    columns = np.zeros(9)
    for number in was_in:
        columns[number - 1 : number + 1] += np.array([1.0, 0.5])[: 10 - number]
    moved = columns[[number - 1 for number in sorted(released)]]
    assert books.budget.spent(books.session).epsilon >= epsilon_of(float(np.linalg.norm(moved)) / 2, 2.3e-4)


def test_correlated_noise_of_two_runs_is_not_one_noise() -> None:
    one = Books(policy(participations=3, separation=4), correlated(1), replay=False)
    other = Books(policy(participations=3, separation=4), correlated(1), replay=False, run="b", database=one.database)
    one.round(1, [1])
    one.session.commit()
    other.round(1, [1])
    assert other.budget.spent(other.session).epsilon >= epsilon_of(math.sqrt(2) / 2, 2.3e-4)
    assert verify(other.lines(), KEY.public).problems == []


@given(
    adjacency=st.sampled_from(Adjacency),
    bands=st.sampled_from([None, 4]),
    before=st.integers(0, 2),
)
@settings(max_examples=12, deadline=None)
def test_a_limit_of_ones_own_is_kept_under_the_policys_adjacency_and_noise(
    adjacency: Adjacency, bands: int | None, before: int
) -> None:
    """However many releases there were before it was set, and whatever the noise of each reaches over."""
    correlation = None if bands is None else Correlation(bands=bands, rounds=40)
    event = EVENT.model_copy(update={"correlation": correlation})
    allowed = policy(participations=9, separation=4, epsilon=1000.0, adjacency=adjacency)
    books, taken = Books(allowed, event, replay=False), 0

    def spent(releases: int) -> float:
        tally, exposure = {event: releases}, allowed.exposure(releases)
        return smallest(without_amplification(tally, exposure, allowed.delta), adjacency).epsilon

    limit = spent(3) * 1.0001
    for number in range(1, 30, 4):
        if taken == before:
            books.budget.limit(books.session, 1, DeviceLimit(epsilon=limit))
        if 1 in books.budget.beyond_limit(books.session, event):
            break
        books.round(number, [1])
        taken += 1
    assert taken == 3


def test_a_bound_that_bounds_nothing_is_not_listed() -> None:
    """Under replace-one a device carries twice as far, here beyond what the arithmetic of the noise is known for."""
    allowed = policy(epsilon=1e6)

    def listed(noise: float) -> list[float]:
        event = EVENT.model_copy(update={"noise_multiplier": noise})
        return [bound.epsilon for bound in allowed.listed({event: 1}, 1, EXACT)]

    noise = next(noise for noise in np.geomspace(1, 1e-3, 200).tolist() if math.isinf(listed(noise)[-1]))
    books = Books(allowed, EVENT.model_copy(update={"noise_multiplier": noise}), replay=False)
    books.round(1, [1])
    told = books.budget.listed(books.session)
    assert len(told) == 1 and books.budget.spent(books.session) in told


def test_no_sealed_ledger_tells_how_much_noise_the_devices_brought() -> None:
    books = Books(policy(roster_sealed=True), EVENT, replay=False)
    reservation = books.reserve(1, [1])
    books.budget.commit(books.session, reservation, [1], "1" * 64, [], realised=2.5)
    assert books.told("realised") == [] and verify(books.lines(), KEY.public).problems == []
    assert books.budget.spent(books.session).epsilon == reservation.epsilon
