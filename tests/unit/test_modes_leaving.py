"""What crossed: leaks in whatever dress JSON gives a unit, and exposure of the person's own words."""

import json
from typing import Any

import pytest

from tacit_simulations.evaluation.modes.leaving import crossing, texts_of
from tacit_simulations.evaluation.modes.tasks import Task

PROMPT = "Tell Zoë Müller in Straße 9 that dinner is at eight tonight"
TASK = Task("a", PROMPT, ("ok",), ("Zoë Müller", "Straße 9", "Robert"))


def body(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_unit_leaks_escaped_or_not(ascii_only: bool) -> None:
    found = crossing(TASK, [json.dumps(body(PROMPT), ensure_ascii=ascii_only).encode()])
    assert (found.units, found.leaked) == (2, 2)  # the third does not stand in the prompt


def test_what_is_masked_does_not_leak() -> None:
    sent = json.dumps(body("Tell PERSON_k3f9q in ADDRESS_aaaaa that dinner is at eight tonight")).encode()
    found = crossing(TASK, [sent])
    assert found.leaked == 0
    assert (found.words, found.words_out) == (12, 8)  # tell, in, that dinner is at eight tonight
    assert found.text_bytes_out == len("thatdinneriseighttonightat")  # "tell" and "in" alone may be anybody's


@pytest.mark.parametrize(
    "content",
    [
        "ask ZOË   MÜLLER",  # case and white space
        "ask zoë\nmüller",  # a line break, which JSON writes as two characters
        [{"type": "text", "text": "is Zoë Müller there"}],
        json.dumps({"to": "Zoë\tMüller"}),  # JSON in a string
    ],
)
def test_a_unit_leaks_in_any_dress(content: Any) -> None:
    assert crossing(TASK, [json.dumps(body(content)).encode()]).leaked == 1


def test_a_unit_leaks_in_a_key_and_in_any_of_several_bodies() -> None:
    clean = json.dumps(body("hello")).encode()
    keyed = json.dumps(body("hello", tools=[{"zoë müller": 1}])).encode()
    assert crossing(TASK, [clean]).leaked == 0
    assert crossing(TASK, [clean, keyed]).leaked == 1


def test_bytes_that_are_no_json_are_searched_too() -> None:
    assert crossing(TASK, ["… Zoë Müller …".encode()]).leaked == 1


def test_nothing_sent_exposes_nothing() -> None:
    found = crossing(TASK, [])
    assert (found.leaked, found.words_out, found.text_bytes_out) == (0, 0, 0)
    assert found.text_bytes == len(PROMPT.replace(" ", "").encode())


def test_the_protocols_own_words_expose_nothing() -> None:
    task = Task("a", "which role has this user", ("x",))
    assert crossing(task, [json.dumps(body("hello")).encode()]).words_out == 0


def test_a_short_prompt_crosses_whole_or_not_at_all() -> None:
    task = Task("a", "weather today", ("x",))
    assert crossing(task, [json.dumps(body("say: weather today")).encode()]).text_bytes_out == len("weathertoday")
    assert crossing(task, [json.dumps(body("today")).encode()]).text_bytes_out == 0


def test_every_string_of_a_body_is_opened() -> None:
    assert texts_of(b'{"a": ["\\u00e9", "{\\"b\\": \\"c\\"}"]}')[1:] == ["a", "é", '{"b": "c"}', "b", "c"]
