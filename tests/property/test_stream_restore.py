"""However a stream is cut, what comes out is what restoring the whole gives, and little is held back."""

import json
from itertools import pairwise

from drawn_text import PIECES, TYPES
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tacit_privacy.pii.policy import RestorePolicy
from tacit_privacy.pii.pseudonyms import Conversation
from tacit_privacy.pii.restoring import StreamRestorer, restore
from tacit_privacy.pii.restoring.zones import LONGEST_HOST

KEY = bytes(range(32))
any_character = st.characters(exclude_categories=())
SIGNS = (
    "https://evil.com/",
    "www.",
    "//",
    "](",
    "![",
    "[",
    ")",
    "<img src=",
    '="',
    '"',
    ">",
    ".evil.com",
    "?q=",
    "\n\n",
    "\\",
)


def conversation() -> Conversation:
    made = Conversation("law", KEY)
    for type, value in zip(
        TYPES * 2, ["Anna Kowalska", "Acme Ltd", "a@b.c", 'quo"ted\\', "\n", "x", "](http://u.v/"] * 2, strict=True
    ):
        made.placeholder(type, value)
    made.placeholder("PERSON", "Anna")
    made.placeholder("PERSON", "anna")
    return made


ISSUED = tuple(conversation().issued())
spellings = st.sampled_from(ISSUED).flatmap(
    lambda token: st.sampled_from(
        [token, token.lower(), token.replace("_", "\\_"), token[:-1], f"{token}_z", f"{token}x"]
    )
)
pieces = spellings | st.sampled_from(PIECES + SIGNS) | st.text(any_character, max_size=4)
texts = st.lists(pieces, max_size=14).map("".join)
policies = st.none() | st.builds(RestorePolicy, text=st.booleans(), urls=st.booleans(), images=st.booleans())


def cut(text: str, points: list[int]) -> list[str]:
    places = sorted({point % (len(text) + 1) for point in points} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(places)]


@settings(deadline=None, max_examples=400)
@given(text=texts, points=st.lists(st.integers(0, 400), max_size=20), sinks=policies, is_json=st.booleans())
@example(text="PERSON_", points=[3], sinks=None, is_json=False)
def test_every_partition_gives_what_the_whole_gives(
    text: str, points: list[int], sinks: RestorePolicy | None, is_json: bool
) -> None:
    made = conversation()
    whole = restore(text, made, sinks, is_json)
    for parts in (cut(text, points), list(text)):
        stream = StreamRestorer(made, sinks, is_json)
        out = "".join([*map(stream.feed, parts), stream.close()])
        assert out == whole.text
        counts = (stream.restored, stream.unknown, stream.malformed, stream.withheld)
        assert counts == (whole.restored, whole.unknown, whole.malformed, whole.withheld)


@settings(deadline=None)
@given(text=texts, sinks=policies)
def test_little_is_held_back(text: str, sinks: RestorePolicy | None) -> None:
    stream = StreamRestorer(conversation(), sinks)
    longest = 4 * (max(map(len, ISSUED)) + 4) + 32
    for character in text * 3:
        stream.feed(character)
        assert stream.held <= longest + (0 if sinks is None else LONGEST_HOST + 1)


documents = st.recursive(
    texts | st.integers() | st.booleans() | st.none(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(texts, inside, max_size=3) | inside.map(json.dumps),
    max_leaves=6,
)


@settings(deadline=None)
@given(document=documents, ascii_only=st.booleans())
def test_json_stays_json_and_its_strings_are_restored(document: object, ascii_only: bool) -> None:
    made = conversation()
    text = restore(json.dumps(document, ensure_ascii=ascii_only), made, json_string=True).text
    restored = json.loads(text)
    if isinstance(document, str) and not document.lstrip().startswith(("{", "[")):
        assert restored == restore(document, made).text


@settings(deadline=None)
@given(text=st.text(any_character))
def test_text_without_placeholders_is_left_alone(text: str) -> None:
    for sinks in (None, RestorePolicy()):
        assert restore(text, conversation(), sinks).text == text
        assert restore(text, conversation(), sinks, json_string=True).text == text
