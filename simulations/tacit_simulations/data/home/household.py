"""One household: its people, rooms, contacts, nicknames and habits, and what it says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tacit_privacy.randomness import stream
from tacit_simulations.data.home import grammar, words

_T = TypeVar("_T")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of an utterance that identifies somebody; offsets in code points."""

    start: int
    end: int
    type: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was said, what it means, and every identifying span in it."""

    text: str
    action: str
    intent: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class _Filled:
    """A slot's value: as said, as it stands in the action, and its type where it identifies somebody."""

    said: str
    meant: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Contact:
    """A person whom the household knows."""

    given: str
    surname: str
    phone: str
    email: str
    address: str
    nickname: str  # empty: called by the given name


class Household:
    """Everything here derives from (seed, index): the same household on every machine, in any order."""

    def __init__(self, seed: int, index: int, dialect: str = grammar.FLEET, own_words: float = 0.35) -> None:
        self._rng = stream(seed, "household", dialect, index)
        self._dialect, self._own_words = dialect, own_words
        self._contacts = [self._contact() for _ in range(6)]
        rooms = self._some(words.ROOMS, 5)
        self._rooms = {room: self._maybe(words.ROOM_NICKNAMES) for room in rooms}
        self._vacuum = self._pick(words.VACUUM_NICKNAMES)
        self._scenes = dict(zip(self._some(words.PET_PHRASES, 4), self._some(words.SCENES, 4), strict=True))
        self._intents = grammar.intents(dialect)
        self._habits = self._rng.dirichlet(np.full(len(self._intents), 0.8))

    def say(self, count: int) -> list[Utterance]:
        """``count`` utterances in this household's own mix of intents."""
        chosen = self._rng.choice(len(self._intents), size=count, p=0.7 * self._habits + 0.3 / len(self._intents))
        return [self._utterance(self._intents[int(number)]) for number in chosen]

    def _utterance(self, intent: grammar.Intent) -> Utterance:
        slots: dict[str, _Filled] = {}
        frame = self._pick(grammar.frames(intent, self._dialect))
        opener, closer = ("", "")
        if not intent.whole:
            opener = self._pick(grammar.openers(frame, self._dialect))
            closer = self._pick(grammar.closers(frame, self._dialect))
        text, spans = self._render(opener + frame + closer, slots)
        meaning = _SLOT.sub(lambda m: self._slot(m[1], slots).meant, self._pick(grammar.actions(intent, self._dialect)))
        return Utterance(text, meaning.lower(), intent.name, tuple(spans))

    def _render(self, template: str, slots: dict[str, _Filled]) -> tuple[str, list[Span]]:
        text, spans, position = "", [], 0
        for match in _SLOT.finditer(template):
            text += template[position : match.start()]
            position = match.end()
            if match[1] == "question":
                part, inner = self._render(self._question(slots), slots)
                spans += [Span(s.start + len(text), s.end + len(text), s.type) for s in inner]
            else:
                filled = self._slot(match[1], slots)
                part = filled.said
                if filled.type:
                    spans.append(Span(len(text), len(text) + len(part), filled.type))
            text += part
        return text + template[position:], spans

    def _question(self, slots: dict[str, _Filled]) -> str:
        topic = self._pick(tuple(words.TOPICS))
        slots["topic"] = _Filled(topic, topic)
        return self._pick(words.TOPICS[topic])

    def _slot(self, name: str, slots: dict[str, _Filled]) -> _Filled:
        if name == "digits":
            return _Filled("", words.COUNTS[slots["count"].said])
        if name == "scene":
            return slots["scene_phrase"]
        if name not in slots:
            slots[name] = self._fill(name)
        return slots[name]

    def _fill(self, name: str) -> _Filled:
        match name:
            case "person":
                contact = self._pick(self._contacts)
                said = contact.nickname if contact.nickname and self._flip() else contact.given
                return _Filled(said, contact.given, "PERSON")
            case "full":
                contact = self._pick(self._contacts)
                return _Filled(f"{contact.given} {contact.surname}", contact.given, "PERSON")
            case "phone" | "email" | "address":
                kinds = {"phone": "PHONE_NUMBER", "email": "EMAIL_ADDRESS", "address": "ADDRESS"}
                value = getattr(self._pick(self._contacts), name)
                return _Filled(value, value, kinds[name])
            case "room":
                room = self._pick(tuple(self._rooms))
                nickname = self._rooms[room]
                return _Filled(nickname if nickname and self._flip() else room, room)
            case "vacuum":
                return _Filled(self._vacuum if self._flip() else "the vacuum", "vacuum")
            case "scene_phrase":
                phrase = self._pick(tuple(self._scenes))
                scene = self._scenes[phrase]
                return _Filled(phrase if self._flip() else f"{scene} mode", scene)
            case "town":
                return _Filled(value := self._pick(words.TOWNS), value, "LOCATION")
            case "age":
                return _Filled(value := str(self._rng.integers(2, 95)), value, "AGE")
            case "day":
                return _Filled(value := self._pick(words.DAYS), value, "DATE_TIME")
        value = self._pick(_PLAIN[name])
        return _Filled(value, value)

    def _contact(self) -> Contact:
        given, surname = self._pick(words.GIVEN), self._pick(words.SURNAMES)
        number = self._rng.integers(100, 1000, 3)
        return Contact(
            given,
            surname,
            phone=f"0{number[0]} {number[1]} {number[2]}",
            email=f"{given}.{surname}@example.org".lower(),
            address=f"{self._rng.integers(1, 180)} {self._pick(words.STREETS)} {self._pick(words.STREET_KINDS)}",
            nickname=self._maybe(words.PERSON_NICKNAMES),
        )

    def _maybe(self, options: Sequence[str]) -> str:
        """A name of the household's own, for about half of its things; never in the base dialect."""
        own = self._dialect == grammar.FLEET and bool(self._rng.random() < 0.5)
        return self._pick(options) if own else ""

    def _flip(self) -> bool:
        return self._dialect == grammar.FLEET and bool(self._rng.random() < 2 * self._own_words)

    def _pick(self, options: Sequence[_T]) -> _T:
        return options[int(self._rng.integers(len(options)))]

    def _some(self, options: Sequence[str], count: int) -> list[str]:
        return [options[int(i)] for i in self._rng.choice(len(options), size=count, replace=False)]


_PLAIN: dict[str, Sequence[str]] = {
    "state": ("on", "off"),
    "updown": ("open", "close"),
    "lockstate": ("lock", "unlock"),
    "degrees": tuple(str(n) for n in range(15, 26)),
    "hour": tuple(f"{h} {m}" for h in ("six", "seven", "eight", "nine") for m in ("o'clock", "fifteen", "thirty")),
    "unit": ("minutes", "seconds", "hours"),
    "count": tuple(words.COUNTS),
    "genre": words.GENRES,
    "message": words.MESSAGES,
    "item": words.ITEMS,
    "goods": words.GOODS,
    "event": words.EVENTS,
    "door": words.DOORS,
    "plant": words.PLANTS,
    "object": words.OBJECTS,
    "relation": words.RELATIONS,
}
