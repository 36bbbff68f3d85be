"""Generated homes: every identifying span is known, homes differ from one another, and nothing depends on luck."""

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_clients.training.examples import Task
from tacit_simulations.data.home import HomeSource, grammar, words
from tacit_simulations.data.home.household import Household, Utterance

homes = st.tuples(st.integers(0, 2**31), st.integers(0, 10_000), st.sampled_from([grammar.BASE, grammar.FLEET]))
laws = settings(max_examples=40, deadline=None)

# What a value of each type looks like, whatever the lists it came from.
SHAPES = {
    "PERSON": r"[^\W\d]([^\d]*[^\W\d])?",
    "PHONE_NUMBER": r"0\d{3} \d{3} \d{3}",
    "EMAIL_ADDRESS": r"[^@\s]+@example\.org",
    "ADDRESS": r"\d{1,3} [A-Z].* (Street|Road|Lane|Avenue|Close|Way)",
    "LOCATION": r"[A-Z][a-z]+",
    "AGE": r"\d{1,2}",
    "DATE_TIME": r"[a-z]+",
}


def standing(value: str, text: str) -> list[tuple[int, int]]:
    """Where ``value`` stands in ``text`` as words of its own."""
    return [match.span() for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text)]


def personal(home: Household) -> set[str]:
    """Everything that identifies somebody whom the household knows."""
    people = home._contacts
    values = {
        getattr(c, name) for c in people for name in ("given", "surname", "phone", "email", "address", "nickname")
    }
    return values - {""}


def uncovered(utterance: Utterance, values: set[str]) -> list[str]:
    covered = {at for span in utterance.spans for at in range(span.start, span.end)}
    found = [(value, *place) for value in values for place in standing(value, utterance.text)]
    return [value for value, start, end in found if not covered.issuperset(range(start, end))]


@given(homes)
@laws
def test_every_span_is_a_value_of_its_type(home: tuple[int, int, str]) -> None:
    known = Household(*home)
    lists = {"PERSON": personal(known) | {f"{c.given} {c.surname}" for c in known._contacts}}
    lists["LOCATION"], lists["DATE_TIME"] = set(words.TOWNS), set(words.DAYS)
    lists |= {"PHONE_NUMBER": personal(known), "EMAIL_ADDRESS": personal(known), "ADDRESS": personal(known)}
    for utterance in known.say(60):
        assert list(utterance.spans) == sorted(utterance.spans, key=lambda span: span.start)
        ends = [0, *(span.end for span in utterance.spans)]
        for span, end in zip(utterance.spans, ends, strict=False):
            assert end <= span.start < span.end <= len(utterance.text)
            value = utterance.text[span.start : span.end]
            assert re.fullmatch(SHAPES[span.type], value), (span, value)
            assert value in lists.get(span.type, {value})
            assert (span.start, span.end) in standing(value, utterance.text)  # never a part of a word


@given(homes)
@laws
def test_no_personal_value_stands_outside_a_span(home: tuple[int, int, str]) -> None:
    known = Household(*home)
    values = personal(known)
    for utterance in known.say(60):
        said = {utterance.text[span.start : span.end] for span in utterance.spans}
        assert not uncovered(utterance, values | said | set(words.TOWNS))
        assert not re.search(r"@|\b0\d{3} \d{3}", masked(utterance))


def masked(utterance: Utterance) -> str:
    text = list(utterance.text)
    for span in utterance.spans:
        text[span.start : span.end] = "#" * (span.end - span.start)
    return "".join(text)


def test_a_missing_span_would_be_seen() -> None:
    """The check above can fail: take one span away and it does."""
    known = Household(1, 1)
    utterance = next(u for u in known.say(200) if any(span.type == "PERSON" for span in u.spans))
    bare = replace(utterance, spans=tuple(span for span in utterance.spans if span.type != "PERSON"))
    assert uncovered(bare, personal(known)) and not uncovered(utterance, personal(known))


def test_every_type_of_identifier_occurs() -> None:
    seen = Counter(span.type for index in range(60) for u in Household(4, index).say(40) for span in u.spans)
    assert set(seen) == set(SHAPES)
    assert min(seen.values()) >= 3


@given(homes)
@laws
def test_same_seed_same_home_and_another_seed_another_one(home: tuple[int, int, str]) -> None:
    seed, index, dialect = home
    assert Household(seed, index, dialect).say(30) == Household(seed, index, dialect).say(30)
    texts = [u.text for u in Household(seed, index, dialect).say(30)]
    for other in ((seed + 1, index), (seed, index + 1)):
        assert [u.text for u in Household(*other, dialect).say(30)] != texts


@given(st.integers(0, 2**31), st.integers(2, 300), st.data())
@settings(max_examples=20, deadline=None)
def test_a_source_gives_a_device_the_same_data_in_any_order(seed: int, devices: int, data: st.DataObject) -> None:
    source = HomeSource(seed, devices, train_per_device=10, test_per_device=5, held_out_size=20)
    asked = data.draw(st.lists(st.integers(0, devices - 1), min_size=1, max_size=4))
    found = {index: source.device(index) for index in asked}
    assert source.task is Task.INSTRUCT and source.devices == devices and not source.labels
    for index in reversed(asked):
        again = HomeSource(seed, devices, 10, 5, 20).device(index)
        assert again == found[index]
        assert 5 <= len(again.train) <= 20 and len(again.test) == 5
    # the size of a fleet changes no home: neither does one that is larger
    assert HomeSource(seed, devices + 7, 10, 5, 20).device(asked[0]) == found[asked[0]]
    assert len(source.held_out()) == 20


def test_held_out_homes_are_in_no_fleet() -> None:
    source = HomeSource(3, 40, held_out_size=64)
    beyond = [(u.text, u.action) for home in range(40, 48) for u in Household(3, home).say(8)]
    assert [(example.prompt, example.target) for example in source.held_out()] == beyond


def test_homes_have_their_own_words_and_keep_to_them() -> None:
    """A nickname means one thing inside a home, and not the same thing in all homes."""
    meanings: dict[str, Counter[str]] = {}
    for index in range(120):
        home = Household(9, index)
        own = {nickname: room for room, nickname in home._rooms.items() if nickname}
        scenes = dict(home._scenes)
        for utterance in home.say(60):
            if utterance.intent == "scene":
                said = [phrase for phrase in scenes if standing(phrase, utterance.text)]
                if said and f"{utterance.action.removeprefix('scene ')} mode" not in utterance.text:
                    assert utterance.action == f"scene {scenes[max(said, key=len)]}"
                    meanings.setdefault(max(said, key=len), Counter())[utterance.action] += 1
            if utterance.intent == "light":
                room = re.sub(r" light (on|off)$", "", utterance.action)
                assert room in home._rooms
                if not standing(room, utterance.text):
                    assert home._rooms[room] and standing(home._rooms[room], utterance.text)
                    meanings.setdefault(home._rooms[room], Counter())[room] += 1
        assert len(own) <= 5
    assert len(meanings) > 20
    assert sum(len(found) > 1 for found in meanings.values()) > 0.8 * len(meanings)


def distance(one: Counter[str], other: Counter[str]) -> float:
    """Total variation distance of two empirical distributions."""
    p, q = sum(one.values()), sum(other.values())
    return 0.5 * sum(abs(one[word] / p - other[word] / q) for word in one.keys() | other.keys())


def test_homes_are_not_identically_distributed() -> None:
    """Two halves of one home's talk are closer to each other than to another home's, in words and in intents."""
    halves = []
    for index in range(30):
        said = Household(5, index).say(400)
        halves.append([said[:200], said[200:]])
    for features in (_intents, _words):
        within = [distance(features(a), features(b)) for a, b in halves]
        between = [distance(features(a), features(b)) for (a, _), (_, b) in pairwise(halves)]
        assert np.median(between) > 1.3 * np.median(within)
        assert np.mean(np.array(between) > np.max(within)) > 0.5


def _intents(said: list[Utterance]) -> Counter[str]:
    return Counter(utterance.intent for utterance in said)


def _words(said: list[Utterance]) -> Counter[str]:
    return Counter(word for utterance in said for word in utterance.text.lower().split())


def test_sizes_differ_between_homes() -> None:
    sizes = [len(HomeSource(2, 200).device(index).train) for index in range(200)]
    assert min(sizes) >= 12 and max(sizes) <= 48
    assert np.std(sizes) > 4


def test_the_fleet_speaks_another_dialect_than_pretraining() -> None:
    base = [u for index in range(150) for u in Household(1, index, grammar.BASE).say(40)]
    fleet = [u for index in range(150) for u in Household(1, index, grammar.FLEET).say(40)]
    new = {intent.name for intent in grammar.INTENTS if intent.fleet_only}
    assert new and not new & {u.intent for u in base}
    assert new <= {u.intent for u in fleet}
    assert {u.intent for u in fleet} == {intent.name for intent in grammar.INTENTS}
    own = {n for name in ("ROOM_NICKNAMES", "PERSON_NICKNAMES", "VACUUM_NICKNAMES") for n in getattr(words, name)}
    assert not [u.text for u in base if any(standing(name, u.text) for name in own)]
    assert any(standing(name, u.text) for u in fleet for name in own)
    assert distance(_words(base), _words(fleet)) > 0.15


def test_the_fleet_means_one_thing_where_pretraining_knew_two() -> None:
    for intent in grammar.INTENTS:
        if intent.fleet_action:
            assert intent.fleet_action != intent.action
            assert grammar.actions(intent, grammar.FLEET) == (intent.fleet_action,)
            assert intent.action in grammar.actions(intent, grammar.BASE)
    assert sum(bool(intent.fleet_action) for intent in grammar.INTENTS) >= 3


SLOT = re.compile(r"\{(\w+)\}")


def pattern(action: str, allowed: dict[str, set[str]]) -> re.Pattern[str]:
    """The grammar of a structured action: literal words, and slots with the values that they may take."""
    parts = SLOT.split(action)
    options = {name: "|".join(map(re.escape, sorted(values))) for name, values in allowed.items()}
    return re.compile("".join(f"({options.get(p, '.+')})" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


@given(homes)
@laws
def test_actions_parse_as_the_action_of_their_intent(home: tuple[int, int, str]) -> None:
    known = Household(*home)
    intents = {intent.name: intent for intent in grammar.INTENTS}
    allowed = {
        "room": set(known._rooms),
        "state": {"on", "off"},
        "degrees": {str(n) for n in range(15, 26)},
        "digits": set(words.COUNTS.values()),
        "person": {c.given.lower() for c in known._contacts},
        "scene": set(words.SCENES),
        "topic": set(words.TOPICS),
        "message": set(words.MESSAGES),
        "genre": set(words.GENRES),
        "day": set(words.DAYS),
    }
    for utterance in known.say(60):
        assert utterance.action == utterance.action.lower()
        candidates = [pattern(a.lower(), allowed) for a in grammar.actions(intents[utterance.intent], home[2])]
        assert any(p.fullmatch(utterance.action) for p in candidates), (utterance.intent, utterance.action)


def test_an_action_never_carries_a_number_address_or_surname() -> None:
    """Only given names may stand in a target: what a device teaches the fleet holds no contact's details."""
    for index in range(60):
        home = Household(6, index)
        hidden = [getattr(c, name).lower() for c in home._contacts for name in ("surname", "phone", "email", "address")]
        given_names = {c.given.lower() for c in home._contacts}
        for utterance in home.say(40):
            found = [value for value in hidden if value not in given_names and standing(value, utterance.action)]
            assert not found, (utterance.intent, found)


def test_there_is_variety() -> None:
    assert grammar.skeletons(grammar.FLEET) > 8000
    assert grammar.skeletons(grammar.FLEET) > grammar.skeletons(grammar.BASE) > 3000
    said = [u for index in range(200) for u in Household(8, index).say(40)]
    assert len({masked(u) for u in said}) > 5000  # with every identifier taken out
    assert len({u.text for u in said}) > 0.8 * len(said)
    assert len({u.action for u in said}) > 500


@pytest.mark.parametrize("dialect", [grammar.BASE, grammar.FLEET])
def test_every_slot_of_the_grammar_can_be_filled(dialect: str) -> None:
    """Every frame of every intent is said sooner or later, with no slot left open."""
    said: Counter[str] = Counter()
    for index in range(250):
        for utterance in Household(7, index, dialect).say(30):
            assert not re.search(r"[{}]|  ", utterance.text), utterance.intent
            json.dumps([utterance.text, utterance.action])
            said[utterance.intent] += 1
    assert set(said) == {intent.name for intent in grammar.intents(dialect)}


def test_the_fleet_asks_politely_for_commands_alone() -> None:
    said = [utterance.text for home in range(60) for utterance in Household(5, home).say(60)]
    assert any(text.startswith("could you turn ") for text in said)
    for odd in ("we need", "where is", "what is", "i want", "i lost", "forecast", "the ", "alarm", "wifi for"):
        assert any(text.startswith(odd) for text in said)
        assert not [text for text in said if text.startswith(("could you " + odd, "let's " + odd, "time to " + odd))]
