"""Every law, put to Tacit, or to whatever CONFORMANCE_SUBJECT names (``module:Class``, see tests/support/laws)."""

import os

import pytest
from laws.book import LAWS, SUBJECTS, subject_at
from laws.subject import Law, Subject, Verdict

WHERE = os.environ.get("CONFORMANCE_SUBJECT", SUBJECTS["Tacit"])
OURS = SUBJECTS["Tacit"] == WHERE
SLOW = {"ledger"}  # examined entry by entry in test_laws_ledger.py
# What Tacit lacks: an adaptive clip, and amplification of cohorts of fixed size (without it the bound is loose).
EXPECTED: dict[str, Verdict] = {"fixed-cohort": "loose"}


@pytest.fixture(scope="module")
def subject() -> Subject:
    return subject_at(WHERE)


@pytest.mark.parametrize("law", [law for law in LAWS if law.name not in SLOW], ids=lambda law: law.name)
def test_law(law: Law, subject: Subject) -> None:
    found = law.finding(subject)
    if found.verdict == "has none" and not OURS:
        pytest.skip(found.shown)
    assert found.verdict == (EXPECTED.get(law.name, "keeps") if OURS else "keeps"), found.shown


def test_laws_have_names_of_their_own() -> None:
    assert len({law.name for law in LAWS}) == len(LAWS)
    assert all(hasattr(Subject, law.asks) for law in LAWS)


def test_a_subject_that_has_nothing_is_told_so() -> None:
    assert {law.finding(Subject()).verdict for law in LAWS} == {"has none"}
