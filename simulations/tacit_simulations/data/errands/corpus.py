"""What both models of the live pair read: questions, the general questions behind them, hints, and placeholders."""

from collections.abc import Callable, Iterator

import numpy as np

from tacit_privacy.pii.pseudonyms.grammar import STEM_ALPHABET, is_stem
from tacit_privacy.randomness import stream
from tacit_simulations.data.errands.asking import NOTHING, Asker, Question

CORPUS_SEED = 50_000_001  # households of training share no random stream with those that are asked about
GENERAL, HINT = "general: ", "hint: "
_ASKED = 24  # questions of one household
_SHARES = (0.4, 0.4, 0.2)  # as they are, with made-up names, with placeholders
_ONSETS = ("b", "br", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "sh", "t", "th", "v", "w", "z")
_VOWELS, _CODAS = ("a", "e", "i", "o", "u", "ai", "ea", "ia"), ("", "", "l", "n", "r", "s", "th", "ra", "lla", "nda")


def pairs(first: int, count: int) -> Iterator[tuple[str, str]]:
    """(prompt, answer) of ``count`` households: mostly questions, some of them with other names or placeholders.

    Made-up names are seldom twice the same, so that they can be copied and not known.
    """
    for index in range(first, first + count):
        rng = stream(CORPUS_SEED, "forms", index)
        for question in Asker(CORPUS_SEED, index).ask(_ASKED):
            how = int(rng.choice(3, p=_SHARES))
            yield _form((question, renamed(question, rng), masked(question, rng))[how], rng)


def _form(question: Question, rng: np.random.Generator) -> tuple[str, str]:
    """Most are asked as they are; some ask for the general question, or bring its answer along."""
    drawn = rng.random()
    if drawn < 0.12:
        return GENERAL + question.prompt, question.general
    if drawn < 0.30 and question.general != NOTHING:
        return with_hint(question.prompt, question.hint), question.answer
    return question.prompt, question.answer


def with_hint(prompt: str, hint: str) -> str:
    """A prompt with the answer to the general question behind it."""
    return f"{HINT}{hint}. {prompt}"


def masked(question: Question, rng: np.random.Generator) -> Question:
    """The same with a placeholder for everything that a device would redact, as a large model gets to see it."""
    types = {question.prompt[span.start : span.end]: span.type for span in reversed(question.spans)}

    def placeholder(unit: str) -> tuple[str, str]:
        made = f"{types[unit]}_{_stem(rng)}"
        return made, made  # in lower case too: it is no word

    return _with(question, placeholder)


def renamed(question: Question, rng: np.random.Generator) -> Question:
    """The same with a made-up name for everybody, as where surrogates stand for names."""

    def other(unit: str) -> tuple[str, str]:
        name = _name(rng)
        return (name if unit[0].isupper() else name.lower()), name.lower()

    return _with(question, other)


def _with(question: Question, instead: Callable[[str], tuple[str, str]]) -> Question:
    """``instead`` of a unit: what is written for it, and what for its lower case, since actions have no capitals."""
    prompt, answer = question.prompt, question.answer
    for unit in sorted(question.units, key=len, reverse=True):
        written, lower = instead(unit)
        prompt = prompt.replace(unit, written)
        answer = answer.replace(unit, written).replace(unit.lower(), lower)
    return Question(question.family, prompt, answer, question.general, question.hint, ())


def _name(rng: np.random.Generator) -> str:
    parts = [(_ONSETS, _VOWELS)[number % 2] for number in range(2 * int(rng.integers(1, 3)))]
    return "".join(str(rng.choice(part)) for part in (*parts, _CODAS)).capitalize()


def _stem(rng: np.random.Generator) -> str:
    while True:
        found = "".join(STEM_ALPHABET[int(i)] for i in rng.integers(len(STEM_ALPHABET), size=5))
        if is_stem(found):
            return found
