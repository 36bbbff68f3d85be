"""A closed ledger of 200 entries: every entry, changed in every way, is found; so is every end that is missing."""

import os
import random

import pytest
from laws.book import SUBJECTS, subject_at
from laws.ledger import CHANGES, ROUNDS, flipped, unnoticed_ends
from laws.subject import NotOffered, Record

WHERE = os.environ.get("CONFORMANCE_SUBJECT", SUBJECTS["Tacit"])
FLIPS = 1  # bits of each entry


@pytest.fixture(scope="module")
def record() -> Record:
    try:
        return subject_at(WHERE).record(ROUNDS)
    except NotOffered as reason:
        pytest.skip(str(reason))


def test_an_honest_record_passes(record: Record) -> None:
    assert len(record.lines) == 200
    assert record.accepts(record.lines, None) and record.accepts(record.lines, record.head)
    assert record.accepts(record.fork, None)


def test_flipped_bits_of_every_entry_are_found(record: Record) -> None:
    rng = random.Random(11)
    for index, line in enumerate(record.lines):
        for bit in rng.sample(range(8 * len(line)), FLIPS):
            assert not record.accepts(flipped(record.lines, index, bit), None), f"bit {bit} of entry {index}"


@pytest.mark.parametrize("name", CHANGES)
def test_every_entry_changed_is_found(name: str, record: Record) -> None:
    for index in range(len(record.lines)):
        assert not record.accepts(CHANGES[name](record.lines, index), None), f"entry {index} {name}"


def test_every_truncation_rollback_and_fork_is_found(record: Record) -> None:
    tried, passed = unnoticed_ends(record, every=5)
    assert (tried, passed) == (81, [])


def test_another_spelling_of_a_number_is_found(record: Record) -> None:
    spelt = [line.replace("1e-05", "1E-05") for line in record.lines]
    if spelt == list(record.lines):
        pytest.skip("the record spells no number with an exponent")
    assert not record.accepts(spelt, None)
