"""Laws of redaction: what is restored is what was redacted, and nothing that was masked is still there."""

import re

from drawn_text import PIECES, TYPES, Drawn, apart
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import Action, RedactionPolicy
from tacit_privacy.pii.pseudonyms import Conversation
from tacit_privacy.pii.redactor import Redactor
from tacit_privacy.pii.restoring import restore

KEY = bytes(range(32))
any_character = st.characters(exclude_categories=())
texts = st.lists(st.sampled_from(PIECES) | st.text(any_character, max_size=6), max_size=12).map("".join)
some_spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 15), st.sampled_from(TYPES)), max_size=5)
turns = st.lists(st.tuples(texts, some_spans), min_size=1, max_size=4)
Turns = list[tuple[str, list[tuple[int, int, str]]]]
every_action: st.SearchStrategy[Action] = st.sampled_from(["mask", "surrogate", "format"])
policies = st.dictionaries(st.sampled_from(TYPES), every_action).map(lambda types: RedactionPolicy(types=types))


def drawn(drawn_turns: Turns) -> Drawn:
    return Drawn({text: apart(spans, len(text)) for text, spans in drawn_turns})


@settings(deadline=None)
@given(turns=turns, policy=policies)
@example(turns=[("Anna_b", [(0, 4, "PERSON")])], policy=RedactionPolicy())
@example(turns=[("Anna\\_b", [(0, 4, "PERSON")])], policy=RedactionPolicy())
@example(turns=[("张伟李娜", [(0, 2, "PERSON"), (2, 2, "PERSON")])], policy=RedactionPolicy())
@example(turns=[("张伟_李娜", [(0, 2, "PERSON"), (3, 2, "PERSON")])], policy=RedactionPolicy())
@example(turns=[("xAnna", [(1, 4, "PERSON")])], policy=RedactionPolicy())
def test_restoring_gives_back_every_text_of_every_turn(turns: Turns, policy: RedactionPolicy) -> None:
    conversation = Conversation("law", KEY)
    redactor = Redactor(drawn(turns), policy)
    redacted = [redactor.redact(text, conversation).text for text, _ in turns]
    assert [restore(text, conversation).text for text in redacted] == [text for text, _ in turns]


@settings(deadline=None)
@given(turns=turns, policy=policies, data=st.data())
def test_placeholders_that_were_issued_are_ordinary_text_when_somebody_types_them(
    turns: Turns, policy: RedactionPolicy, data: st.DataObject
) -> None:
    conversation = Conversation("law", KEY)
    redactor = Redactor(drawn(turns), policy)
    for text, _ in turns:
        redactor.redact(text, conversation)
    issued = [*conversation.issued(), *conversation.fictions()] or ["PERSON_k3f9q"]
    spelled = st.sampled_from(issued).flatmap(
        lambda t: st.sampled_from([t, t.lower(), t.title(), t.replace("_", "\\_")])
    )
    forged = "".join(data.draw(st.lists(spelled | texts, max_size=6)))
    found = apart(data.draw(some_spans), len(forged))
    redaction = Redactor(Drawn({forged: found}), policy).redact(forged, conversation)
    assert restore(redaction.text, conversation).text == forged


@settings(deadline=None)
@given(drawn_turns=turns, policy=policies)
def test_texts_redacted_together_are_restored_each(drawn_turns: Turns, policy: RedactionPolicy) -> None:
    conversation = Conversation("law", KEY)
    whole = [text for text, _ in drawn_turns]
    redacted = Redactor(drawn(drawn_turns), policy).redact_many(whole, conversation)
    assert [restore(each.text, conversation).text for each in redacted] == whole


def without_pseudonyms(text: str, conversation: Conversation) -> str:
    """``text`` with every placeholder and surrogate cut out: what is left was typed by somebody."""
    for token in sorted((*conversation.issued(), *conversation.fictions()), key=len, reverse=True):
        text = text.replace(token, "\uffff")
    return text


def simple(text: str) -> str:
    return " ".join(text.casefold().split())


@settings(deadline=None)
@given(drawn_turns=turns, policy=policies)
def test_no_masked_value_is_left_in_any_text(drawn_turns: Turns, policy: RedactionPolicy) -> None:
    conversation = Conversation("law", KEY)
    redacted = Redactor(drawn(drawn_turns), policy).redact_many([text for text, _ in drawn_turns], conversation)
    for value in map(simple, conversation.values()):
        for each in redacted:
            left = simple(without_pseudonyms(each.text, conversation))
            if len(value) >= 3:
                assert re.search(rf"(?<!\w){re.escape(value)}(?!\w)", left) is None


@settings(deadline=None)
@given(turns=turns)
def test_a_saved_conversation_goes_on_where_it_was(turns: Turns) -> None:
    conversation = Conversation("law", KEY)
    redactor = Redactor(drawn(turns), RedactionPolicy(default="surrogate"))
    redacted = [redactor.redact(text, conversation).text for text, _ in turns]
    loaded = Conversation.from_state("law", KEY, conversation.state())
    assert loaded.state() == conversation.state()
    assert [restore(text, loaded).text for text in redacted] == [text for text, _ in turns]
    again = [redactor.redact(text, loaded).text for text, _ in turns]
    assert again == [redactor.redact(text, conversation).text for text, _ in turns]


FIRST = ("Anna", "Adam", "Ewa", "Jan", "张伟")
LAST = ("Kowalska", "Nowak", "Smith", "O'Neil", "Müller-Lüdenscheidt")


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(FIRST), st.sampled_from(LAST), st.sampled_from(["full", "first", "last", "f."])))
)
def test_people_with_different_names_never_share_a_stem(names: list[tuple[str, str, str]]) -> None:
    conversation = Conversation("law", KEY)
    stems: dict[str, str] = {}
    for first, last, how in names:
        form = {"full": f"{first} {last}", "first": first, "last": last, "f.": f"{first[0]}. {last}"}[how]
        placeholder = conversation.placeholder("PERSON", form)
        if how == "full":
            stem = "_".join(placeholder.split("_")[:2])
            assert stems.setdefault(stem, f"{first} {last}") == f"{first} {last}"


@settings(deadline=None)
@given(st.text(any_character, min_size=1), st.text(any_character, min_size=1))
@example("\r", "\r")
@example(".", "Mr.")
def test_two_values_never_share_a_placeholder(one: str, other: str) -> None:
    conversation = Conversation("law", KEY)
    tokens = {conversation.placeholder(type, value) for type in ("PERSON", "ID") for value in (one, other)}
    assert len(tokens) == 2 * len({one, other})
    assert all(conversation.original(token) in (one, other) for token in tokens)


def test_drawn_spans_do_not_overlap() -> None:
    found = apart([(0, 5, "PERSON"), (3, 4, "ID"), (9, 1, "ID")], 12)
    assert found == [Entity(0, 5, "PERSON", 0.9), Entity(9, 10, "ID", 0.9)]
