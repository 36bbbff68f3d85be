"""The detector as a whole: merging, lists, finding again, what hides, any string whatever, and what a process loads."""

import subprocess
import sys
import threading
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_privacy.pii.detection.detector import CombinedDetector, build_detector, pattern_detector
from tacit_privacy.pii.detection.merging import joined, settle
from tacit_privacy.pii.detection.normalise import readable
from tacit_privacy.pii.detection.shapes import Found
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import DetectionPolicy, RedactionPolicy

NONE = RedactionPolicy(detection=DetectionPolicy(recogniser="none"))
PATTERNS = pattern_detector(NONE)

any_text = st.text(st.characters(exclude_categories=()), max_size=80)  # lone surrogates, controls, everything
PIECES = (
    "anna@example.com|+48 22 123 45 67|4111 1111 1111 1111|GB82WEST12345698765432|Anna|Kowalska|12 Main Street|\n|, | "
    "|password: hunter2!|https://github.com/annak|@anna|203.0.113.77|\u200b|\u00ad|e\u0301|\ufb01|王小明|\ud800|😀|"
    "SSN 219-09-9999|5/6/1980|born |\x00|(|)|{|}|'s|account no. 12345678|AKIAIOSFODNN7EXAMPLE"
)
pieces = st.sampled_from(PIECES.split("|"))
mixed_text = st.lists(st.one_of(pieces, any_text), max_size=12).map("".join)


class Names:
    """Stands where a model stands: finds given words, one type each, exactly as written."""

    def __init__(self, **types: str) -> None:
        self._types = types

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        return [
            [
                Entity(at, at + len(word), type, 0.8)
                for type, words in self._types.items()
                for word in words.split("|")
                if (at := text.find(word)) >= 0
            ]
            for text in texts
        ]


def found(text: str, policy: RedactionPolicy = NONE, **types: str) -> list[tuple[str, str]]:
    detector = CombinedDetector(policy, [Names(**types)] if types else [])
    return [(entity.type, text[entity.start : entity.end]) for entity in detector.detect([text])[0]]


def policy(**detection: object) -> RedactionPolicy:
    return RedactionPolicy.model_validate({"detection": {"recogniser": "none", **detection}})


# laws


@settings(max_examples=300, deadline=None)
@given(text=mixed_text)
def test_any_string_gives_sorted_spans_apart_inside_it(text: str) -> None:
    entities = PATTERNS.detect([text])[0]
    at = 0
    for entity in entities:
        assert at <= entity.start < entity.end <= len(text)
        assert 0 < entity.score <= 1
        at = entity.end


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(mixed_text, max_size=4))
def test_a_text_is_read_alike_alone_and_in_company(texts: list[str]) -> None:
    assert PATTERNS.detect(texts) == [PATTERNS.detect([text])[0] for text in texts]


spans = st.builds(
    lambda start, length, type, score: Found(start, start + length, type, score),
    st.integers(0, 30),
    st.integers(1, 12),
    st.sampled_from(["PERSON", "SECRET", "DATE_TIME", "CREDIT_CARD", "ADDRESS"]),
    st.sampled_from([0.5, 0.8, 1.0]),
)


@settings(max_examples=500, deadline=None)
@given(spans=st.lists(spans, max_size=10))
def test_settling_leaves_no_overlap_and_uncovers_nothing_that_is_masked(spans: list[Found]) -> None:
    text = "x" * 50

    def keeps(type: str) -> bool:
        return type == "DATE_TIME"

    settled = settle(text, spans, keeps)
    assert all(one.end <= two.start for one, two in pairwise(settled))
    masked = {at for one in spans if not keeps(one.type) for at in range(one.start, one.end)}
    assert masked == {at for one in settled if not keeps(one.type) for at in range(one.start, one.end)}


@settings(max_examples=300, deadline=None)
@given(text=any_text, start=st.integers(0, 80), length=st.integers(1, 80))
def test_every_span_of_the_readable_copy_leads_back_into_the_text(text: str, start: int, length: int) -> None:
    copy = readable(text)
    end = min(start + length, len(copy.text))
    if start < end:
        first, last = copy.span(start, end)
        assert 0 <= first < last <= len(text)
        assert readable(text[first:last]).text.find(copy.text[start]) >= 0


@given(text=st.text(st.characters(codec="ascii")))
def test_plain_text_is_its_own_readable_copy(text: str) -> None:
    assert readable(text).text == text


# what hides

HIDING = {
    "zero width": lambda text: "\u200b".join(text),
    "soft hyphens": lambda text: "\u00ad".join(text),
    "full width": lambda text: "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text),
    "bold": lambda text: "".join(chr(0x1D400 + ord(c) - 65) if "A" <= c <= "Z" else c for c in text.upper()),
    "tags between": lambda text: "\U000e0041".join(text),
}


@pytest.mark.parametrize("how", HIDING)
@pytest.mark.parametrize("value", ["anna.k@example.com", "4111111111111111", "GB82WEST12345698765432", "+48221234567"])
def test_hidden_characters_and_other_forms_hide_nothing(how: str, value: str) -> None:
    text = f"before {HIDING[how](value)} after"
    (entity,) = PATTERNS.detect([text])[0]
    assert text[entity.start : entity.end] == HIDING[how](value)


def test_digits_of_other_scripts_are_digits() -> None:
    card = "4111111111111111".translate({48 + digit: 0x0660 + digit for digit in range(10)})
    assert [type for type, _ in found(f"بطاقة {card}")] == ["CREDIT_CARD"]


def test_accents_apart_and_ligatures_keep_offsets() -> None:
    text = unicodedata.normalize("NFD", "Zoë, éèê ﬁne: ") + "anna@example.com"
    assert found(text) == [("EMAIL_ADDRESS", "anna@example.com")]


def test_offsets_count_code_points() -> None:
    assert PATTERNS.detect(["😀😀 a@b.co"])[0][0].start == 3


# finding again


def test_a_name_is_found_again_in_other_case_possessive_and_across_lines() -> None:
    text = "Anna Kowalska called. ANNA KOWALSKA's car, anna\n  kowalska\u2019s dog, Kowalska and Anna; annals stay."
    assert [value for _, value in found(text, PERSON="Anna Kowalska")] == [
        "Anna Kowalska",
        "ANNA KOWALSKA",
        "anna\n  kowalska",
        "Kowalska",
        "Anna",
    ]


def test_parts_of_a_name_that_are_words_or_small_are_not_found_again() -> None:
    text = "Will Brown, Al Green and Mr. Grace Li: Will you mark Brown paper? The green Al. Li. kowalska"
    again = found(text, PERSON="Will Brown|Al Green|Grace Li")
    assert [value for _, value in again] == ["Will Brown", "Al Green", "Grace Li"]


def test_part_of_a_name_in_small_letters_is_left() -> None:
    assert found("Peter Pfeffer isst pfeffer", PERSON="Peter Pfeffer") == [("PERSON", "Peter Pfeffer")]


def test_names_are_found_again_where_no_spaces_part_words() -> None:
    assert [value for _, value in found("王小明说\uff1a今天王小明不来。", PERSON="王小明")] == ["王小明", "王小明"]


def test_an_explained_number_is_found_again_where_nothing_explains_it() -> None:
    text = "account no. 48213377, then later: 48213377"
    assert [value for _, value in found(text)] == ["48213377", "48213377"]


def test_what_is_kept_is_not_found_again_as_something_masked() -> None:
    assert found("in May 2020 it may rain") == [("DATE_TIME", "May 2020")]


# overlaps


def test_a_secret_wins_and_takes_in_what_overlaps() -> None:
    text = "postgres://anna:pa55@db.example.com/x"
    assert found(text) == [("SECRET", text)]


def test_a_checked_number_ends_where_it_ends_and_the_rest_stays_found() -> None:
    text = "x 4111111111111111 Visa"
    spans = [Found(2, 18, "CREDIT_CARD", 1.0), Found(0, 23, "ADDRESS", 0.9)]
    assert settle(text, spans, lambda type: False) == [
        Found(0, 1, "ADDRESS", 0.9),
        Found(2, 18, "CREDIT_CARD", 1.0),
        Found(19, 23, "ADDRESS", 0.9),
    ]


def test_what_is_kept_never_shields_what_is_masked() -> None:
    text = "Anna May 2020 Smith"
    spans = [Found(5, 13, "DATE_TIME", 0.99), Found(0, 8, "PERSON", 0.5)]
    assert settle(text, spans, lambda type: type == "DATE_TIME") == [Found(0, 8, "PERSON", 0.5)]


def test_address_lines_become_one_address() -> None:
    text = "Send to 12 Main Street\n  Apt. 595,\n  Springfield\n  62704 now"
    spans = [Found(8, 22, "ADDRESS", 0.9), Found(25, 33, "ADDRESS", 0.8), Found(37, 48, "LOCATION", 0.7)]
    (one,) = joined(text, spans, lambda type: False)
    assert text[one.start : one.end] == "12 Main Street\n  Apt. 595,\n  Springfield"


@pytest.mark.parametrize(
    ("text", "type", "span"),
    [
        (" Anna, ", "PERSON", "Anna"),
        ("(Anna's", "PERSON", "Anna"),
        ("Smith Ltd.", "ORGANIZATION", "Smith Ltd."),
        ('"Łódź":', "LOCATION", "Łódź"),
        ("(212) 555", "PHONE_NUMBER", "(212) 555"),
        (" k3y! ", "SECRET", "k3y!"),
    ],
)
def test_spans_are_trimmed(text: str, type: str, span: str) -> None:
    (one,) = settle(text, [Found(0, len(text), type, 0.9)], lambda type: False)
    assert text[one.start : one.end] == span


def test_a_span_of_punctuation_alone_is_none() -> None:
    assert settle(" ... ", [Found(0, 5, "PERSON", 0.9)], lambda type: False) == []


def test_what_is_left_of_a_possessive_is_nothing() -> None:
    text = "a table at Ruth's on Friday"
    assert settle(text, [Found(16, 17, "ORGANIZATION", 0.9)], lambda type: False) == []


def test_small_letters_alone_are_nobodys_number() -> None:
    assert found("well i really don't know", policy(), ID="really") == []
    assert found("my number is ab12", policy(), ID="ab12") == [("ID", "ab12")]


# lists and thresholds


def test_a_form_of_address_alone_is_nobodys_name() -> None:
    found = CombinedDetector(NONE, [Names(PERSON="Mr|Anna Kowalska|Frau Eze")]).detect(["Mr. Anna Kowalska, Frau Eze"])[
        0
    ]
    assert [(one.type, one.start) for one in found] == [("TITLE", 0), ("PERSON", 4), ("PERSON", 19)]


def test_denied_words_are_always_found_whole_and_in_any_case() -> None:
    listed = policy(deny=["Projekt Lächeln", "xyz"])
    text = "PROJEKT  LÄCHELN und projekt\nlächeln, nicht Projekt Lächelnd; xyz xyzzy"
    assert [value for _, value in found(text, listed)] == ["PROJEKT  LÄCHELN", "projekt\nlächeln", "xyz"]
    assert {type for type, _ in found(text, listed)} == {"CUSTOM"}


def test_allowed_words_are_never_found_but_hide_nothing_else() -> None:
    listed = policy(allow=["Anna Kowalska", "support@example.com"])
    text = "ANNA KOWALSKA, Anna Kowalska-Nowak, support@example.com, anna@example.com"
    values = [value for _, value in found(text, listed, PERSON="ANNA KOWALSKA|Anna Kowalska-Nowak")]
    assert values == ["Anna Kowalska-Nowak", "anna@example.com"]


def test_denied_beats_a_model_and_allowed_does_not_beat_denied() -> None:
    listed = policy(deny=["Kowalska"], allow=["Anna"])
    assert ("CUSTOM", "Kowalska") in found("Kowalska", listed, PERSON="Kowalska")


def test_thresholds_by_type() -> None:
    text = "at 203.0.113.77"
    assert found(text, policy(thresholds={"IP_ADDRESS": 0.99})) == []
    assert found(text, policy(threshold=0.99, thresholds={"IP_ADDRESS": 0.5})) == [("IP_ADDRESS", "203.0.113.77")]
    assert [type for type, _ in found("12345678", policy(threshold=0.1))] != []


# any text whatever


@pytest.mark.parametrize(
    "text", ["", "\x00" * 1000, "\ud800" * 1000, "😀" * 1000, "\u200b" * 1000, "\u0301" * 1000, " " * 1000]
)
def test_strange_texts_hold_nothing(text: str) -> None:
    assert PATTERNS.detect([text]) == [[]]


def test_a_long_text_is_searched_to_its_end() -> None:
    line = "The quick brown fox jumps over the lazy dog, 42 times in 2019.\n"
    text = line * 30_000 + "write to anna@example.com"
    assert len(text) > 1_800_000
    assert PATTERNS.detect([text])[0][-1] == Entity(len(text) - 16, len(text), "EMAIL_ADDRESS", 0.98)


def test_deep_json_is_text() -> None:
    text = '{"a":[' * 20_000 + '"anna@example.com"' + "]}" * 20_000
    assert found(text) == [("EMAIL_ADDRESS", "anna@example.com")]


def test_one_detector_serves_many_threads() -> None:
    texts = [f"anna{number}@example.com and account no. {10_000_000 + number}" for number in range(200)]
    expected = [PATTERNS.detect([text]) for text in texts]
    got: dict[int, list[list[list[Entity]]]] = {}

    def work(name: int) -> None:
        got[name] = [PATTERNS.detect([text]) for text in texts]

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result == expected for result in got.values())
    assert len(got) == 8


def test_no_recogniser_means_patterns_alone() -> None:
    text = "anna@example.com, 4111 1111 1111 1111"
    assert build_detector(NONE).detect([text]) == PATTERNS.detect([text])


PROCESS = """
import sys, warnings, psutil
warnings.simplefilter("error")
from tacit_privacy.pii.detection.detector import build_detector
from tacit_privacy.pii.policy import RedactionPolicy
policy = RedactionPolicy.model_validate({"detection": {"recogniser": "none"}})
text = "Write to anna@example.com, card 4111 1111 1111 1111, PESEL 44051401359, call +48 22 123 45 67."
detector = build_detector(policy)
assert len(detector.detect([text])[0]) == 4
assert not {"torch", "spacy", "transformers", "presidio_analyzer"} & set(sys.modules), sorted(sys.modules)
before = psutil.Process().memory_info().rss
for turn in range(3000):
    detector.detect([text.replace("anna", f"anna{turn}")])
after = psutil.Process().memory_info().rss
print(before // 2**20, after // 2**20)
"""


def test_a_redacting_process_is_small_stays_small_and_loads_no_torch() -> None:
    ran = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    before, after = map(int, ran.stdout.split())
    assert after < 300  # MB
    assert after - before < 8


def test_presidio_itself_can_be_imported_after_its_recognisers_were_borrowed() -> None:
    code = """
from tacit_privacy.pii.detection.borrowed import borrowed
borrowed()
import sys
sys.modules["torch"] = None  # quick: this test is about Presidio
from presidio_analyzer import AnalyzerEngine, PatternRecognizer
from presidio_analyzer.predefined_recognizers import CreditCardRecognizer
assert issubclass(CreditCardRecognizer, PatternRecognizer)
(row,) = CreditCardRecognizer().analyze("4111111111111111", ["CREDIT_CARD"])
assert row.entity_type == "CREDIT_CARD"
"""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
