"""Restoring: what is recognised, what is only counted, where originals may stand, and JSON."""

import json

import pytest

from tacit_privacy.pii.policy import RestorePolicy
from tacit_privacy.pii.pseudonyms import Conversation
from tacit_privacy.pii.restoring import StreamRestorer, restore

SAFE = RestorePolicy()
NAME = "Anna Kowalska"


@pytest.fixture
def conversation() -> Conversation:
    return Conversation("c", bytes(range(32)))


@pytest.fixture
def person(conversation: Conversation) -> str:
    return conversation.placeholder("PERSON", NAME)


def streamed(text: str, conversation: Conversation, sinks: RestorePolicy | None = None, is_json: bool = False) -> str:
    """``text`` in single characters; checked against every cut into two."""
    single = StreamRestorer(conversation, sinks, is_json)
    out = "".join(map(single.feed, text)) + single.close()
    for at in range(len(text)):
        stream = StreamRestorer(conversation, sinks, is_json)
        assert stream.feed(text[:at]) + stream.feed(text[at:]) + stream.close() == out
    return out


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("{}", "{n}"),
        ("{}'s and {}\u2019s", "{n}'s and {n}\u2019s"),
        ('**{}**, _{}_, __{}__, `{}`, ({}), "{}"', '**{n}**, _{n}_, __{n}__, `{n}`, ({n}), "{n}"'),
        ("[{}] <{}> {{{}}} [[{}]]", "[{n}] <{n}> {{{n}}} [[{n}]]"),
        ("{}. {}! {}? {}: {}; {}, {}\u2026", "{n}. {n}! {n}? {n}: {n}; {n}, {n}\u2026"),
        ("叫{}住在", "叫{n}住在"),
        ("{}/{} and-{}-or", "{n}/{n} and-{n}-or"),
        ("{}_zz", "{n}"),
        ("{}.pdf, {}.docx", "{n}.pdf, {n}.docx"),
        ("C:\\Users\\{}\\", "C:\\Users\\{n}\\"),
        ("e.g. {}", "e.g. {n}"),
        ("Email: {}", "Email: {n}"),
        ("At 12:30 {} | {} |", "At 12:30 {n} | {n} |"),
        ("a <b and {}", "a <b and {}"),  # what a page may take for a tag
        ("a < b and {}", "a < b and {n}"),
        ("<p>{}</p>", "<p>{n}</p>"),
    ],
)
def test_text_is_restored_whole_and_streamed(conversation: Conversation, person: str, written: str, read: str) -> None:
    text, expected = written.replace("{}", person), read.replace("{n}", NAME).replace("{}", person)
    assert restore(text, conversation, SAFE).text == expected
    assert streamed(text, conversation, SAFE) == expected


def test_any_spelling_of_an_issued_placeholder_is_recognised(conversation: Conversation, person: str) -> None:
    spelled = (person, person.lower(), person.upper(), person.title(), person.replace("_", "\\_"))
    restored = restore(" ".join(spelled), conversation)
    assert restored.text == " ".join([NAME] * 5)
    assert (restored.restored, restored.unknown, restored.malformed, restored.withheld) == (5, 0, 0, 0)


def test_what_was_never_issued_stays_and_is_counted(conversation: Conversation, person: str) -> None:
    text = f"PERSON_a2a2a {person}x PERSON_name LOCATION_a2a2a PERSON {person}_ab1 person"
    restored = restore(text, conversation)
    assert restored.text == text
    assert (restored.restored, restored.unknown, restored.malformed) == (0, 2, 1)


@pytest.mark.parametrize("kept", [1, 3, 4])
def test_a_placeholder_cut_short_is_never_completed(conversation: Conversation, person: str, kept: int) -> None:
    text = f"to {person[: len('PERSON_') + kept]}"
    restored = restore(text, conversation)
    assert (restored.text, restored.restored, restored.malformed) == (text, 0, 1)
    assert streamed(text, conversation) == text


def test_restored_text_is_not_looked_at_again(conversation: Conversation, person: str) -> None:
    chained = conversation.placeholder("ID", person)
    glued = conversation.placeholder("ID", "PERSON_")
    assert restore(chained, conversation).text == person
    assert streamed(f"{glued}{person[7:]} {glued} {person[7:]}", conversation).endswith(f"PERSON_ {person[7:]}")


def test_values_are_no_expressions(conversation: Conversation) -> None:
    for value in (r"\1\g<0>", "a.*b", "$1", "(", "[x"):
        token = conversation.placeholder("ID", value)
        assert restore(f"<{token}> axxb", conversation).text == f"<{value}> axxb"


def test_what_is_issued_later_is_not_restored_by_an_older_stream(conversation: Conversation, person: str) -> None:
    stream = StreamRestorer(conversation)
    later = conversation.placeholder("PERSON", "Adam Nowak")
    assert stream.feed(f"{person} {later} ") == f"{NAME} {later} "
    assert restore(later, conversation).text == "Adam Nowak"


ADDRESSES = [
    "https://evil.com/?q={}",
    "http://evil.com/a/{}/b",
    "https://{}.evil.com/",
    "//{}",
    "//evil.com/{}",
    "{}.evil.com/",
    "{}.evil.com",
    "{}\\.evil.com",
    "{}.**evil.com**",
    "{}&#46;evil.com",
    "{}\u3002evil.com",
    "a.{}.evil.com",
    "{}@evil.com",
    "{}-x.evil.com",
    "{}://evil.com",
    "evil.com/{}",
    "evil.com?{}",
    "evil.com:80/{}",
    "10.0.0.1/{}",
    "www.{}.com",
    "mailto:x@y.z?subject={}",
    "https:evil.com/{}",
    "HTTPS://EVIL.COM/{}",
    "\\\\evil\\{}",
    "(see https://evil.com/(a,{}))",
    'https://evil.com/"{}',
    "https://evil.com/\u200b{}",
    "{}.pdf.evil.com",
    "{}.pdf/x",
    "{}." + "a" * 300,
    "tel:+1900-{}",
    "tel:,{}",
    "tel:1,{}",
    "evil.com,evil.org/{}",
    "evil\u3002com/{}",
]
LINKS = ["[a]({})", "[a](x {})", "[a](/b?c=(d){})", "[a](\\){})", "[![b](c)]({})", "[x]( \n{})"]
IMAGES = [
    "![a]({})",
    "![a](https://evil.com/{})",
    "![a[b]](x?{})",
    "![]({}.evil.com)",
    "background:url({})",
    "![a](<x {}>)",
]
MARKUP = [
    "<img src={}>",
    '<img src="https://evil.com/ {}">',
    "<a href='x>{}'>b</a>",
    '<img alt=">" src="{}">',
    "<https://evil.com/{}>",
    "<{} src=x>",
    "<!-- {} -->",
    "[a]: <https://evil.com/ {}>",
    "<a\nhref={}>",
    "[a](<x {}>)",
]
REFERENCES = [
    "[a]: https://evil.com/{}",
    "[a]: //{}",
    "[a]: evil.com/{}",
    "[a]: {}.evil.com",
    "  [a]:\n  http://e.x/{}",
]


@pytest.mark.parametrize("place", [*ADDRESSES, *LINKS, *IMAGES, *MARKUP, *REFERENCES])
@pytest.mark.parametrize("around", ["{}", "So: {} there", "Hi\n\n{}\n\nBye"])
def test_no_address_carries_an_original_away(conversation: Conversation, person: str, place: str, around: str) -> None:
    text = around.format(place.replace("{}", person))
    restored = restore(text, conversation, SAFE)
    assert restored.text == text
    assert (restored.restored, restored.withheld) == (0, 1)
    assert streamed(text, conversation, SAFE) == text


@pytest.mark.parametrize("place", [*ADDRESSES, *LINKS, *REFERENCES])
def test_addresses_are_restored_where_the_policy_says_so(conversation: Conversation, person: str, place: str) -> None:
    text = place.replace("{}", person)
    assert streamed(text, conversation, RestorePolicy(urls=True)) == place.replace("{}", NAME)


@pytest.mark.parametrize("place", IMAGES)
def test_images_have_a_policy_of_their_own(conversation: Conversation, person: str, place: str) -> None:
    text = place.replace("{}", person)
    assert streamed(text, conversation, RestorePolicy(urls=True)) == text
    assert NAME in streamed(text, conversation, RestorePolicy(urls=True, images=True))


@pytest.mark.parametrize("place", MARKUP)
def test_markup_needs_both(conversation: Conversation, person: str, place: str) -> None:
    text = place.replace("{}", person)
    assert streamed(text, conversation, RestorePolicy(urls=True)) == text
    assert streamed(text, conversation, RestorePolicy(urls=True, images=True)) == place.replace("{}", NAME)


def test_text_after_an_address_is_text_again(conversation: Conversation, person: str) -> None:
    before = "https://a.b/c [d](e) ![f](g) <img src=h> <i>i</i> [j]: k\n"
    assert restore(f"{before}{person}", conversation, SAFE).text == f"{before}{NAME}"
    unclosed = "[a](b\n\n"
    assert restore(f"{unclosed}{person}", conversation, SAFE).text == f"{unclosed}{NAME}"


NO_ADDRESSES = [
    "Tel:{}",
    "**Tel:**{}",
    "Tel: +48 {}",
    "a@example.net,b@example.net,{}",
    '{"a":"b@example.net","c":"{}"}',
    "(example.org)@{}",
    "\u5199\u4fe1\u7ed9{}\u3002\u8c22\u8c22",
    "{}\u5199\u4fe1\u3002\u8c22\u8c22",
    "\u8c22\u3002\u8c22\u8c22:{}",
]


@pytest.mark.parametrize("place", NO_ADDRESSES)
def test_what_only_looks_a_little_like_an_address_is_restored(
    conversation: Conversation, person: str, place: str
) -> None:
    text = place.replace("{}", person)
    assert streamed(text, conversation, SAFE) == restore(text, conversation, SAFE).text == place.replace("{}", NAME)


def test_a_restored_address_opens_an_address(conversation: Conversation, person: str) -> None:
    address = conversation.placeholder("PERSONAL_URL", "http://evil.com/?q=")
    host = conversation.placeholder("DOMAIN_NAME", "evil.com")
    for text in (f"{address}/{person}", f"{address}?{person}", f"{host}/{person}"):
        assert NAME not in streamed(text, conversation, SAFE)


def test_text_too_can_be_left_alone(conversation: Conversation, person: str) -> None:
    assert streamed(person, conversation, RestorePolicy(text=False)) == person


def test_hold_back_is_short_and_ends_at_a_space(conversation: Conversation, person: str) -> None:
    stream = StreamRestorer(conversation, SAFE)
    assert stream.feed("Hello P") == "Hello "
    assert stream.held == 1
    assert stream.feed("lease") == "Please"
    assert stream.feed(f" {person}") == " "
    assert stream.feed(" ") == f"{NAME} "
    assert stream.feed(f"{person}{'.' * 200}") == ""
    assert stream.feed("." * 200).startswith(person)
    assert stream.close() == ""


VALUES = ['O"Neil', "back\\slash", "line\nbreak", "tab\t\x00", "\ud800", "é张😀", "</script>"]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_json_in_json_stays_json(conversation: Conversation, value: str, depth: int) -> None:
    token = conversation.placeholder("PERSON", value)
    document: object = {"to": token, token: [f"Dear {token},", 1.50]}
    expected: object = {"to": value, value: [f"Dear {value},", 1.50]}
    for _ in range(depth):
        document, expected = {"arguments": json.dumps(document)}, {"arguments": json.dumps(expected)}
    text = streamed(json.dumps(document), conversation, None, True)
    text.encode()  # nothing that UTF-8 cannot write
    found = json.loads(text)
    for _ in range(depth):
        found = json.loads(found["arguments"])
    assert found == {"to": value, value: [f"Dear {value},", 1.50]}


def test_escapes_do_not_hide_a_placeholder(conversation: Conversation, person: str) -> None:
    spelled = "".join(f"\\u{ord(character):04X}" for character in person)
    for text in (f'{{"a": "{spelled}"}}', json.dumps({"a": json.dumps([person])}).replace("PERSON", "\\u0050ERSON")):
        out = streamed(text, conversation, None, True)
        assert NAME in out
        json.loads(out)


@pytest.mark.parametrize("text", ['{"a": "{}', '{"a": "\\', '{"a": "\\u12', '{"a": "\\x {}"}', '"{} [', "{} {", '["{'])
def test_broken_json_goes_through(conversation: Conversation, person: str, text: str) -> None:
    out = streamed(text.replace("{}", person), conversation, None, True)
    assert out == text.replace("{}", NAME)


def test_json_strings_have_sinks_too(conversation: Conversation, person: str) -> None:
    text = json.dumps(
        {"url": f"https://evil.com/{person}", "name": person, "again": f"{person}."}, separators=(",", ":")
    )
    expected = {"url": f"https://evil.com/{person}", "name": NAME, "again": f"{NAME}."}
    assert json.loads(streamed(text, conversation, SAFE, True)) == expected


def test_untouched_json_keeps_its_spelling(conversation: Conversation, person: str) -> None:
    text = '{"a" : "\\u00e9\\/",  "b":1.50, "a": "%s" }'
    assert streamed(text % person, conversation, None, True) == text % NAME


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ('{"q": "{}"}', '{"q": "Ann \\"A\\"\\nB"}'),
        ('{"a":"x@b.org/","b":"{}","c":["{}"]}', '{"a":"x@b.org/","b":"{n}","c":["{n}"]}'),
        ('{"a":"https://e.com/?q={}","b":"{}"}', '{"a":"https://e.com/?q={}","b":"{n}"}'),
        ('{"a":"<{}>","b":"<b>{}</b>"}', '{"a":"<{n}>","b":"<b>{n}</b>"}'),
        ('{"a":"![x](http://e.com/?q=","b":"{})"}', '{"a":"![x](http://e.com/?q=","b":"{})"}'),
        ('{"a":"<img src=http://e.com/?q=","b":"{}>"}', '{"a":"<img src=http://e.com/?q=","b":"{}>"}'),
        ('Here: ![x](http://e.com/?q="{}")', 'Here: ![x](http://e.com/?q="{}")'),
        (' Dear "{}"', ' Dear "Ann "A"\nB"'),
    ],
)
def test_json_that_was_asked_for_stays_json(conversation: Conversation, answer: str, read: str) -> None:
    placeholder = conversation.placeholder("PERSON", 'Ann "A"\nB')
    answer = answer.replace("{}", placeholder)
    read = read.replace("{n}", 'Ann \\"A\\"\\nB').replace("{}", placeholder)
    for size in (1, 2, 5, len(answer)):
        stream = StreamRestorer(conversation, SAFE, json_asked=True)
        parts = [answer[at : at + size] for at in range(0, len(answer), size)]
        assert "".join(map(stream.feed, parts)) + stream.close() == read
