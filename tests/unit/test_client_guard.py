"""The device's veto: what it refuses, what it remembers, and that refusing costs nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import FIXED, Books, policy

from tacit_clients.guard import CLIPS, LEVELS, MOST_RUNS, NO_FLOOR, Floor, Memory, RunMemory, Seen, check, resolved
from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.contract import AdapterSpec, Bits, LinearSpec, LocalTraining, RoundTerms, Statistic
from tacit_privacy.errors import TermsRefused
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.coding import Coding

SPEC = AdapterSpec(
    model="m", method="ffa", rank=4, alpha=8.0, seed=0, linear=(LinearSpec(name="q", rows=3, columns=3),)
)
LONG = SPEC.model_copy(update={"rank": 4000})
KEY, OWN = SigningKey.simulated(1), SigningKey.simulated(2)
METRIC = Statistic(name="metric", low=0.0, high=1.0)


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


def agree(
    memory: Memory,
    asked: RoundTerms,
    key: SigningKey = KEY,
    pinned: str | None = KEY.public,
    floor: Floor = NO_FLOOR,
    now: float = 0.0,
    one_ledger: bool = False,
) -> Memory:
    payload = asked.to_bytes()
    return check(memory, asked, payload, key.sign(payload), SPEC, pinned, floor, now, one_ledger)


def reason(memory: Memory, asked: RoundTerms, **how: Any) -> str:
    with pytest.raises(TermsRefused) as refused:
        agree(memory, asked, **how)
    return refused.value.reason


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"spec": SPEC.model_copy(update={"seed": 1})}, "adapter"),
        ({"rank": 5}, "adapter"),
        ({"levels": LEVELS[1] + 1}, "levels"),
        ({"levels": LEVELS[0] - 1}, "levels"),
        ({"clip_limit": CLIPS[1] * 2}, "clip"),
        ({"clip_limit": float("inf")}, "clip"),
        ({"clip_norm": 2.0, "clip_limit": 1.0}, "clip"),
        ({"statistics": (METRIC, METRIC)}, "statistics"),
        ({"bits": 32, "quantum": 2}, "bits"),
        ({"bits": 8, "quantum": 2**20 // 127 + 2}, "bits"),  # the largest code alone would pass the clip
        ({"bits": 4, "quantum": 2**62}, "bits"),
        ({"spec": LONG, "rank": 4000, "bits": 4, "quantum": 2**16}, "bits"),  # rounding would add more than the clip
        ({"clip_norm": CLIPS[1] * 2}, "clip"),
        ({"clip_norm": float("inf")}, "clip"),
    ],
)
def test_terms_that_no_honest_server_sends(changes: dict[str, Any], expected: str) -> None:
    asked = terms(**changes)
    resident = asked.spec if "rank" in changes and expected == "bits" else SPEC
    payload = terms().to_bytes()  # infinity has no canonical text, so the signature is over other bytes here
    with pytest.raises(TermsRefused) as refused:
        check(Memory(), asked, payload, KEY.sign(payload), resident, KEY.public)
    assert refused.value.reason == expected


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_the_coding_of_an_honest_server_is_agreed_to(bits: Bits) -> None:
    coding = Coding.of(bits, terms().levels, SPEC.dimension)
    assert agree(Memory(), terms(bits=bits, quantum=coding.quantum)).of("r").participations == 1


def test_terms_of_before_there_were_bits_ask_for_whole_updates() -> None:
    told = json.loads(terms().to_bytes())
    del told["bits"], told["quantum"]
    old = RoundTerms.from_bytes(json.dumps(told).encode())
    assert (old.bits, old.quantum) == (32, 1) and old == terms()
    with pytest.raises(ValueError, match="bits"):
        terms(bits=16)
    with pytest.raises(ValueError, match="quantum"):
        terms(bits=8, quantum=0)


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


def test_a_run_keeps_its_strictest_promises() -> None:
    memory = agree(Memory(), terms(noise_multiplier=2.0, clip_norm=1.0, clip_limit=3.0, separation=2))
    assert reason(memory, terms(round=2, noise_multiplier=2.0, separation=9)) == "separation"
    assert reason(memory, terms(round=3, noise_multiplier=1.9, clip_limit=3.0)) == "noise"
    assert reason(memory, terms(round=3, noise_multiplier=2.0, clip_norm=3.1, clip_limit=9.0)) == "clip"
    assert reason(memory, terms(round=2, noise_multiplier=2.0, separation=1)) == "separation"
    after = agree(memory, terms(round=5, noise_multiplier=2.5, clip_norm=0.5, separation=4))
    assert reason(after, terms(round=9, noise_multiplier=2.4, clip_norm=0.5)) == "noise"
    assert reason(after, terms(round=9, noise_multiplier=2.5, clip_norm=0.6)) == "clip"
    assert reason(after, terms(round=8, noise_multiplier=2.5, clip_norm=0.5)) == "separation"
    assert agree(after, terms(round=9, noise_multiplier=2.5, clip_norm=0.5)).of("r").participations == 3


def test_promises_of_one_run_bind_no_other() -> None:
    """A comparison without noise has a name of its own; so have runs of other strength."""
    memory = agree(Memory(), terms(noise_multiplier=2.0, separation=5))
    memory = agree(memory, terms(run="plain", noise_multiplier=0.0, clip_norm=64.0))
    assert agree(memory, terms(run="plain", round=2, noise_multiplier=0.0, clip_norm=64.0)).of("plain").round == 2


@pytest.mark.parametrize(
    ("floor", "bad", "good", "word"),
    [
        (Floor(least_noise=1.0), {"noise_multiplier": 0.99}, {"noise_multiplier": 1.0}, "noise"),
        (Floor(largest_clip=2.0), {"clip_norm": 2.1}, {"clip_norm": 2.0}, "clip"),
        (Floor(largest_clip=2.0), {"clip_norm": 1.0, "clip_limit": 2.1}, {"clip_limit": 2.0}, "clip"),
        (Floor(most_participations=0), {}, None, "exhausted"),
    ],
)
def test_the_owner_has_the_last_word(floor: Floor, bad: dict[str, Any], good: dict[str, Any] | None, word: str) -> None:
    assert reason(Memory(), terms(**bad), floor=floor) == word
    if good is not None:
        assert agree(Memory(), terms(**good), floor=floor).participations == 1


def test_the_owners_limit_counts_all_runs() -> None:
    """A server that renames its run starts a new count, but not the owner's."""
    memory, floor = Memory(), Floor(most_participations=3)
    for run in "abc":
        memory = agree(memory, terms(run=run), floor=floor)
    assert reason(memory, terms(run="d"), floor=floor) == "exhausted"


@given(st.integers(0, 10_000), st.integers(1, 7))
def test_a_signed_memory_cannot_be_changed(place: int, flip: int) -> None:
    signed = agree(agree(Memory(), terms()), terms(run="other")).as_values(OWN)
    assert Memory.from_values(signed, OWN.public).participations == 2
    text = bytearray(str(signed["runs"]).encode())
    text[place % len(text)] ^= flip
    with pytest.raises(TermsRefused) as refused:
        Memory.from_values({**signed, "runs": text.decode()}, OWN.public)
    assert refused.value.reason == "memory"


def test_a_memory_that_the_device_did_not_sign_is_refused() -> None:
    memory = agree(Memory(), terms())
    foreign = [memory.as_values(), memory.as_values(KEY), {**memory.as_values(OWN), "signature": "no bytes"}]
    for values in foreign:
        with pytest.raises(TermsRefused) as refused:
            Memory.from_values(values, OWN.public)
        assert refused.value.reason == "memory"


def test_participations_are_new_after_the_longest_period_that_was_promised() -> None:
    def asked(number: int, period: float | None) -> RoundTerms:
        return terms(round=number, participations=2, period_s=period)

    memory = Memory()
    for number, now in ((1, 1000.0), (2, 1040.0)):
        memory = agree(memory, asked(number, 100.0), now=now)
    assert reason(memory, asked(3, 100.0), now=1099.0) == "exhausted"
    assert reason(memory, asked(3, 10.0), now=1099.0) == "exhausted"  # a shorter one is not believed
    assert reason(memory, asked(3, None), now=1e9) == "exhausted"  # nor that they were never to be new
    for number, now in ((3, 1100.0), (4, 1150.0)):
        memory = agree(memory, asked(number, 100.0), now=now)
    assert reason(memory, asked(5, 300.0), now=1210.0) == "exhausted"
    assert memory.of("r").participations == 4
    assert reason(memory, asked(5, 100.0), now=1000.0) == "exhausted"  # a clock that was put back renews nothing


asked_rounds = st.lists(
    st.fixed_dictionaries(
        {
            "run": st.sampled_from("ab"),
            "round": st.integers(1, 12),
            "participations": st.integers(1, 3),
            "ledger_length": st.integers(0, 4),
            "separation": st.integers(1, 3),
            "noise_multiplier": st.sampled_from([0.0, 0.5, 1.0]),
            "clip_norm": st.sampled_from([0.5, 1.0, 2.0]),
            "clip_limit": st.sampled_from([None, 1.0, 4.0]),
        }
    ),
    max_size=20,
)


@given(asked=asked_rounds, most=st.none() | st.integers(0, 4))
def test_whatever_is_asked_the_promises_hold(asked: list[dict[str, Any]], most: int | None) -> None:
    """Any sequence of requests: nothing falls behind the strictest promise of its run, refusals change nothing."""
    memory, taken, floor = Memory(), dict[str, list[RoundTerms]](), Floor(most_participations=most)
    for request in asked:
        before, wanted = memory.as_values(), terms(**request)
        try:
            memory = agree(memory, wanted, floor=floor)
        except TermsRefused:
            assert memory.as_values() == before
            continue
        agreed = taken.setdefault(wanted.run, [])
        agreed.append(wanted)
        assert memory.of(wanted.run).participations == len(agreed) <= min(t.participations for t in agreed)
        assert wanted.noise_multiplier == max(t.noise_multiplier for t in agreed)
        assert wanted.clip_norm <= min(t.clip_limit or t.clip_norm for t in agreed)
        if len(agreed) > 1:
            assert wanted.round - agreed[-2].round >= max(t.separation for t in agreed)
    assert most is None or sum(map(len, taken.values())) <= most
    for rows in taken.values():
        assert [t.round for t in rows] == sorted({t.round for t in rows})
        assert [t.ledger_length for t in rows] == sorted(t.ledger_length for t in rows)
    assert Memory.from_values(memory.as_values(OWN), OWN.public) == memory


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"runs": "{}"},
        {"runs": "no json", "ledgers": "{}"},
        {"runs": '{"r": {"unknown": 1}}', "ledgers": "{}"},
        {"runs": "[]", "ledgers": "{}"},
        {"runs": "{}", "ledgers": '{"l": {"length": 1}}'},
    ],
)
def test_a_damaged_memory_refuses_instead_of_guessing(values: dict[str, str]) -> None:
    with pytest.raises(TermsRefused, match="damaged"):
        Memory.from_values(values)


LEDGER, OTHER_LEDGER = "a" * 64, "b" * 64


def test_a_ledger_is_followed_through_all_runs() -> None:
    """Another run of the same server cannot show a ledger that has forgotten the run before."""
    memory = agree(Memory(), terms(ledger=LEDGER, ledger_length=9))
    assert memory.ledgers == {LEDGER: Seen(9, "0" * 64)}
    assert reason(memory, terms(run="next", ledger=LEDGER, ledger_length=8)) == "rollback"
    assert reason(memory, terms(run="next", ledger=LEDGER, ledger_length=9, ledger_head="1" * 64)) == "fork"
    assert agree(memory, terms(run="next", ledger=LEDGER, ledger_length=10)).ledgers[LEDGER].length == 10


def test_where_a_server_has_one_ledger_another_is_refused() -> None:
    memory = agree(Memory(), terms(ledger=LEDGER), one_ledger=True)
    assert reason(memory, terms(run="next", ledger=OTHER_LEDGER), one_ledger=True) == "ledger"
    assert agree(memory, terms(run="next", ledger=OTHER_LEDGER)).ledgers.keys() == {LEDGER, OTHER_LEDGER}


def test_a_server_that_owns_up_to_a_restore_is_believed_again() -> None:
    """Only in a signed entry of the ledger, and only where it covers all that the device has seen."""
    books = Books(
        policy(participations=9, epsilon=500.0), GaussianEvent(noise_multiplier=1.0, sampling=FIXED), replay=False
    )
    books.round(1, range(200))
    books.budget.own_up(books.session, 10, "2" * 64, range(200), books.event)
    entry = next(entry for entry in books.ledger.entries(books.session) if entry.kind == "restore")
    run = terms(ledger=LEDGER, ledger_length=10, ledger_head="2" * 64)
    seen = agree(Memory(), run)
    after = resolved(seen, LEDGER, entry, books.key.public)
    assert after.ledgers[LEDGER] == Seen(entry.index + 1, entry.hash)
    assert after.runs == seen.runs  # what was promised and how often it took part stays
    assert resolved(Memory(), LEDGER, entry, books.key.public) == Memory()
    longer = agree(Memory(), terms(ledger=LEDGER, ledger_length=11))
    another = agree(Memory(), terms(ledger=LEDGER, ledger_length=10, ledger_head="3" * 64))
    before = agree(Memory(), terms(ledger=LEDGER, ledger_length=entry.index, ledger_head="4" * 64))
    for memory, key in ((longer, books.key), (another, books.key), (before, books.key), (seen, OWN)):
        with pytest.raises(TermsRefused, match=r"owns up|signed"):
            resolved(memory, LEDGER, entry, key.public)
