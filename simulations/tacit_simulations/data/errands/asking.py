"""What people ask: commands, look-ups, questions about their own notes, and errands that need both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from tacit_privacy.randomness import stream
from tacit_simulations.data.errands import almanac
from tacit_simulations.data.home import grammar, words
from tacit_simulations.data.home.household import Household, Span

_T = TypeVar("_T")
Family = Literal["command", "lookup", "note", "errand"]

FAMILIES: tuple[Family, ...] = ("command", "lookup", "note", "errand")
SHARES: tuple[float, ...] = (0.25, 0.30, 0.20, 0.25)
NOTHING = "none"  # the general question behind a prompt that holds none


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and its one right answer.

    ``general`` is the question behind it that names nobody, or NOTHING; ``hint`` is the answer to that. ``spans`` are
    the parts of the prompt that tell something of somebody, in code points.
    """

    family: Family
    prompt: str
    answer: str
    general: str
    hint: str
    spans: tuple[Span, ...]

    @property
    def units(self) -> tuple[str, ...]:
        """The strings that must not leave the device: whom a day or an age belongs to is told by the others."""
        kept = (span for span in self.spans if span.type not in ("DATE_TIME", "AGE"))
        return tuple(dict.fromkeys(self.prompt[span.start : span.end] for span in kept))


class Asker:
    """One household's questions. Everything derives from (seed, index)."""

    def __init__(self, seed: int, index: int, shares: Sequence[float] = SHARES) -> None:
        self._rng = stream(seed, "errands", index)
        self._home = Household(
            seed, index, grammar.FLEET, own_words=0.0
        )  # nicknames are its own: nobody else can know them
        self._shares = shares
        self._people = [words.GIVEN[i] for i in self._rng.choice(len(words.GIVEN), size=6, replace=False)]

    def ask(self, count: int) -> list[Question]:
        """``count`` questions in the usual mix of families."""
        chosen = self._rng.choice(len(FAMILIES), size=count, p=self._shares)
        return [self.ask_one(FAMILIES[int(number)]) for number in chosen]

    def ask_one(self, family: Family) -> Question:
        makers: dict[Family, Callable[[], Question]] = {
            "command": self._command,
            "lookup": self._lookup,
            "note": self._note,
            "errand": self._errand,
        }
        return makers[family]()

    def _command(self) -> Question:
        (said,) = self._home.say(1)
        return Question("command", said.text, said.action, NOTHING, "", said.spans)

    def _lookup(self) -> Question:
        subject, attribute = self._fact()
        prompt = self._pick(attribute.asks).format(subject=f"the {subject.name}")
        told = subject.facts[attribute.name]
        return Question("lookup", prompt, told, _general(subject, attribute), told, ())

    def _note(self) -> Question:
        first, second = self._two_people()
        shape = int(self._rng.integers(3))
        if shape == 0:
            like, other = self._two(words.ITEMS)
            notes = [f"{first} likes {like}", f"{second} likes {other}"]
            return self._noted("note", notes, f"what does {first} like", like, (first, second))
        if shape == 1:
            event, other = self._two(words.EVENTS)
            day, later = self._two(words.DAYS)
            notes = [f"{first} has {event} {day}", f"{second} has {other} {later}"]
            return self._noted("note", notes, f"when is the {event} of {first}", day, (first, second))
        thing, other = self._two(words.OBJECTS)
        notes = [f"{first} took the {thing}", f"{second} took the {other}"]
        return self._noted("note", notes, f"who has the {thing}", first, (first, second))

    def _errand(self) -> Question:
        subject, attribute = self._fact()
        first, second = self._two_people()
        other = almanac.draw(self._rng)
        ask = self._pick(attribute.asks).format(subject="it")
        notes = [f"{first} has the {subject.name}", f"{second} has the {other.name}"]
        told = subject.facts[attribute.name]
        general = _general(subject, attribute)
        return self._noted(
            "errand", notes, f"tell {first} {ask}", f"send {told} to {first}", (first, second), general, told
        )

    def _noted(
        self,
        family: Family,
        notes: list[str],
        question: str,
        answer: str,
        people: tuple[str, str],
        general: str = NOTHING,
        hint: str = "",
    ) -> Question:
        if self._rng.random() < 0.5:
            notes = notes[::-1]
        prompt = f"{', '.join(notes)}. {question}"
        return Question(family, prompt, answer, general, hint, spans_of(prompt, people))

    def _fact(self) -> tuple[almanac.Subject, almanac.Attribute]:
        subject = almanac.draw(self._rng)
        return subject, self._pick(subject.kind.attributes)

    def _two_people(self) -> tuple[str, str]:
        first, second = self._rng.choice(len(self._people), size=2, replace=False)
        return self._people[int(first)], self._people[int(second)]

    def _two(self, options: Sequence[str]) -> tuple[str, str]:
        first, second = self._rng.choice(len(options), size=2, replace=False)
        return options[int(first)], options[int(second)]

    def _pick(self, options: Sequence[_T]) -> _T:
        return options[int(self._rng.integers(len(options)))]


def _general(subject: almanac.Subject, attribute: almanac.Attribute) -> str:
    return attribute.asks[0].format(subject=f"the {subject.name}")


def spans_of(prompt: str, people: Sequence[str]) -> tuple[Span, ...]:
    """Every place where one of ``people`` is named."""
    found = []
    for person in people:
        start = prompt.find(person)
        while start >= 0:
            found.append(Span(start, start + len(person), "PERSON"))
            start = prompt.find(person, start + 1)
    return tuple(sorted(found, key=lambda span: span.start))
