"""Laws of the verifier: no change of a ledger goes unnoticed, and nothing that is no ledger is more than a problem."""

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import KEY, Books, policy

from tacit_privacy.accounting.events import GaussianEvent, Sampling
from tacit_privacy.contract import canonical
from tacit_privacy.ledger.chain import GENESIS, entry_hash
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.verify import verify

NEXT = SigningKey.simulated(8)
POISSON = Sampling(kind="poisson", cohort=8, population=40)
laws = settings(max_examples=300, deadline=None)


@cache
def ledger(sealed: bool) -> tuple[str, ...]:
    """Every kind of entry: committed, given back, cut off by a crash, handed to a new key, closed."""
    allowed = policy(epsilon=9.0, delta=1e-2, participations=2, roster_sealed=sealed, population=40)
    event = GaussianEvent(noise_multiplier=2.0, sampling=POISSON)
    run = Books(allowed, event, replay=False)
    for number, devices in enumerate(([1, 2], [], [2, 3]), 1):
        run.round(number, devices)
    run.budget.abandon(run.session, run.reserve(4, [5]), "too few devices")
    run.reserve(5, [6])
    run.open()  # after a crash
    run.round(5, [7])
    run.session.commit()
    other = Books(allowed, event, run="other", database=run.database)
    other.round(1, [8])
    other.close()
    run.hand_over(NEXT)
    run.close()
    return tuple(run.lines())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and every value of an entry, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from places(inner, (*path, key))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2, 10**30, 1.0, 1e-200, 1e200, 1e308, 5e-324, "", "abc", "3", "1.5", "inf", "\ud800"])
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


def changed(data: st.DataObject, entry: dict[str, Any]) -> dict[str, Any]:
    """``entry`` with one value exchanged, one key taken out or one put in."""
    found = copy.deepcopy(entry)
    path = data.draw(st.sampled_from(list(places(entry))), label="place")
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    match data.draw(st.sampled_from(["exchange", "exchange", "exchange", "drop", "add"]), label="how"):
        case "drop":
            del inner[path[-1]]
        case "add":
            inner[data.draw(st.text(max_size=4), label="key")] = data.draw(anything, label="value")
        case _:
            inner[path[-1]] = data.draw(anything, label="value")
    return found


def spelt(value: Any) -> str:
    """The canonical text, where there is one."""
    try:
        return canonical(value).decode()
    except (ValueError, TypeError):
        return json.dumps(value)


def test_an_entry_is_spelt_in_one_way() -> None:
    lines = list(ledger(False))
    told = json.loads(lines[2])
    for other in (json.dumps(told), lines[2] + " ", json.dumps(dict(reversed(told.items())), separators=(",", ":"))):
        assert [(p.index, p.kind) for p in verify([*lines[:2], other, *lines[3:]], KEY.public).problems] == [
            (2, "spelling")
        ]


@pytest.mark.parametrize("sealed", [False, True])
@laws
@given(data=st.data())
def test_every_change_of_every_field_is_reported(sealed: bool, data: st.DataObject) -> None:
    lines = list(ledger(sealed))
    number = data.draw(st.integers(0, len(lines) - 1), label="entry")
    entry = json.loads(lines[number])
    mutant = changed(data, entry)
    lines[number] = spelt(mutant)
    found = verify(lines, KEY.public)
    assert "".join([found.head, *(problem.detail for problem in found.problems)]).isprintable()
    assert found.ok == (lines[number] == ledger(sealed)[number])


@pytest.mark.parametrize("sealed", [False, True])
@laws
@given(data=st.data())
def test_whatever_a_server_signs_is_a_ledger_or_a_problem(sealed: bool, data: st.DataObject) -> None:
    """A server that lies signs its lies: hashes and signatures are made anew over the changed entry."""
    entries = [json.loads(line) for line in ledger(sealed)]
    number = data.draw(st.integers(0, len(entries) - 1), label="entry")
    entries[number] = changed(data, entries[number])
    found = verify(signed(entries), KEY.public)
    json.dumps(found.as_json(), allow_nan=False)
    for problem in found.problems:
        assert problem.kind.isidentifier() and problem.detail.isprintable()
    assert (found.head + found.noise_source).isprintable()


def signed(entries: list[dict[str, Any]]) -> list[str]:
    """Chained and signed again, where what they say can be signed."""
    previous, lines, key = GENESIS, [], KEY
    for entry in entries:
        fields = {key: value for key, value in entry.items() if key not in ("hash", "signature")}
        fields["previous"] = previous
        try:
            previous = entry_hash(fields)
            signature = key.sign(bytes.fromhex(previous)).hex()
            lines.append(canonical(fields | {"hash": previous, "signature": signature}))
            if fields.get("kind") == "rotate":
                key = NEXT
        except ValueError:
            lines.append(json.dumps(entry).encode())
    return [line.decode() for line in lines]


def test_the_untouched_ledger_verifies() -> None:
    for sealed in (False, True):
        found = verify(ledger(sealed), KEY.public)
        assert (found.ok, found.state, found.entries) == (True, "closed", 20)
        assert signed([json.loads(line) for line in ledger(sealed)]) == list(ledger(sealed))


@pytest.mark.parametrize("line", ["[" * 100_000, "1" * 5_000, "NaN", "{}", "", "[]", '"text"', '{"index": 1e999}'])
def test_a_line_that_is_no_entry_is_a_problem(line: str) -> None:
    found = verify([*ledger(False)[:3], line], KEY.public)
    assert not found.ok and found.entries == 3
    assert found.problems[0].index == 3 and found.problems[0].kind in ("json", "fields")


def test_a_signature_is_spelt_in_one_way() -> None:
    lines = list(ledger(False))
    entry = json.loads(lines[3])
    lines[3] = spelt(entry | {"signature": entry["signature"].upper()})
    assert [(p.index, p.kind) for p in verify(lines, KEY.public).problems] == [(3, "signature")]


LIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "participations in words": ("reserve", {"participations": "two"}, "body"),
    "participations below nothing": ("reserve", {"participations": -1}, "body"),
    "half a participation": ("reserve", {"participations": 1.5}, "body"),
    "a count in quotation marks": ("reserve", {"round": "1"}, "body"),
    "epsilon in words": ("reserve", {"epsilon": "little"}, "body"),
    "epsilon too small": ("reserve", {"epsilon": 0.001}, "epsilon"),
    "no such noise": (
        "reserve",
        {"event": {"kind": "gaussian", "noise_multiplier": 1e-200, "sampling": POISSON.model_dump()}},
        "epsilon",
    ),
    "a cohort beyond the fleet": (
        "reserve",
        {"event": {"noise_multiplier": 1.0, "sampling": {"kind": "poisson", "cohort": 50, "population": 40}}},
        "body",
    ),
    "a reservation that is a list": ("commit", {"reservation": ["1.1"]}, "body"),
    "receipts that are no digest": ("commit", {"receipts": "many"}, "body"),
    "something more": ("commit", {"loss": 0.3}, "body"),
    "fewer releases": ("close", {"releases": 1}, "releases"),
    "a smaller sum": ("close", {"epsilon": 0.1}, "epsilon"),
    "a promise without a delta": ("open", {"policy": {"epsilon": 1.0}}, "body"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_signed_lie_has_a_name(name: str) -> None:
    kind, lie, problem = LIES[name]
    entries = [json.loads(line) for line in ledger(False)]
    entry = next(entry for entry in entries if entry["kind"] == kind)
    entry["body"] |= lie
    found = verify(signed(entries), KEY.public)
    assert problem in {p.kind for p in found.problems if p.index == entry["index"]}
