"""Laws of the door: framing, restoring and the last look hold for every cut of every stream and every spelling."""

import base64
import html
import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_clients.egress.door import Gate
from tacit_clients.egress.inbound import Inbound
from tacit_clients.egress.known_names import KnownNames, WithKnownNames
from tacit_clients.egress.lastlook import LastLook, Values
from tacit_clients.egress.settings import UpstreamSettings
from tacit_clients.egress.sse import Framer
from tacit_clients.egress.views import views
from tacit_clients.egress.wire import compose, structural
from tacit_clients.gateway.rendering import Gathered
from tacit_clients.modes.protocol import Logprobs, Provenance
from tacit_privacy.errors import BadInput, TextRefused, UpstreamFailed
from tacit_privacy.pii.detection.common import COMMON
from tacit_privacy.pii.detection.detector import pattern_detector
from tacit_privacy.pii.policy import DetectionPolicy, RedactionPolicy, RestorePolicy
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.pseudonyms.folding import Folded, fold
from tacit_privacy.pii.redactor import Redactor
from tacit_privacy.pii.restoring.stream import restore
from tacit_privacy.pii.vault.store import Vault

POLICY = RedactionPolicy()
KEY = bytes(range(32))
NAMES = ("Anna Kowalska", "Jürgen Groß", 'O"Brien \\ Sons', "王小明", "Zoë\nLine")


def conversation() -> Conversation:
    found = Conversation("laws", KEY)
    for name in NAMES:
        found.placeholder("PERSON", name)
    return found


TOKENS = tuple(conversation().issued())

texts = st.lists(st.one_of(st.sampled_from(TOKENS), st.text(max_size=8)), max_size=8).map("".join)
lines_of_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=30)


@st.composite
def cuts(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(0, len(raw)), max_size=12)) | {0, len(raw)})
    return [raw[a:b] for a, b in pairwise(places)]


@given(data=st.data(), events=st.lists(lines_of_text, max_size=6), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_cut_of_any_stream_gives_the_same_events(data: st.DataObject, events: list[str], end: str) -> None:
    raw = "".join(f": note{end}event: x{end}data: {event}{end}{end}" for event in events).encode()
    framer, got = Framer(10_000), list[str]()
    for part in data.draw(cuts(raw)):
        got += framer.feed(part)
    got += framer.feed(b"")
    if end == "\r" and len(got) < len(events):  # the last line end may be half of one
        got += framer.feed(b"\n")
    assert got == events and not framer.pending


@given(data=st.data(), events=st.lists(lines_of_text, max_size=6))
def test_what_came_before_bad_bytes_comes_before_their_error_however_it_was_cut(
    data: st.DataObject, events: list[str]
) -> None:
    raw = "".join(f"data: {event}\n\n" for event in events).encode() + b"data: \xff\n\ndata: after\n\n"
    framer, got = Framer(10_000), list[str]()
    with pytest.raises(UpstreamFailed):
        for part in data.draw(cuts(raw)):
            for event in framer.feed(part):
                got.append(event)
    assert got == events


@given(raw=st.binary(max_size=200))
def test_no_bytes_break_the_framer_but_by_its_own_error(raw: bytes) -> None:
    framer = Framer(100)
    try:
        list(framer.feed(raw))
    except UpstreamFailed as error:
        assert error.__context__ is None and error.__cause__ is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "index", "delta", "message", "content", "tool_calls", "function", "id", "usage", "name"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


logprobs = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**400, -(10**400), True, "-0.1"])
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.fixed_dictionaries(
            {"token": st.just("a"), "logprob": inner, "bytes": inner, "top_logprobs": st.lists(inner, max_size=3)}
        )
    ),
    max_leaves=20,
)


@given(content=st.lists(logprobs, max_size=4), depth=st.integers(0, 300))
def test_every_log_probability_that_is_passed_on_is_a_number_to_compute_with(content: list[Any], depth: int) -> None:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [{"token": "b", "logprob": -1, "top_logprobs": deep}]
    choice = {"message": {"content": "a"}, "logprobs": {"content": [*content, *deep]}}
    events = Inbound(None, RestorePolicy(), {}, Provenance("llm")).completion(
        json.dumps({"choices": [choice]}).encode()
    )
    for event in events:
        for row in event.content if isinstance(event, Logprobs) else []:
            assert all(math.isfinite(each["logprob"]) for each in (row, *row["top_logprobs"]))
            json.dumps(row, allow_nan=False)


@given(row=json_values, part=st.sampled_from(["chunk", "completion"]))
def test_no_answer_breaks_the_reader_but_by_its_own_error(row: Any, part: str) -> None:
    inbound = Inbound(conversation(), RestorePolicy(), {}, Provenance("llm"))
    try:
        if part == "chunk":
            inbound.chunk(json.dumps(row))
        else:
            inbound.completion(json.dumps(row).encode())
    except UpstreamFailed as error:
        assert error.__context__ is None and error.__cause__ is None


@given(data=st.data(), text=texts)
def test_streamed_is_whole_is_restored(data: st.DataObject, text: str) -> None:
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=10)) | {0, len(text)})
    kept, sinks = conversation(), RestorePolicy()
    streamed, whole = Inbound(kept, sinks, {}, Provenance("llm")), Inbound(kept, sinks, {}, Provenance("llm"))
    gathered, other = Gathered(), Gathered()
    for a, b in pairwise(places):
        for event in streamed.chunk(json.dumps({"choices": [{"index": 0, "delta": {"content": text[a:b]}}]})):
            gathered.add(event)
    for event in streamed.chunk(json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})):
        gathered.add(event)
    body = {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]}
    for event in whole.completion(json.dumps(body).encode()):
        other.add(event)
    assert gathered.rows() == other.rows()
    assert gathered.rows()[0]["content"] == restore(text, kept, sinks).text


@given(data=st.data(), value=json_values)
def test_tool_arguments_stay_json_however_they_are_cut(data: st.DataObject, value: Any) -> None:
    text = json.dumps({"x": value, "who": data.draw(st.sampled_from(TOKENS)), "in": json.dumps([TOKENS[2]])})
    places = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=10)) | {0, len(text)})
    kept = conversation()
    inbound, gathered = Inbound(kept, RestorePolicy(tools=("*",)), {}, Provenance("llm")), Gathered()
    calls = [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]
    calls += [{"index": 0, "function": {"arguments": text[a:b]}} for a, b in pairwise(places)]
    for call in calls:
        for event in inbound.chunk(json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})):
            gathered.add(event)
    for event in inbound.chunk(json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})):
        gathered.add(event)
    told = json.loads(gathered.rows()[0]["tool_calls"][0]["function"]["arguments"])
    assert told["who"] in NAMES and json.loads(told["in"]) == [NAMES[2]]


def spaced(text: str) -> str:
    return text.replace(" ", " \u00a0\t")


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "upper": str.upper,
    "spaced": spaced,
    "percent": lambda text: quote(text, safe=""),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "u escapes": lambda text: (
        json.dumps(text)[1:-1] if not text.isascii() else "".join(f"\\u{ord(c):04x}" for c in text)
    ),
    "html": html.escape,
    "html numbers": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "url base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "json in json": lambda text: json.dumps({"a": json.dumps([text])}),
    "zero width": lambda text: "\u200b".join(text),
}
words = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzäöüñçß"), min_size=3, max_size=9).filter(
    lambda word: word not in COMMON and fold(word) not in COMMON
)
full_names = st.tuples(words, words).map(lambda pair: f"{pair[0].title()} {pair[1].title()}")


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(
    name=full_names, before=st.sampled_from(["", "to ", "(", '"', "x/"]), after=st.sampled_from(["", ".", " and", "'s"])
)
@settings(max_examples=40)
def test_a_known_value_does_not_pass_in_any_spelling(spelling: str, name: str, before: str, after: str) -> None:
    look = LastLook(POLICY, None, structural)
    written = SPELLINGS[spelling](name)
    body = {"model": "m", "messages": [{"role": "user", "content": f"{before}{written}{after}"}]}
    with pytest.raises(TextRefused) as caught:
        look.check(json.dumps(body).encode(), (Values([name]),), set())
    assert name not in str(caught.value)


BESIDE = (
    "account no. {} and order #{}",
    "username: {}, policy number {}; passport {}",
    "invoice {}, PIN {}, plate {}, phone {}",
    "ssn {} zip code {} ticket {} MRN {}",
)


@given(
    key=st.binary(min_size=32, max_size=32),
    frame=st.sampled_from(BESIDE),
    type=st.sampled_from(["ID", "PASSPORT", "PIN"]),
)
@settings(max_examples=150, deadline=None)
def test_a_placeholder_passes_whatever_stands_beside_it(key: bytes, frame: str, type: str) -> None:
    """Else half of what was redacted rightly would be held back: the stem of a placeholder looks like a number."""
    there = Conversation("beside", key)
    written = frame.format(*(there.placeholder(type, f"{number}448-{number}") for number in range(frame.count("{}"))))
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": written}]}).encode()
    LastLook(POLICY, pattern_detector(POLICY), structural).check(body, (Values(there.values()),), there.issued().keys())


JOINED = (
    "call_anna_kowalska",
    "#anna_kowalska",
    "x.org/annakowalska/a",
    "forAnnaKowalska",
    "kowalska-anna2",
    "akowalska",
)


@pytest.mark.parametrize("text", JOINED)
def test_a_full_name_does_not_pass_in_an_identifier_and_is_masked_there(text: str) -> None:
    look, names = LastLook(POLICY, None, structural), KnownNames(lambda: frozenset({"Anna Kowalska"}))
    names.refresh()
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": f"see {text} please"}]}).encode()
    with pytest.raises(TextRefused):
        look.check(body, (Values(["Anna Kowalska"], ["Anna Kowalska"]),), set())
    with pytest.raises(TextRefused):
        look.check(body, (names.values,), set())
    assert names.find(f"see {text} please")
    look.check(body, (names.values.without(["Anna Kowalska"]),), set())  # made up here


def test_a_value_that_is_a_word_of_a_type_does_not_hold_back_that_types_placeholders() -> None:
    there = Conversation("words", bytes(32))
    known = [there.placeholder(*each) for each in (("ORGANIZATION", "NHS"), ("UK_NHS", "943 476 5919"))]
    look, values = LastLook(POLICY, pattern_detector(POLICY), structural), (Values(there.values(), there.people()),)

    def check(text: str) -> None:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
        look.check(body, values, there.issued().keys())

    check(" number ".join(known))
    for leak in ("NHS number", f"NHS_{known[1]}", f"UK_NHS {known[1]}"):
        with pytest.raises(TextRefused):
            check(leak)


@pytest.mark.parametrize("number", ["+48 601 234 567", "(415) 555-2671", "+1 (212) 555-0142", "4111 1111 1111 1111"])
def test_a_number_made_up_in_anothers_shape_may_leave(number: str) -> None:
    policy = RedactionPolicy(default="format", detection=DetectionPolicy(recogniser="none"))
    detector = pattern_detector(policy)
    with Vault.ephemeral() as vault:
        redactor, look = Redactor(detector, policy), LastLook(policy, detector, structural)
        gate = Gate(
            UpstreamSettings(url="http://127.0.0.1:1", model="m"),
            policy,
            vault,
            redactor,
            look,
            KnownNames(lambda: frozenset()),
        )
        sent = gate.draft({"messages": [{"role": "user", "content": f"call or pay {number} now"}]}, "tc", False).content
        written = json.loads(sent)["messages"][0]["content"]
        assert number not in written and written.startswith("call or pay ") and written.endswith(" now")


@given(text=st.text(max_size=60), name=full_names)
def test_what_holds_no_known_value_passes(text: str, name: str) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    look = LastLook(POLICY, None, structural)
    if all(fold(name) not in fold(view) for view in views(text)):
        look.check(body, (Values([name]),), set())


@given(
    text=st.one_of(st.text(st.characters(max_codepoint=127), max_size=40), st.text("ab \n\t._", max_size=20)),
    needle=st.text("ab ._", min_size=1, max_size=3).map(fold).filter(bool),
)
def test_the_short_way_to_fold_is_the_long_one(text: str, needle: str) -> None:
    long_way = Folded(text + "\u00e9")  # ASCII alone goes the short way
    assert Folded(text).text + "e\u0301" == long_way.text
    assert fold(text) == Folded(text).text.strip()
    if text and not text[-1].isspace():
        assert Folded(text).find(needle) == Folded(text + "\n\u00e9").find(needle)


@given(name=st.sampled_from(["Will", "May", "Rose", "Mark"]))
def test_words_that_are_names_are_held_back_as_names_alone(name: str) -> None:
    look, values = LastLook(POLICY, None, structural), (Values([name]),)

    def body(text: str) -> bytes:
        return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()

    look.check(body(f"it {name.lower()} be so"), values, set())
    for shown in (name, name.upper()):
        with pytest.raises(TextRefused):
            look.check(body(f"so said {shown} today"), values, set())


@pytest.mark.parametrize(
    "around", ["{}", "({})", '"{}"', "name={};", "|{}|", "_{}_", "<b>{}</b>", "Dear {},", "\u306f{}\u3055\u3093"]
)
@pytest.mark.parametrize("name", ["Anna Kowalska", "Zo\u00eb Line", "\u5c71\u7530 \u592a\u90ce", "O'Brien Smith"])
def test_a_known_name_that_the_last_look_refuses_is_found_before(name: str, around: str) -> None:
    names = KnownNames(lambda: frozenset({name}))
    names.refresh()
    text = around.format(name)
    found = [text[entity.start : entity.end] for entity in names.find(text)]
    assert names.values.in_any([text]) and found == [name]


def test_a_made_up_name_leaves_though_somebody_elsewhere_bears_it() -> None:
    policy = RedactionPolicy(types={"PERSON": "surrogate"}, detection=DetectionPolicy(recogniser="none"))
    names = frozenset({"Ngozi Eze", "Anna Kowalska"})
    with Vault.ephemeral() as vault:
        known = KnownNames(lambda: names)
        look = LastLook(policy, None, structural)
        redactor = Redactor(WithKnownNames(pattern_detector(policy), known), policy)
        gate = Gate(UpstreamSettings(url="http://127.0.0.1:1", model="m"), policy, vault, redactor, look, known)

        def left(text: str) -> str:
            sent = gate.draft({"messages": [{"role": "user", "content": text}]}, "tc", False).content
            return str(json.loads(sent)["messages"][0]["content"])

        made_up = left("Ngozi Eze")
        names, known = names | {made_up}, KnownNames(lambda: names)
        gate = replace(gate, names=known, redactor=Redactor(WithKnownNames(pattern_detector(policy), known), policy))
        known.refresh()
        assert left("Ngozi Eze") == made_up and known.values.in_any([made_up])
        assert not {made_up, "Anna Kowalska"} & {left(made_up), left("Anna Kowalska")}


requests = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": json_values})
        )
    },
    optional={
        name: json_values for name in ("tools", "tool_choice", "stop", "n", "audio", "user", "odd", "logit_bias")
    },
)


@given(asked=requests)
def test_every_request_is_composed_or_refused_by_name(asked: dict[str, Any]) -> None:
    try:
        outbound = compose(asked, POLICY, "m", True, True)
    except (BadInput, TextRefused):
        return
    assert outbound.body["model"] == "m" and not {"user", "odd", "audio"} & outbound.body.keys()
