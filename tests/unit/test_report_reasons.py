"""Every word that a device can be lost for has its line in the report's one table, and the table has no other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tacit_privacy.errors import NonFiniteUpdate
from tacit_simulations.fleet.outcomes import Outcome
from tacit_simulations.report.marks import NARROW
from tacit_simulations.report.reasons import REASONS, UNSTATED, explanations, reason_name

ROOT = Path(__file__).parents[2]
BESIDES = {UNSTATED, "not_used"}  # words of the report and of tacit_simulations.result, which only the simulator says


def calls(package: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call in ``package`` with the last part of what is called."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                yield name, node


def first_words(call: ast.Call) -> set[str]:
    """The texts that the first argument of ``call`` can be: a constant, or either branch of a conditional."""
    if not call.args:
        return set()
    found = call.args[0]
    branches = [found.body, found.orelse] if isinstance(found, ast.IfExp) else [found]
    return {b.value for b in branches if isinstance(b, ast.Constant) and isinstance(b.value, str)}


def said(package: str, *names: str) -> set[str]:
    return {word for name, call in calls(package) if name in names for word in first_words(call)}


def emitted() -> set[str]:
    """Reasons of the fleet (an enum), of the server, and of a device's guard, which stand behind ``refused.``."""
    fleet = {outcome.word for outcome in Outcome if outcome}
    server = said("server/tacit_server", "UpdateRefused", "drop") | said("privacy/tacit_privacy", "UpdateRefused")
    device = said("clients/tacit_clients", "TermsRefused", "refusal", "UpdateRefused")
    diverged = NonFiniteUpdate().reason
    return fleet | server | {diverged} | {f"refused.{word}" for word in {*device, diverged}} | BESIDES


def test_the_collector_sees_what_is_known_to_be_there() -> None:
    known = {"late", "missing", "displaced", "duplicate", "norm", "refused", "refused.fork", "refused.bad_input"}
    assert known <= emitted()


def test_every_word_that_can_be_emitted_has_its_phrase_and_no_phrase_is_left_over() -> None:
    assert emitted() - set(REASONS) == set(), "give the word a line in tacit_simulations/report/reasons.py"
    assert set(REASONS) - emitted() == set(), "nothing says this word any more"


@pytest.mark.parametrize("word", sorted(REASONS))
def test_a_phrase_is_short_plain_and_a_sentence(word: str) -> None:
    reason = REASONS[word]
    assert "_" not in reason.name
    assert 3 <= len(reason.name) <= NARROW.fits(0.46 * NARROW.width - 34), "does not fit beside a chart on a phone"
    assert reason.meaning[0].isupper()
    assert reason.meaning.endswith(".")
    assert 20 <= len(reason.meaning) <= 110


def test_names_tell_the_reasons_of_one_chart_apart() -> None:
    names = [reason.name for word, reason in REASONS.items() if "." not in word]
    assert len(names) == len(set(names))


def test_an_unknown_word_is_shown_as_it_is() -> None:
    assert reason_name("eaten_by-dog") == "eaten by dog"
    assert explanations(["eaten_by-dog", "late"]) == [(REASONS["late"].name, REASONS["late"].meaning)]
