"""Budgets and their ledgers: charged before anything is released, refused before anything is spent."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import FIXED, KEY, Books, begun, policy

from tacit_privacy.accounting.events import GaussianEvent, Sampling
from tacit_privacy.accounting.filters import rdp_epsilon, rdp_order
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.errors import BudgetExhausted, LedgerBroken
from tacit_privacy.ledger.bodies import Reserved, Restored
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.participation import DeviceLimit
from tacit_privacy.ledger.verify import verify

EVENT = GaussianEvent(noise_multiplier=0.53, sampling=FIXED)


def books(replay: bool = True, **changes: Any) -> Books:
    return Books(policy(**changes), EVENT, replay)


def problems(lines: list[str], key: str = KEY.public, **more: Any) -> list[str]:
    return [problem.kind for problem in verify(lines, key, **more).problems]


def test_disjoint_cohorts_compose_in_parallel_and_the_ledger_verifies() -> None:
    run = books()
    for number in range(1, 6):
        run.round(number, range(200 * number, 200 * number + 200))
    run.close()
    spent = run.budget.spent(run.session).epsilon
    assert spent == pytest.approx(epsilon_of(1 / 0.53, 2.3e-4), rel=1e-3) and spent >= epsilon_of(1 / 0.53, 2.3e-4)
    found = verify(run.lines(), KEY.public)
    assert (found.problems, found.state, found.noise_source) == ([], "closed", "seeded")
    assert found.epsilon == spent


def test_a_second_participation_is_refused_when_the_cap_has_no_room() -> None:
    run = books(participations=2)
    run.round(1, range(200))
    with pytest.raises(BudgetExhausted, match="epsilon would reach"):
        run.reserve(2, range(200))
    assert run.budget.spent(run.session).epsilon < 8


def test_a_device_is_refused_beyond_its_participations_whatever_epsilon_allows() -> None:
    run = books(participations=2, epsilon=1000.0)
    run.round(1, [1, 2])
    run.round(2, [2, 3])
    before = run.lines()
    with pytest.raises(BudgetExhausted, match="3 times but the policy allows 2"):
        run.reserve(3, [2])
    assert run.lines() == before
    run.round(3, [1, 3])


def test_a_simulation_replays_an_open_reservation_and_charges_once() -> None:
    run = books(replay=True)
    first = run.reserve(1, range(200))
    assert run.reserve(1, range(200)) == first
    assert len(run.budget.events(run.session)) == 1


def test_a_deployment_keeps_an_open_reservation_charged_and_draws_new_noise() -> None:
    """A crash costs the devices that were asked one participation each, and nobody else anything."""
    run = books(participations=2, epsilon=100.0, replay=False)
    first = run.reserve(1, range(200))
    with pytest.raises(LedgerBroken, match="is open"):
        run.reserve(1, range(200))
    run.open()  # the server comes back
    assert run.budget.participations(run.session) == dict.fromkeys(range(200), 1)
    others = run.reserve(1, range(200, 400))
    assert others.label != first.label
    run.commit(others, range(200, 400))
    again = run.reserve(2, range(200))
    assert run.told("participations")[-1] == 2
    run.commit(again, range(200))
    run.close()
    assert problems(run.lines()) == []
    assert len(run.budget.events(run.session)) == 3


def test_nothing_is_released_that_was_not_reserved() -> None:
    run = books(participations=3, epsilon=100.0)
    reservation = run.reserve(1, [1])
    run.commit(reservation, [1])
    for again in (reservation, replace(reservation, id="1.99")):
        with pytest.raises(LedgerBroken, match="not open"):
            run.commit(again, [1])
        with pytest.raises(LedgerBroken, match="not open"):
            run.budget.abandon(run.session, again, "it was released")


def test_a_ledger_that_is_closed_takes_no_further_release() -> None:
    run = books(participations=2, epsilon=100.0)
    run.close()
    with pytest.raises(LedgerBroken, match="closed"):
        run.reserve(1, range(200))
    assert verify(run.lines(), KEY.public).state == "closed"


@pytest.mark.parametrize(("told", "wrong"), [(0, True), (1, False), (2, False), (3, True)])
def test_a_verifier_believes_no_count_beyond_the_policy(told: int, wrong: bool) -> None:
    run = books(participations=2, epsilon=1000.0)
    run.round(1, [1])
    honest = run.told("epsilon")[-1] if told else 0.0  # of the one release there is
    other = books(participations=2, epsilon=1000.0)
    lie = Reserved(
        reservation="1.1", run="run", round=1, stream="adapter", event=EVENT, participations=told, epsilon=honest
    )
    other.ledger.append(other.session, lie)
    assert problems(other.lines()) == (["participations"] if wrong else [])


def test_an_abandoned_round_is_given_back() -> None:
    run = books()
    run.budget.abandon(run.session, run.reserve(1, range(200)), "too few devices")
    assert run.budget.spent(run.session).epsilon == 0.0
    assert verify(run.lines(), KEY.public).epsilon == 0.0


@pytest.mark.parametrize("changes", [{"epsilon": 9.0}, {"participations": 2}, {"population": 3000}])
def test_a_ledger_of_another_policy_is_not_continued(changes: dict[str, Any]) -> None:
    run = books()
    with pytest.raises(LedgerBroken, match="another policy"):
        Books(policy(**changes), EVENT, database=run.session.get_bind())  # type: ignore[arg-type]


def test_a_run_of_another_configuration_is_not_continued() -> None:
    run = books()
    run.budget._run = begun(config="f" * 64)
    with pytest.raises(LedgerBroken, match="another configuration"):
        run.open()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_edit_of_a_ledger_is_found(data: st.DataObject) -> None:
    run = books()
    for number in range(1, 4):
        run.round(number, range(200 * number, 200 * number + 5))
    run.close()
    lines = run.lines()
    kind = data.draw(st.sampled_from(["flip", "drop", "swap", "repeat"]))
    index = data.draw(st.integers(0, len(lines) - 2))
    if kind == "flip":
        body = json.loads(lines[index])
        body["time"] += 1.0
        lines[index] = json.dumps(body)
    elif kind == "drop":
        del lines[index]
    elif kind == "swap":
        lines[index], lines[index + 1] = lines[index + 1], lines[index]
    else:
        lines.insert(index, lines[index])
    assert not verify(lines, KEY.public).ok


def test_a_truncated_ledger_is_open_and_a_witness_finds_the_rollback() -> None:
    run = books()
    run.reserve(1, range(200))
    head, _ = run.budget.head(run.session)
    assert verify(run.lines(), KEY.public, witness=head).ok
    rolled_back = verify(run.lines()[:-1], KEY.public, witness=head)
    assert rolled_back.state == "open"
    assert [problem.kind for problem in rolled_back.problems] == ["witness"]


def test_another_key_does_not_verify() -> None:
    assert problems(books().lines(), SigningKey.simulated(8).public) == ["key"]


# ---- keys that change hands


def test_a_key_hands_over_to_the_next_and_either_verifies_the_whole() -> None:
    run, new = books(participations=3, epsilon=100.0), SigningKey.simulated(8)
    run.round(1, [1])
    run.hand_over(new)
    run.session.commit()
    later = Books(run.budget.policy, EVENT, database=run.database, key=new)
    later.round(2, [1])
    later.close()
    for key in (KEY, new):
        assert problems(later.lines(), key.public) == []
    assert problems(later.lines(), SigningKey.simulated(9).public) == ["key"]
    with pytest.raises(LedgerBroken, match="another key"):
        Books(run.budget.policy, EVENT, database=run.database, key=KEY)


def test_the_old_key_signs_nothing_after_the_new_one_took_over() -> None:
    run = books(participations=3, epsilon=100.0)
    run.budget.rotate(run.session, SigningKey.simulated(8))
    run.round(1, [1])  # with the old key
    assert set(problems(run.lines())) == {"signature"}


def test_a_closed_ledger_is_handed_over_to_nobody() -> None:
    run = books()
    run.close()
    with pytest.raises(LedgerBroken, match="closed"):
        run.hand_over(SigningKey.simulated(8))
    assert problems(run.lines()) == []


def test_a_key_that_did_not_agree_takes_over_nothing() -> None:
    run = books()
    run.budget.rotate(run.session, SigningKey.simulated(8))
    entry = run.ledger.entries(run.session)[-1]
    forged = entry.body | {"public_key": SigningKey.simulated(9).public}
    assert "endorsement" in problems([*run.lines()[:-1], replace(entry, body=forged).line()])


# ---- budgets that renew by period, and devices that allow less


def test_a_budget_is_new_in_every_period_and_the_lifetime_is_told() -> None:
    run = books(period_s=100.0)
    run.round(1, [1, 2])
    with pytest.raises(BudgetExhausted):
        run.reserve(2, [1])
    run.time = 106.0  # the first period began at 5
    assert run.budget.participations(run.session) == {}
    run.round(2, [1])
    run.close()
    found = verify(run.lines(), KEY.public)
    assert found.problems == []
    assert [told["participations"] for told in run.told("lifetime")] == [1, 2]
    assert found.epsilon == pytest.approx(epsilon_of(1 / 0.53, 2.3e-4), rel=1e-3)
    assert found.lifetime_epsilon == pytest.approx(epsilon_of(2**0.5 / 0.53, 2.3e-4), rel=1e-3)


def test_a_clock_that_is_put_back_renews_no_budget() -> None:
    run = books(period_s=100.0)
    run.time = 150.0
    run.round(1, [1])
    run.time = 40.0
    with pytest.raises(BudgetExhausted):
        run.reserve(2, [1])


def test_a_device_may_allow_less_than_the_policy() -> None:
    run = books(participations=4, epsilon=100.0)
    run.round(1, [1, 2, 3])
    run.budget.limit(run.session, 1, DeviceLimit(participations=2))
    once = epsilon_of(1 / 0.53, run.budget.policy.delta)
    run.budget.limit(run.session, 2, DeviceLimit(epsilon=once * 1.0001))
    run.budget.limit(run.session, 3, DeviceLimit(epsilon=2 * once))
    assert run.budget.beyond_limit(run.session, EVENT) == [2]
    run.round(2, [1, 3])
    assert run.budget.beyond_limit(run.session, EVENT) == [1, 2, 3]
    quiet = EVENT.model_copy(update={"noise_multiplier": 1e3})
    assert run.budget.beyond_limit(run.session, quiet) == [1]


# ---- noise that changes on the way


def test_a_run_may_change_its_noise_and_is_charged_for_what_it_drew() -> None:
    run = books(participations=3, epsilon=5.0)
    noises = (1.0, 4.0, 2.0)
    for number, noise in enumerate(noises, 1):
        reservation = run.reserve(number, [1], EVENT.model_copy(update={"noise_multiplier": noise}))
        run.commit(reservation, [1])
    mu = sum(noise**-2 for noise in noises) ** 0.5
    assert run.budget.spent(run.session).epsilon == pytest.approx(epsilon_of(mu, 2.3e-4), rel=1e-3)
    run.close()
    assert problems(run.lines()) == []


def test_a_sealed_run_may_change_its_noise_under_a_filter_that_was_chosen_before() -> None:
    sampling = Sampling(kind="poisson", cohort=20, population=2000)
    event = GaussianEvent(noise_multiplier=1.0, sampling=sampling)
    order = rdp_order(event, 50, 2.3e-4)
    other = event.model_copy(update={"noise_multiplier": 1.5})
    run = Books(policy(epsilon=3.0, participations=100, roster_sealed=True, rdp_order=order), event)
    told = []
    for number in range(1, 60):
        try:
            run.commit(run.reserve(number, [], event if number % 2 else other), [])
        except BudgetExhausted:
            break
        told.append(rdp_epsilon({event: (number + 1) // 2, other: number // 2}, order, 2.3e-4))
    assert len(told) > 30 and told[-1] <= 3.0
    assert run.told("epsilon") == pytest.approx(told, rel=1e-3)
    plain = epsilon_of(len(told) ** 0.5 / 1.5, 2.3e-4)
    assert run.budget.spent(run.session).epsilon < plain / 3  # what sampling gains
    run.close()
    assert problems(run.lines()) == []


@pytest.mark.parametrize("changes", [{"roster_sealed": False}, {"adjacency": "replace-one"}])
def test_a_renyi_filter_needs_what_it_rests_on(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"leave it out|choose one"):
        policy(**{"roster_sealed": True, "rdp_order": 8, **changes})


def test_noise_that_came_out_larger_is_credited_and_smaller_is_a_problem() -> None:
    run = books()
    reservation = run.reserve(1, [1])
    before = reservation.epsilon
    run.budget.commit(run.session, reservation, [1], "1" * 64, [], realised=0.8)
    assert run.budget.spent(run.session).epsilon < before
    run.close()
    assert problems(run.lines()) == []
    entries = run.ledger.entries(run.session)
    lie = replace(entries[3], body=entries[3].body | {"realised": 0.4})
    assert "noise" in problems([entry.line() for entry in (*entries[:3], lie)])


def restored(**changes: Any) -> Books:
    """A ledger of one round, put back; somebody had seen it with six entries more."""
    run = books(replay=False, **({"participations": 9, "epsilon": 500.0} | changes))
    run.round(1, range(200))
    assert len(run.lines()) == 4
    return run


def test_what_a_restore_lost_is_charged_to_everybody() -> None:
    run = restored()
    assert run.budget.own_up(run.session, 10, "2" * 64, range(300), run.event) == 4
    assert run.budget.participations(run.session) == {device: 5 if device < 200 else 4 for device in range(300)}
    found = verify(run.lines(), KEY.public)
    assert (found.problems, found.state) == ([], "open")
    assert [json.loads(line)["kind"] for line in run.lines()][4:] == ["restore", *["reserve", "lost"] * 4]
    assert found.epsilon == run.budget.spent(run.session).epsilon
    run.round(6, range(200))  # the run goes on behind the rounds that were lost
    assert problems(run.lines()) == []


def test_what_a_restore_lost_keeps_the_pauses_of_the_policy() -> None:
    run = restored(separation=3)
    run.budget.own_up(run.session, 10, "2" * 64, range(200), run.event)
    rounds = [json.loads(line)["body"]["round"] for line in run.lines() if json.loads(line)["kind"] == "reserve"]
    assert rounds == [1, 4, 7, 10, 13]
    assert problems(run.lines()) == []


def test_a_restore_that_the_budget_cannot_pay_closes_the_ledger() -> None:
    """What was lost was within the budget, so with more charged than there is nothing is left of it."""
    run = restored(participations=3)
    run.budget.own_up(run.session, 10, "2" * 64, range(200), run.event)
    found = verify(run.lines(), KEY.public)
    assert (found.problems, found.state) == ([], "closed")
    with pytest.raises(LedgerBroken, match="closed"):
        run.reserve(9, range(200))


def test_a_restore_owns_up_to_enough() -> None:
    run = restored()
    with pytest.raises(LedgerBroken, match="nothing is missing"):
        run.budget.own_up(run.session, 4, "2" * 64, range(200), run.event)
    run.ledger.append(run.session, Restored(length=10, head="2" * 64, releases=3))
    assert problems(run.lines()) == ["restore"]


def test_a_restore_that_charges_nothing_is_found() -> None:
    run = restored()
    run.ledger.append(run.session, Restored(length=10, head="2" * 64, releases=4))
    run.round(2, range(200))
    assert problems(run.lines()) == ["restore"]
