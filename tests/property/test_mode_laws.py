"""Laws of generalising, of hints kept, and of plans: for every text, every finding, every plan."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_clients.modes.documents import document_of
from tacit_clients.modes.generalise import SENTENCES, asks, generalise
from tacit_clients.modes.hints import Hints
from tacit_clients.modes.jobs import LONGEST_PLAN, Extract, Job, Plan, combined, default_plan, pieces, plan_of, selected
from tacit_clients.modes.lexical import content_words, overlap, words
from tacit_clients.modes.trust import agreement
from tacit_privacy.pii.entities import Entity

STARTS = ("what", "How do I", "Write", "please tell", "Is", "Ist", "")
NAMES = (
    "Anna",
    "KOWALSKA",
    "o'Brien",
    "\uff27roß",
    "4711",
    "a@b.example",
    "https://x.example/Anna",
    "王小明",
    "x1",
    "iPhone",
)
signs = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
texts = st.lists(
    st.one_of(st.sampled_from(STARTS), st.sampled_from(NAMES), signs, st.sampled_from("?.!\n\"'“”,")), max_size=14
).map(" ".join)
findings = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 9), st.sampled_from(["PERSON", "URL", "ID"])), max_size=4
)
PLAIN_WORDS = st.text(st.sampled_from("abcdefgh \n"), max_size=400)


@settings(max_examples=300)
@given(text=texts, found=findings, longest=st.integers(1, 300))
def test_a_general_question_holds_no_number_no_capital_and_nothing_quoted(
    text: str, found: list[tuple[int, int, str]], longest: int
) -> None:
    entities = [Entity(start, min(start + length, len(text)), type, 1.0) for start, length, type in found]
    general = generalise(text, [each for each in entities if each.start < each.end], longest)
    assert len(general) <= max(longest, len("none"))
    assert not any(
        character.isdigit() or character.isupper() or character in "@/\"'“”"
        for character in general
        if character != "'"
    )
    assert general == "none" or general[-1] in "?."
    for name in ("anna", "kowalska", "o'brien", "groß", "iphone"):
        assert name not in general.split()


@given(before=signs, name=st.text(st.sampled_from("abcdeé王"), min_size=4, max_size=9), after=signs)
def test_what_was_found_is_not_in_it(before: str, name: str, after: str) -> None:
    text = f"how do i help {name} {before} {after}?"
    general = generalise(text, [Entity(14, 14 + len(name), "PERSON", 1.0)])
    if name not in f"{before} {after}":
        assert name not in words(general.replace("someone", ""))


SAID = ("Who is ill?", "Sum it up", "I am ill.", "Draft a reply to him.", "about the letter below", "\n", "\n\n")


@settings(max_examples=300)
@given(st.lists(st.sampled_from(SAID), max_size=12).map(" ".join), st.booleans())
def test_of_a_document_a_short_end_that_only_asks_may_leave_and_nothing_else(text: str, in_parts: bool) -> None:
    content = [{"type": "text", "text": part} for part in text.split("\n\n")] if in_parts else text
    found = document_of([{"role": "user", "content": content}])
    if found is not None and found.clear:
        sent = found.question
        assert len(sent) <= 240 and all(asks(sentence) for sentence in SENTENCES.split(sent))
        assert text.strip().startswith(sent) or text.strip().endswith(sent)


@given(st.lists(st.tuples(texts, st.text(max_size=5)), max_size=20), st.integers(0, 5))
def test_the_newest_hints_are_kept_and_no_more(said: list[tuple[str, str]], most: int) -> None:
    clock = iter(range(10**6)).__next__
    kept = Hints(most, 10**9, clock=lambda: float(clock()))
    for question, hint in said:
        kept.keep(question, hint)
        assert len(kept) <= most and kept.find(question) == (hint if most and words(question) else None)


@given(question=texts, seconds=st.integers(1, 50))
def test_a_hint_ends_with_its_time(question: str, seconds: int) -> None:
    now = [0.0]
    kept = Hints(3, seconds, clock=lambda: now[0])
    kept.keep(question, "hint")
    now[0] = seconds - 0.5
    assert kept.find(f"  {question}  ") == ("hint" if words(question) else None)
    now[0] = seconds
    assert kept.find(question) is None and len(kept) == 0


@given(first=texts, second=texts, similarity=st.floats(0.1, 0.9))
def test_a_hint_serves_only_a_question_that_is_near(first: str, second: str, similarity: float) -> None:
    kept = Hints(3, 9.0, similarity, clock=lambda: 0.0)
    kept.keep(first, "hint")
    near = bool(content_words(second)) and overlap(content_words(second), content_words(first)) >= similarity
    same = words(first) == words(second) != []
    assert (kept.find(second) == "hint") == (same or (near and words(first) != []))


@given(first=texts, second=texts)
def test_agreement_is_a_share_and_knows_no_order(first: str, second: str) -> None:
    assert 0 <= agreement(first, second) <= 1
    assert agreement(first, second) == agreement(second, first) and agreement(first, first) == 1


@given(text=st.one_of(PLAIN_WORDS, st.text(max_size=200)), size=st.integers(1, 80))
def test_pieces_lose_nothing_but_space_and_none_is_too_long(text: str, size: int) -> None:
    cut = pieces(text, size)
    assert all(0 < len(piece) <= size for piece in cut)
    assert "".join("".join(cut).split()) == "".join(text.split())


jobs: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    instruction=st.text(min_size=1, max_size=20),
    select=st.builds(
        dict,
        kind=st.sampled_from(["all", "lines", "paragraphs"]),
        words=st.lists(st.text(min_size=2, max_size=9), max_size=3),
    ),
    answer=st.sampled_from(["text", "number", "list", "yes_no"]),
    combine=st.sampled_from(["first", "list", "count", "sum", "max", "min", "join", "most_confident"]),
)


@given(text=PLAIN_WORDS, plan=st.builds(dict, jobs=st.lists(jobs, min_size=1, max_size=3)), most=st.integers(1, 5))
def test_a_plan_reads_the_document_and_no_more_than_allowed(text: str, plan: dict[str, Any], most: int) -> None:
    found = plan_of(f"Well: {json.dumps(plan)}.")
    assert found is not None and found.model_dump(mode="json") == plan
    for job in found.jobs:
        chosen, cut = selected(text, job, "a question", 40, most)
        assert len(chosen) <= most and all(len(piece) <= 40 for piece in chosen)
        assert cut or len("".join("".join(chosen).split())) <= len(text)
        assert all("".join(piece.split()) in "".join(text.split()) for piece in chosen)


@given(
    st.one_of(
        st.text(max_size=200),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["jobs", "instruction", "select", "words", "x"]), inner)
            ),
            max_leaves=20,
        ).map(json.dumps),
    )
)
def test_anything_else_is_no_plan_and_no_error(text: str) -> None:
    found = plan_of(text)
    assert found is None or isinstance(found, Plan)
    assert plan_of('{"jobs": [' * LONGEST_PLAN) is None


@given(st.lists(st.text(max_size=12), max_size=6), jobs)
def test_whatever_the_pieces_say_comes_to_something_or_nothing(said: list[str], job: dict[str, Any]) -> None:
    declared = Job.model_validate_json(json.dumps(job))
    result = combined(declared, [Extract(text) for text in said])
    assert (result is None) if not said else (result is None or isinstance(result.text, str))
    assert default_plan("".join(said)).jobs
