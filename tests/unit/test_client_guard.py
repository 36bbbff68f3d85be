"""The device's veto: what it refuses, what it remembers, and that refusing costs nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit_clients.guard import CLIPS, MOST_LEVELS, MOST_RUNS, Memory, RunMemory, check
from tacit_privacy.contract import AdapterSpec, LinearSpec, LocalTraining, RoundTerms
from tacit_privacy.errors import TermsRefused
from tacit_privacy.ledger.keys import SigningKey

SPEC = AdapterSpec(
    model="m", method="ffa", rank=4, alpha=8.0, seed=0, linear=(LinearSpec(name="q", rows=3, columns=3),)
)
KEY = SigningKey.simulated(1)


def terms(**changes: Any) -> RoundTerms:
    values: dict[str, Any] = {
        "run": "r",
        "round": 1,
        "version": 0,
        "spec": SPEC,
        "rank": 4,
        "clip_norm": 1.0,
        "training": LocalTraining(),
        "participations": 3,
        "deadline": 60.0,
        "ledger_head": "0" * 64,
        "ledger_length": 1,
    }
    return RoundTerms.model_validate(values | changes)


def agree(memory: Memory, asked: RoundTerms, key: SigningKey = KEY, pinned: str | None = KEY.public) -> Memory:
    payload = asked.to_bytes()
    return check(memory, asked, payload, key.sign(payload), SPEC, pinned)


def reason(memory: Memory, asked: RoundTerms, **how: Any) -> str:
    with pytest.raises(TermsRefused) as refused:
        agree(memory, asked, **how)
    return refused.value.reason


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"spec": SPEC.model_copy(update={"seed": 1})}, "adapter"),
        ({"rank": 5}, "adapter"),
        ({"levels": MOST_LEVELS + 1}, "levels"),
        ({"clip_norm": CLIPS[1] * 2}, "clip"),
        ({"clip_norm": float("inf")}, "clip"),
    ],
)
def test_terms_that_no_honest_server_sends(changes: dict[str, Any], expected: str) -> None:
    asked = terms(**changes)
    payload = terms().to_bytes()  # infinity has no canonical text, so the signature is over other bytes here
    with pytest.raises(TermsRefused) as refused:
        check(Memory(), asked, payload, KEY.sign(payload), SPEC, KEY.public)
    assert refused.value.reason == expected


def test_only_the_pinned_key_speaks() -> None:
    assert reason(Memory(), terms(), key=SigningKey.simulated(2)) == "signature"
    assert agree(Memory(), terms(), key=SigningKey.simulated(2), pinned=None).of("r").participations == 1
    asked = terms()
    with pytest.raises(TermsRefused, match="signed"):
        check(Memory(), asked, asked.to_bytes() + b" ", KEY.sign(asked.to_bytes()), SPEC, KEY.public)


def test_rounds_only_go_forward() -> None:
    after = agree(Memory(), terms(round=5))
    assert reason(after, terms(round=5)) == "replayed"
    assert reason(after, terms(round=4)) == "replayed"
    assert agree(after, terms(round=9)).of("r").round == 9


def test_a_run_cannot_raise_its_own_limit() -> None:
    memory = agree(Memory(), terms(round=1, participations=1))
    assert reason(memory, terms(round=2, participations=1)) == "exhausted"
    assert reason(memory, terms(round=2, participations=50)) == "exhausted"


def test_a_detour_over_another_run_resets_nothing() -> None:
    memory = agree(Memory(), terms(participations=1))
    memory = agree(memory, terms(run="another", participations=1))
    assert reason(memory, terms(round=2, participations=1)) == "exhausted"


def test_the_ledger_never_shrinks_and_never_changes() -> None:
    memory = agree(Memory(), terms(ledger_length=10, ledger_head="a" * 64))
    assert reason(memory, terms(round=2, ledger_length=9, ledger_head="a" * 64)) == "rollback"
    assert reason(memory, terms(round=2, ledger_length=10, ledger_head="b" * 64)) == "fork"
    assert agree(memory, terms(round=2, ledger_length=10, ledger_head="a" * 64)).of("r").participations == 2
    assert agree(memory, terms(round=2, ledger_length=11, ledger_head="b" * 64)).of("r").ledger_length == 11


def test_a_device_remembers_only_so_many_runs() -> None:
    full = Memory({f"run {number}": RunMemory() for number in range(MOST_RUNS)})
    assert reason(full, terms()) == "runs"
    assert agree(full, terms(run="run 0")).of("run 0").participations == 1


asked_rounds = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(1, 6), st.integers(1, 3), st.integers(0, 4)), max_size=15
)


@given(asked=asked_rounds)
def test_whatever_is_asked_the_promises_hold(asked: list[tuple[str, int, int, int]]) -> None:
    """Any sequence of requests: no run gets more than its strictest cap, rounds rise, refusals change nothing."""
    memory, taken = Memory(), dict[str, list[tuple[int, int, int]]]()
    for run, number, cap, length in asked:
        before = memory.as_values()
        try:
            memory = agree(memory, terms(run=run, round=number, participations=cap, ledger_length=length))
        except TermsRefused:
            assert memory.as_values() == before
            continue
        taken.setdefault(run, []).append((number, cap, length))
        assert memory.of(run).participations == len(taken[run]) <= min(c for _, c, _ in taken[run])
    for rows in taken.values():
        assert [r for r, _, _ in rows] == sorted({r for r, _, _ in rows})
        assert [n for _, _, n in rows] == sorted(n for _, _, n in rows)
    assert Memory.from_values(memory.as_values()) == memory


@pytest.mark.parametrize("values", [{}, {"runs": "no json"}, {"runs": '{"r": {"unknown": 1}}'}, {"runs": "[]"}])
def test_a_damaged_memory_refuses_instead_of_guessing(values: dict[str, str]) -> None:
    with pytest.raises(TermsRefused, match="damaged"):
        Memory.from_values(values)
