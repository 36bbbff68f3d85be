"""Placeholders: their form, who shares a stem and who never does, and what a conversation shows of itself."""

import copy
import pickle
import re
import threading

import pytest

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.pseudonyms import Conversation, grammar
from tacit_privacy.pii.pseudonyms.folding import Folded, fold

KEY = bytes(range(32))


@pytest.fixture
def conversation() -> Conversation:
    return Conversation("one", KEY)


def stem(placeholder: str) -> str:
    token = grammar.parse(placeholder)
    assert token is not None
    return token.name


def stems(conversation: Conversation, *names: str, type: str = "PERSON") -> list[str]:
    return [stem(conversation.placeholder(type, name)) for name in names]


def test_a_placeholder_is_its_type_and_five_letters_of_base_32(conversation: Conversation) -> None:
    for number in range(500):
        token = conversation.placeholder("EMAIL_ADDRESS", f"{number}@ex.org")
        assert re.fullmatch(r"EMAIL_ADDRESS_[a-z2-9]{5,6}", token)
        word = token.rpartition("_")[2]
        assert any(c.isalpha() for c in word) and any(c.isdigit() for c in word)


def test_a_type_of_any_spelling_gives_a_word_that_is_recognised(conversation: Conversation) -> None:
    for type in ("us-ssn", "Ärzte 7", "__x__", "9lives", "", "a" * 90):
        token = conversation.placeholder(type, "value")
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*_[a-z2-9]+", token)
        assert conversation.original(token) == "value"


def test_the_same_value_has_the_same_placeholder_and_another_key_another_one(conversation: Conversation) -> None:
    first = conversation.placeholder("ID", "A-1")
    assert conversation.placeholder("ID", "A-1") == first
    assert Conversation("two", KEY).placeholder("ID", "A-1") == first  # the key alone decides
    assert Conversation("one", bytes(32)).placeholder("ID", "A-1") != first
    assert conversation.placeholder("PERSON", "A-1") != first


def test_each_surface_form_comes_back_as_it_was(conversation: Conversation) -> None:
    forms = ["Anna Kowalska", "ANNA KOWALSKA", "Anna", "anna", "Kowalska", "Anna's", "A. Kowalska", "Kowalska, Anna"]
    tokens = [conversation.placeholder("PERSON", form) for form in forms]
    assert len(set(map(stem, tokens))) == 1
    assert [conversation.original(token) for token in tokens] == forms
    assert tokens[0].count("_") == 1 and tokens[1].endswith("_b") and tokens[2].endswith("_c")


def test_an_unknown_form_is_the_canonical_one_and_an_unknown_stem_is_nobody(conversation: Conversation) -> None:
    token = conversation.placeholder("PERSON", "Anna Kowalska")
    assert conversation.original(f"{token}_zz") == "Anna Kowalska"
    assert conversation.original(token.upper()) == "Anna Kowalska"
    assert conversation.original(token.replace("_", "\\_")) == "Anna Kowalska"
    assert conversation.original("PERSON_a2a2a") is None
    assert conversation.original(f"{token}_name") is None
    assert conversation.original("") is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anna Kowalska", "anna kowalska"),
        ("Anna Kowalska", "Anna\n  Kowalska"),
        ("Anna Kowalska", "Anna\u200b Kow\u00adalska"),
        ("Anna Kowalska", "\uff21\uff4e\uff4e\uff41 Kowalska"),
        ("Zoë Brontë", "Zoe\u0308 Bronte\u0308"),
        ("Groß Müller", "GROSS MÜLLER"),
        ("Anna Kowalska", "Anna Kowalska's"),
        ("Anna Kowalska", "Anna Kowalska\u2019s"),
        ("James Hobbs", "James Hobbs'"),
        ("Anna Kowalska", "Kowalska"),
        ("Anna Kowalska", "AK"),
        ("Anna Kowalska", "A. K."),
        ("Anna Kowalska", "Anna K."),
        ("John Ronald Tolkien", "J.R. Tolkien"),
        ("John Ronald Tolkien", "J. Tolkien"),
        ("Dr. Anna Kowalska", "Anna Kowalska"),
        ("Mr John Smith", "Mr. Smith"),
        ("O'Neil Kay", "O\u2019Neil Kay"),
    ],
)
def test_ways_to_write_one_name_share_a_stem_whichever_comes_first(one: str, other: str) -> None:
    for names in ((one, other), (other, one)):
        assert len(set(stems(Conversation("c", KEY), *names))) == 1, names


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anna Kowalska", "Anna Nowak"),
        ("John Smith", "John Robert Smith"),
        ("John Smith", "John Smith Jr"),
        ("Anna", "Ann"),
        ("Mr Smith", "Mrs Smith"),
        ("Mr John Smith", "Mrs Smith"),
        ("Mary Smith", "Mr Smith"),
        ("Mr Jo Smith", "Mrs Jo Smith"),
        ("Anna Kowalska", "Adam K."),
        ("Anna Kowalska", "B. Kowalska"),
        ("José Sanz", "Jose Sanz"),
        ("张伟", "张伟民"),
    ],
)
def test_different_people_have_different_stems(one: str, other: str) -> None:
    for names in ((one, other), (other, one)):
        assert len(set(stems(Conversation("c", KEY), *names))) == 2, names


def test_a_first_name_of_two_people_is_somebody_of_its_own(conversation: Conversation) -> None:
    kowalska, anna, nowak, then = stems(conversation, "Anna Kowalska", "Anna", "Anna Nowak", "Anna")
    assert anna == kowalska
    assert then not in (kowalska, nowak)
    assert stems(conversation, "Anna", "A. Nowak", "Kowalska") == [then, nowak, kowalska]


def test_a_first_name_that_stood_alone_is_taken_by_the_first_full_name_only(conversation: Conversation) -> None:
    anna, kowalska, nowak = stems(conversation, "Anna", "Anna Kowalska", "Anna Nowak")
    assert anna == kowalska != nowak
    again = stem(conversation.placeholder("PERSON", "anna"))
    assert again not in (kowalska, nowak)
    assert len(again) > len(kowalska)  # the same value's stem grew


def test_smith_alone_is_neither_mr_nor_mrs(conversation: Conversation) -> None:
    assert len(set(stems(conversation, "Mr Smith", "Mrs Smith", "Smith"))) == 3


@pytest.mark.parametrize("other", ["Acme", "ACME ltd", "Acme Limited", "Acme, Ltd.", "acme's"])
def test_an_organisation_is_linked_with_and_without_its_legal_form(other: str) -> None:
    for names in (("Acme Ltd", other), (other, "Acme Ltd")):
        assert len(set(stems(Conversation("c", KEY), *names, type="ORGANIZATION"))) == 1


def test_two_legal_forms_are_two_organisations(conversation: Conversation) -> None:
    assert len(set(stems(conversation, "Acme Ltd", "Acme GmbH", "Acme", "Acme Ltd", type="ORGANIZATION"))) == 3


def test_other_types_are_linked_by_case_and_width_alone(conversation: Conversation) -> None:
    one, other, third = stems(conversation, "Ann@Ex.org", "ann@ex.ORG", "anne@ex.org", type="EMAIL_ADDRESS")
    assert one == other != third


def test_a_stem_that_collides_grows_and_both_come_back(
    monkeypatch: pytest.MonkeyPatch, conversation: Conversation
) -> None:
    monkeypatch.setattr(conversation, "digest", lambda *parts: bytes(range(20, 52)) * 2)
    tokens = [conversation.placeholder("ID", f"number {index}") for index in range(6)]
    assert [len(token) for token in tokens] == list(range(len(tokens[0]), len(tokens[0]) + 6))
    assert [conversation.original(token) for token in tokens] == [f"number {index}" for index in range(6)]


def test_a_digest_without_a_stem_in_it_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch, conversation: Conversation
) -> None:
    digest = conversation.digest
    monkeypatch.setattr(conversation, "digest", lambda *parts: digest(*parts) if parts[3:] else bytes(64))
    token = conversation.placeholder("ID", "number 1")
    assert grammar.parse(token) is not None and conversation.original(token) == "number 1"


def test_many_spellings_never_run_out(conversation: Conversation) -> None:
    forms = ["Anna" + " " * spaces + "Kowalska" for spaces in range(1, 1500)]
    tokens = [conversation.placeholder("PERSON", form) for form in forms]
    assert len(set(tokens)) == len(forms)
    assert [conversation.original(token) for token in tokens] == forms


def test_threads_agree_on_every_placeholder(conversation: Conversation) -> None:
    names = [f"Name{index} Last{index % 7}" for index in range(60)]
    seen: list[list[str]] = []

    def issue() -> None:
        seen.append([conversation.placeholder("PERSON", name) for name in names])

    threads = [threading.Thread(target=issue) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(tuple, seen))) == 1
    assert conversation.version == len(conversation.issued()) == 60


def test_nothing_shows_a_value(conversation: Conversation) -> None:
    conversation.placeholder("PERSON", "Anna Kowalska")
    assert "Kowalska" not in repr(conversation) + str(conversation)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            attempt(conversation)
        assert "Kowalska" not in str(caught.value)


def test_a_state_that_is_none_is_refused_without_its_words(conversation: Conversation) -> None:
    conversation.placeholder("PERSON", "Anna Kowalska")
    state = conversation.state()
    for broken in (
        b"",
        b"[]",
        b"\xff",
        state[:-5],
        state.replace(b'"state":1', b'"state":9'),
        state.replace(b'"forms', b""),
    ):
        if broken == state:
            continue
        with pytest.raises(BadInput) as caught:
            Conversation.from_state("one", KEY, broken)
        assert "Kowalska" not in str(caught.value) and caught.value.__cause__ is None


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(BadInput, match="32 bytes, not 5"):
        Conversation("one", b"short")


def test_values_are_the_originals_but_not_escapes(conversation: Conversation) -> None:
    conversation.placeholder("PERSON", "Anna")
    conversation.placeholder(grammar.ESCAPED, "PERSON_k3f9q")
    assert conversation.values() == {"Anna"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I saw anna  KOWALSKA.", ["anna  KOWALSKA", "KOWALSKA"]),
        ("anna_kowalska", ["anna_kowalska", "anna", "kowalska"]),
        ("call_anna_kowalska, callAnnaKowalska", ["anna_kowalska", "anna", "kowalska", "AnnaKowalska"]),
        ("github.com/annakowalska/foo, kowalska_invoice.pdf, kowalska.", ["annakowalska", "kowalska"]),
        ("/home/akowalska88/.ssh, kowalska-anna; joannakowalska, a kowalska", ["akowalska", "kowalska-anna"]),
        ("%20Kowalska x20Kowalska", ["Kowalska"]),
        ("a\\nKowalska b\\u000aKowalska", ["Kowalska", "Kowalska"]),
        ("file of \uff21NNA\u200b Kowalska's", ["\uff21NNA\u200b Kowalska", "\uff21NNA", "Kowalska"]),
        ("Anna Kowalskaya, anna", ["Anna"]),
        ("我叫张伟住在", ["张伟"]),
        ("Li and li", ["Li"]),
        ("", []),
    ],
)
def test_known_values_are_found_however_they_are_spelled(
    conversation: Conversation, text: str, found: list[str]
) -> None:
    for name in ("Anna Kowalska", "张伟", "Li", "x"):
        conversation.placeholder("PERSON", name)
    found_here = [text[each.start : each.end] for each in conversation.known(text)]
    assert sorted(found_here) == sorted(found)


def test_a_leak_is_not_what_stands_in_a_placeholder(conversation: Conversation) -> None:
    token = conversation.placeholder("CUSTOM", "person")
    anna = conversation.placeholder("PERSON", "Anna")
    assert conversation.leaks(f"{token} {anna} {anna.lower()}") == []
    assert [each.type for each in conversation.leaks(f"{anna} and ANNA")] == ["PERSON"]


def test_a_leak_is_not_what_ends_in_a_placeholder_but_what_reaches_over_one(conversation: Conversation) -> None:
    anna = conversation.placeholder("PERSON", "Anna")
    for value in ("_PERSON", "1111\tPERSON", f"Bo {anna} Li"):
        conversation.placeholder("ORGANIZATION", value)
    assert conversation.leaks(f"see _{anna}, 1111 {anna}") == []
    assert [each.type for each in conversation.leaks(f"see bo {anna} li")] == ["ORGANIZATION"]


def test_folding_finds_its_way_back() -> None:
    text = "ﬁrst\u200b  Straße\n\u0130x"
    folded = Folded(text)
    assert folded.find("strasse") == [(7, 13)]
    assert folded.find("first") == [(0, 4)]
    assert fold(text) == folded.text.strip()


@pytest.mark.parametrize("index", [1, 25, 26, 51, 52, 700, 701, 702, 18_000])
def test_forms_have_names_of_their_own(index: int) -> None:
    names = {grammar.form_word(each) for each in range(index + 1)}
    assert len(names) == index + 1
    assert all(re.fullmatch("[a-z]{1,3}", name) for name in names)


@pytest.mark.parametrize(
    "text", ["max_value", "get_items", "PERSON_hello", "PERSON_12345", "a_b_c", "PERSON", "_k3f9q", "x2_ab"]
)
def test_ordinary_words_are_no_placeholders(text: str) -> None:
    assert grammar.parse(text) is None


def test_cores_are_whole_runs() -> None:
    text = "_PERSON_k3f9q_ xPERSON\\_k3f9q__ PERSON_k3f9q__x PERSON__k3f9q"
    assert [text[slice(*span)] for span in grammar.cores(text)] == ["PERSON_k3f9q", "xPERSON\\_k3f9q"]
