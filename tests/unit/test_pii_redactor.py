"""The redactor: what the policy decides, JSON bodies of every shape, and that refusing changes nothing."""

import json
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from tacit_clients.egress.lastlook import LastLook
from tacit_privacy.pii.detection.detector import pattern_detector
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import Action, RedactionPolicy
from tacit_privacy.pii.pseudonyms import Conversation
from tacit_privacy.pii.redactor import Redactor
from tacit_privacy.pii.restoring import restore
from tacit_privacy.pii.trees import Members, parsed, written
from tacit_privacy.pii.trees import Path as TreePath

PATTERNS = {
    "PERSON": r"Anna Kowalska|Adam Nowak|张伟|Will",
    "EMAIL_ADDRESS": r"[\w.]+@[\w.]+\w",
    "PHONE_NUMBER": r"\+?\d{9,12}",
    "SECRET": r"sk-\w+",
    "MEDICAL": r"diabetes",
    "AGE": r"aged \d+",
}


class Patterns:
    """A detector of a few patterns that counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        self.calls += 1
        return [
            sorted(
                Entity(*m.span(), type, 0.9) for type, pattern in PATTERNS.items() for m in re.finditer(pattern, text)
            )
            for text in texts
        ]


@pytest.fixture
def conversation() -> Conversation:
    return Conversation("c", bytes(range(32)))


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(Patterns(), RedactionPolicy(types={"MEDICAL": "local_only"}))


def structural(path: TreePath) -> bool:
    return path[-1] in ("role", "model", "type", "id", "temperature", "seed")


def test_a_text_is_masked_by_type_and_what_is_kept_stays(conversation: Conversation, redactor: Redactor) -> None:
    text = "Anna Kowalska, aged 40, mails a@b.org. Will Anna Kowalska's friend?"
    redaction = redactor.redact(text, conversation)
    assert re.fullmatch(
        r"PERSON_\w+, aged 40, mails EMAIL_ADDRESS_\w+\. PERSON_\w+ PERSON_\w+'s friend\?", redaction.text
    )
    assert redaction.masked == {"PERSON": 3, "EMAIL_ADDRESS": 1}
    assert [text[e.start : e.end] for e in redaction.entities] == ["Anna Kowalska", "a@b.org", "Will", "Anna Kowalska"]
    assert (redaction.refused, redaction.local_only) == (None, False)
    assert restore(redaction.text, conversation).text == text
    assert "Kowalska" not in repr(redaction)


@pytest.mark.parametrize(
    ("text", "refused", "local_only"),
    [
        ("Anna Kowalska has sk-123", "SECRET", False),
        ("Anna Kowalska has diabetes", "MEDICAL", True),
        ("diabetes and sk-123", "SECRET", False),
    ],
)
def test_a_refused_text_is_empty_and_changes_nothing(
    conversation: Conversation, redactor: Redactor, text: str, refused: str, local_only: bool
) -> None:
    before = conversation.state()
    redaction = redactor.redact(text, conversation)
    assert (redaction.text, redaction.refused, redaction.local_only) == ("", refused, local_only)
    tree = redactor.redact_tree({"a": ["Adam Nowak", text]}, conversation, structural)
    assert (tree.body, tree.refused, tree.local_only) == (None, refused, local_only)
    assert conversation.state() == before


def test_a_body_with_both_is_blocked(conversation: Conversation, redactor: Redactor) -> None:
    tree = redactor.redact_tree(["diabetes", "sk-1"], conversation, structural)
    assert (tree.refused, tree.local_only) == ("SECRET", False)


def test_a_refused_text_does_not_hold_back_the_others(conversation: Conversation, redactor: Redactor) -> None:
    first, second, third = redactor.redact_many(["Anna Kowalska", "sk-1", "ANNA kowalska"], conversation)
    assert second.refused == "SECRET"
    assert first.text.startswith("PERSON_") and third.text.startswith("PERSON_")


def test_many_texts_cost_one_call_and_share_what_they_know(conversation: Conversation) -> None:
    detector = Patterns()
    redactor = Redactor(detector, RedactionPolicy())
    texts = ["ask ANNA  KOWALSKA or anna_kowalska", "I am Anna Kowalska", "Anna Kowalskaya"]
    redacted = redactor.redact_many(texts, conversation)
    assert detector.calls == 1
    assert re.fullmatch(r"ask PERSON_\w+ or PERSON_\w+", redacted[0].text)
    assert re.fullmatch(r"PERSON_\w+ya|PERSON_\w+", redacted[2].text)  # what the detector cut is masked whole
    later = redactor.redact("say anna kowalska", conversation)
    assert re.fullmatch(r"say PERSON_\w+", later.text)
    assert restore(later.text, conversation).text == "say anna kowalska"


def test_a_detector_that_fails_changes_nothing(conversation: Conversation) -> None:
    class Broken:
        def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
            raise RuntimeError("no")

    before = conversation.state()
    with pytest.raises(RuntimeError):
        Redactor(Broken(), RedactionPolicy()).redact("Anna Kowalska", conversation)
    assert conversation.state() == before


def test_look_alikes_are_escaped_in_any_case(conversation: Conversation, redactor: Redactor) -> None:
    token = conversation.placeholder("PERSON", "Anna Kowalska")
    for typed in (token, token.lower(), token.replace("_", "\\_"), f"{token}_b", "EMAIL_ADDRESS_k3f9q"):
        redaction = redactor.redact(f"a {typed} b", conversation)
        assert re.fullmatch(r"a ESCAPED_\w+ b", redaction.text)
        assert redaction.masked == {"ESCAPED": 1}
        assert restore(redaction.text, conversation).text == f"a {typed} b"
    assert redactor.redact("get_item2x max_value", conversation).text == "get_item2x max_value"


BODY: dict[str, Any] = {
    "model": "Anna Kowalska",  # a structural place stays, whatever stands there
    "user": "anna kowalska",
    "temperature": 0.5,
    "messages": [
        {"role": "user", "name": "Will", "content": [{"type": "text", "text": "I am Anna Kowalska"}, {"type": "x"}]},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "1", "function": {"name": "f", "arguments": '{"who": "ANNA KOWALSKA",  "n": 600123456}'}}
            ],
        },
        {"role": "tool", "content": json.dumps({"rows": [{"mail": "a@b.org"}, json.dumps(["Adam Nowak"])]})},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "description": "Looks Adam Nowak up",
                "parameters": {"properties": {"Adam Nowak": {"enum": ["张伟"]}}, "required": ["Adam Nowak"]},
            },
        }
    ],
    "metadata": {"phone": 600123456, "order": 7, "zip": 12345.5, "none": None, "yes": True},
}


def test_every_string_key_and_number_of_a_body_is_looked_at(conversation: Conversation, redactor: Redactor) -> None:
    tree = redactor.redact_tree(BODY, conversation, structural)
    body = tree.body
    text = written(body)
    assert not re.search(
        "kowalska|nowak|张伟|a@b|600123456|Will", text.replace('"model":"Anna Kowalska"', ""), re.IGNORECASE
    )
    assert body["model"] == "Anna Kowalska"
    assert body["temperature"] == 0.5
    assert isinstance(body["metadata"]["phone"], str) and body["metadata"]["order"] == 7
    assert body["metadata"]["none"] is None and body["metadata"]["yes"] is True
    arguments = body["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert re.fullmatch(r'\{"who": "PERSON_\w+",  "n": "PHONE_NUMBER_\w+"\}', arguments)
    rows = json.loads(body["messages"][2]["content"])["rows"]
    assert rows[0]["mail"].startswith("EMAIL") and json.loads(rows[1])[0].startswith("PERSON")
    parameters = body["tools"][0]["function"]["parameters"]
    assert parameters["required"] == list(parameters["properties"])
    assert tree.masked == {"PERSON": 9, "PHONE_NUMBER": 2, "EMAIL_ADDRESS": 1}
    assert BODY["user"] == "anna kowalska"  # the input is not touched


def test_a_masked_body_is_restored_string_by_string(conversation: Conversation, redactor: Redactor) -> None:
    redacted = written(redactor.redact_tree(BODY, conversation, structural).body)
    restored = parsed(restore(redacted, conversation, json_string=True).text)
    restored["metadata"]["phone"] = int(restored["metadata"]["phone"])
    call = restored["messages"][1]["tool_calls"][0]["function"]
    call["arguments"] = call["arguments"].replace('"600123456"', "600123456")
    assert restored == BODY


def test_json_in_a_string_keeps_its_spelling_where_nothing_changes(
    conversation: Conversation, redactor: Redactor
) -> None:
    source = ' {"a":1.50,"a" : "\\u00e9","b":["Anna Kowalska", 1e5, true]}\n'
    body = redactor.redact_tree({"x": source, "y": '{"a":1.50}'}, conversation, structural).body
    token = conversation.placeholder("PERSON", "Anna Kowalska")
    assert body == {"x": source.replace("Anna Kowalska", token), "y": '{"a":1.50}'}


def test_text_that_only_begins_like_json_is_text(conversation: Conversation, redactor: Redactor) -> None:
    for text in ("{Anna Kowalska}", "[Anna Kowalska", "[" * 5000 + "Anna Kowalska"):
        (redacted,) = redactor.redact_tree([text], conversation, structural).body
        assert "Kowalska" not in redacted
        assert restore(redacted, conversation).text == text


def test_a_key_that_stands_twice_stays_twice(conversation: Conversation, redactor: Redactor) -> None:
    body = parsed('{"a":"Anna Kowalska","b":{"c":1,"c":"Adam Nowak"},"a":2}')
    assert isinstance(body, Members)
    redacted = redactor.redact_tree(body, conversation, structural).body
    assert re.fullmatch(r'\{"a":"PERSON_\w+","b":\{"c":1,"c":"PERSON_\w+"\},"a":2\}', written(redacted))


def test_keys_of_the_wire_format_stay_even_when_somebody_has_that_name(conversation: Conversation) -> None:
    class Everything:
        def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
            return [[Entity(0, len(text), "PERSON", 1.0)] if text else [] for text in texts]

    body = {"messages": [{"role": "user", "content": "content", "whatever": "x y z"}]}
    redacted = Redactor(Everything(), RedactionPolicy()).redact_tree(body, conversation, structural).body
    (message,) = redacted["messages"]
    assert list(message)[:2] == ["role", "content"] and message["role"] == "user"
    assert message["content"].startswith("PERSON_") and list(message)[2].startswith("PERSON_")


def test_pictures_are_reported_and_left_alone(conversation: Conversation, redactor: Redactor) -> None:
    picture = "data:image/png;base64," + "iVBORw0KGgo" * 9
    blob = "QUJD" * 200
    body = {"content": [{"image_url": {"url": picture}}, {"input_audio": {"data": blob}}, {"text": "data: a, b"}]}
    tree = redactor.redact_tree(body, conversation, structural)
    assert tree.unreadable == (("content", 0, "image_url", "url"), ("content", 1, "input_audio", "data"))
    assert tree.body == body


def test_numbers_change_only_as_a_whole(conversation: Conversation, redactor: Redactor) -> None:
    conversation.placeholder("ID", "4711")
    body = redactor.redact_tree({"a": 4711, "b": 47110, "c": -600123456, "d": 1.4711}, conversation, structural).body
    assert body["a"].startswith("ID_") and body["b"] == 47110 and body["d"] == 1.4711 and body["c"] == -600123456


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ('{"order_id": 99812341, "account_number": "8812345678"}', '{"order_id": '),
        ('{"customer": {"zip": "00184", "total": 12.5}}', '"total": 12.5'),
        ('{"order_number":"A-1182763","status":"ship\\u00e9"}', '"status":"ship\\u00e9"'),
        ('{"nested": "{\\"zip\\": \\"00184\\"}", "n": 1}', '"n": 1'),
    ],
)
def test_a_value_in_json_is_read_beside_its_key(conversation: Conversation, source: str, kept: str) -> None:
    policy = RedactionPolicy()
    patterns = pattern_detector(policy)
    tree = Redactor(patterns, policy).redact_tree({"x": source}, conversation, structural)
    sent = tree.body["x"]
    assert sent != source and kept in sent
    json.loads(sent)
    assert not re.search("00184|8812345678|1182763", sent)
    LastLook(policy, patterns, structural).check(written(tree.body).encode(), (), set(conversation.issued()))
    back = restore(sent, conversation, json_string=True).text
    assert json.loads(back) == json.loads(json.dumps(json.loads(source)).replace("99812341", '"99812341"'))


def test_a_key_is_not_masked_for_what_stands_beside_it(conversation: Conversation) -> None:
    class Wide:
        def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
            return [[Entity(*m.span(), "PERSON", 0.9) for m in re.finditer('name": "[A-Z]\\w+', t)] for t in texts]

    body = Redactor(Wide(), RedactionPolicy()).redact_tree(['{"name": "Kowalska", "a": 1}'], conversation, structural)
    assert re.fullmatch(r'\{"name": "PERSON_\w+", "a": 1\}', body.body[0])


def test_a_tree_written_keeps_lone_surrogates_writable() -> None:
    body = {"a": "\ud800", "b": ["é", 1, 2.5, None, True]}
    assert written(body) == '{"a":"\\ud800","b":["é",1,2.5,null,true]}'
    assert parsed(written(body)) == body
    with pytest.raises(ValueError, match="deep"):
        parsed("[" * 100_000)


def test_many_threads_redact_into_one_conversation(conversation: Conversation, redactor: Redactor) -> None:
    texts = [f"Anna Kowalska {index} mails u{index % 5}@b.org to Adam Nowak" for index in range(40)]
    results: dict[int, list[str]] = {}

    def work(worker: int) -> None:
        results[worker] = [redactor.redact(text, conversation).text for text in texts]

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(tuple, results.values()))) == 1
    assert [restore(text, conversation).text for text in results[0]] == texts
    assert len(conversation.issued()) == 7


def test_words_of_a_full_name_are_found_in_other_messages_too(conversation: Conversation, redactor: Redactor) -> None:
    texts = ["I am Anna Kowalska", "Tell Kowalska or ANNA; kowalska!", "Annapolis, anna-lee"]
    redacted = [each.text for each in redactor.redact_many(texts, conversation)]
    stem = redacted[0].removeprefix("I am ")
    assert re.fullmatch(rf"Tell {stem}_\w or {stem}_\w; {stem}_\w!", redacted[1])
    assert re.fullmatch(rf"Annapolis, {stem}_\w-lee", redacted[2])


def test_a_name_that_is_a_word_stays_a_word(conversation: Conversation, redactor: Redactor) -> None:
    redacted = redactor.redact("Will will come. WILL he?", conversation).text
    assert re.fullmatch(r"PERSON_\w+ will come\. PERSON_\w+ he\?", redacted)


def test_made_up_words_that_read_wrongly_are_given_up(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrogates = Redactor(Patterns(), RedactionPolicy(default="surrogate"))
    assert "PERSON_" not in surrogates.redact("Anna Kowalska", conversation).text
    monkeypatch.setattr(conversation, "surrogate", lambda *_: "Nobody")
    redaction = surrogates.redact("Adam Nowak", conversation)
    assert re.fullmatch(r"PERSON_\w+", redaction.text)


def test_a_full_name_counts_wherever_it_stands(conversation: Conversation) -> None:
    class Names:
        def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
            return [[Entity(*m.span(), "PERSON", 1.0) for m in re.finditer("Anna( [KN]\\w+)?", text)] for text in texts]

    one = Redactor(Names(), RedactionPolicy()).redact("Anna is Anna Kowalska", conversation).text
    assert re.fullmatch(r"(PERSON_\w{5,6})_b is \1", one)
    two = Redactor(Names(), RedactionPolicy()).redact("Anna, Anna Kowalska, Anna Nowak", conversation).text
    assert len({part.split("_")[1] for part in two.split(", ")}) == 3


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from settings_of(inner, f"{prefix}{name}.")


def test_every_setting_and_action_is_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs" / "redaction.md").read_text(encoding="utf-8")
    groups = {"detection", "restore", "conversation"}
    for name in (*settings_of(RedactionPolicy), *get_args(Action)):
        assert name in groups or f"| `{name}` |" in page, name
