"""Tokens become text: the same for every partition, whole characters, nothing of a stop string."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE

from tacit_clients.slm.models import NANO_FOLDER
from tacit_clients.slm.text_stream import BROKEN, Detokeniser, StopStrings, TextStream

Decode = Callable[[list[int]], str]
NANO = Tokenizer.from_file(str(NANO_FOLDER / "tokenizer.json"))
BYTES = {f"<0x{value:02X}>": value for value in range(256)}
WORDS = ["▁", "▁turn", "▁the", "lamp", "▁on", "é", "s"]
unicode_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=BROKEN), max_size=40)


def byte_level(ids: list[int]) -> str:
    return str(NANO.decode(ids, skip_special_tokens=True))


def _sentencepiece() -> Tokenizer:
    """The decoder of Llama 2 and its like: a mark for a space, bytes for what is in no word, a space to be stripped."""
    vocabulary = BYTES | {word: 256 + n for n, word in enumerate(WORDS)}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    return tokenizer


SENTENCEPIECE = _sentencepiece()


def byte_fallback(ids: list[int]) -> str:
    return str(SENTENCEPIECE.decode(ids))


def pieces(decode: Decode, ids: list[int]) -> list[str]:
    stream = Detokeniser(decode)
    return [*map(stream.push, ids), stream.close()]


@given(st.lists(st.integers(0, 2047), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_ids_of_a_byte_level_tokenizer_give_what_they_give_at_once(ids: list[int]) -> None:
    assert "".join(pieces(byte_level, ids)) == byte_level(ids)


@given(unicode_texts)
@settings(max_examples=300, deadline=None)
def test_no_piece_of_a_text_holds_a_broken_character(text: str) -> None:
    ids = NANO.encode(text, add_special_tokens=False).ids
    found = pieces(byte_level, ids)
    assert "".join(found) == byte_level(ids)
    assert not any(BROKEN in piece for piece in found)


@given(st.lists(st.sampled_from(WORDS) | st.characters(exclude_categories=["Cs"], exclude_characters=BROKEN)))
@example(["▁", "▁", " ", "𐀀"])  # the context of the last is a space, which the decoder strips
@settings(max_examples=300, deadline=None)
def test_a_byte_fallback_gives_whole_characters_and_every_space(words: list[str]) -> None:
    ids: list[int] = []
    for word in words:
        ids += [256 + WORDS.index(word)] if word in WORDS else list(word.encode())
    found = pieces(byte_fallback, ids)
    assert "".join(found) == byte_fallback(ids)
    assert not any(BROKEN in piece for piece in found)


@given(st.lists(st.integers(0, 255 + len(WORDS)), max_size=40))
def test_bytes_that_are_no_text_neither_stop_nor_swallow_what_follows(ids: list[int]) -> None:
    end = [256 + WORDS.index("▁turn"), 256 + WORDS.index("lamp")]
    assert "".join(pieces(byte_fallback, [*ids, *end])).lstrip().endswith("turnlamp")


def test_a_character_is_there_with_its_last_byte() -> None:
    ids = list("a😀b".encode())
    assert pieces(byte_fallback, ids) == ["a", "", "", "", "😀", "b", ""]
    assert pieces(byte_fallback, ids[:3]) == ["a", "", "", BROKEN * 2]


def by_character(text: str, stops: list[str]) -> str:
    """The oracle: read on until some stop string is complete."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))]
    return text


letters = st.text("ab", max_size=24)
stop_lists = st.lists(st.text("ab", min_size=1, max_size=5), max_size=3)


@given(letters, stop_lists, st.lists(st.integers(0, 24)))
@settings(max_examples=500)
def test_stop_strings_end_every_partition_at_the_same_place(text: str, stops: list[str], cuts: list[int]) -> None:
    stream, out, at = StopStrings(stops), "", 0
    for cut in [*sorted(cuts), len(text)]:
        out += stream.push(text[at:cut])
        at = max(at, min(cut, len(text)))
        assert len(out) >= at - max(map(len, stops), default=1) + 1 or stream.stopped  # hold-back is bounded
    assert out + stream.close() == by_character(text, stops)
    assert stream.stopped == any(stop in text for stop in stops)


@pytest.mark.parametrize(("leading", "expected"), [(True, "turn the"), (False, " turn the")])
def test_the_space_before_an_answer_goes_where_it_was_trained(leading: bool, expected: str) -> None:
    stream = TextStream(Detokeniser(byte_level), StopStrings([" lamp"]), leading_space=leading)
    ids = NANO.encode("turn the lamp on", add_special_tokens=False).ids
    assert "".join(map(stream.push, ids)) + stream.close() == expected
    assert stream.stopped
