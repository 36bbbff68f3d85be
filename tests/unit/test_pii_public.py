"""Which names are set apart as public, and what keeps them from it."""

import pytest

from tacit_privacy.pii.detection.public import LONGEST, set_apart
from tacit_privacy.pii.entities import Entity


def types(text: str, *found: tuple[str, str], score: float = 0.99) -> list[str]:
    """Types after setting apart; ``found``: values in ``text`` with the type that they were found as."""
    spans = [Entity(text.index(value), text.index(value) + len(value), type, score) for value, type in found]
    return [entity.type for entity in set_apart(text, spans)]


@pytest.mark.parametrize(
    ("text", "name", "type", "expected"),
    [
        ("What time is it in Madrid?", "Madrid", "LOCATION", "PUBLIC_PLACE"),
        ("Is New\nYork's subway safe?", "New\nYork's", "LOCATION", "PUBLIC_PLACE"),
        ("How do I cancel Netflix?", "Netflix", "ORGANIZATION", "PUBLIC_ORGANIZATION"),
        ("Salon prices in Ostrow Dolny", "Ostrow Dolny", "LOCATION", "LOCATION"),
        ("is there parking at glendale station", "glendale station", "LOCATION", "PUBLIC_PLACE"),
        ("how late is blue heron diner open", "blue heron diner", "ORGANIZATION", "PUBLIC_ORGANIZATION"),
        ("i work at blue heron diner", "blue heron diner", "ORGANIZATION", "ORGANIZATION"),
        ("a slogan for my company soluna", "soluna", "ORGANIZATION", "ORGANIZATION"),
        ("we live in glendale", "glendale", "LOCATION", "LOCATION"),
        ("vivo en glendale", "glendale", "LOCATION", "LOCATION"),
        (
            "\u043f\u043e\u0433\u043e\u0434\u0430 \u0432 \u043a\u043b\u0438\u043d\u0435",
            "\u043a\u043b\u0438\u043d\u0435",
            "LOCATION",
            "LOCATION",
        ),
        ("call rosa", "rosa", "PERSON", "PERSON"),
    ],
)
def test_one_name(text: str, name: str, type: str, expected: str) -> None:
    assert types(text, (name, type)) == [expected]


@pytest.mark.parametrize("type", ["PERSON", "AGE", "NRP", "ADDRESS", "ID", "EMAIL_ADDRESS", "CUSTOM", "TITLE"])
def test_beside_anything_personal_nothing_is_public(type: str) -> None:
    assert types("xx is in Madrid", ("xx", type), ("Madrid", "LOCATION")) == [type, "LOCATION"]


def test_in_a_long_text_nothing_is_public() -> None:
    text = "What time is it in Madrid?"
    assert types(text.ljust(LONGEST), ("Madrid", "LOCATION")) == ["PUBLIC_PLACE"]
    assert types(text.ljust(LONGEST + 1), ("Madrid", "LOCATION")) == ["LOCATION"]


def test_a_machine_is_no_person() -> None:
    assert types("hey siri, weather in Madrid", ("siri", "PERSON"), ("Madrid", "LOCATION")) == ["PUBLIC_PLACE"]


def test_in_a_bare_request_a_word_must_be_likelier_a_name_than_not() -> None:
    assert types("play some grace", ("grace", "PERSON"), score=0.9) == []
    assert types("play some grace", ("grace", "PERSON"), score=0.97) == ["PERSON"]
    assert types("Play some Grace", ("Grace", "PERSON"), score=0.9) == ["PERSON"]
    assert types("i work at grace", ("grace", "PERSON"), score=0.9) == ["PERSON"]
