"""What both models of the live pair read: questions, the general questions behind them, hints, and placeholders."""

from collections.abc import Iterator

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

    Made-up names are never twice the same, so that they can be copied and not known.
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
    prompt, answer = question.prompt, question.answer
    for unit in sorted(question.units, key=len, reverse=True):
        type = next(span.type for span in question.spans if question.prompt[span.start : span.end] == unit)
        placeholder = f"{type}_{_stem(rng)}"
        prompt, answer = prompt.replace(unit, placeholder), _replaced(answer, unit, placeholder)
    return Question(question.family, prompt, answer, question.general, question.hint, ())


def renamed(question: Question, rng: np.random.Generator) -> Question:
    """The same with a made-up name for everybody, as where surrogates stand for names."""
    prompt, answer = question.prompt, question.answer
    for unit in sorted(question.units, key=len, reverse=True):
        name = _name(rng)
        name = name if unit[0].isupper() else name.lower()
        prompt = prompt.replace(unit, name)
        answer = answer.replace(unit, name).replace(unit.lower(), name.lower())
    return Question(question.family, prompt, answer, question.general, question.hint, ())


def _name(rng: np.random.Generator) -> str:
    parts = [(_ONSETS, _VOWELS)[number % 2] for number in range(2 * int(rng.integers(1, 3)))]
    return "".join(str(rng.choice(part)) for part in (*parts, _CODAS)).capitalize()


def _replaced(answer: str, unit: str, placeholder: str) -> str:
    """An action is in lower case, whoever it names."""
    return answer.replace(unit, placeholder).replace(unit.lower(), placeholder)


def _stem(rng: np.random.Generator) -> str:
    while True:
        found = "".join(STEM_ALPHABET[int(i)] for i in rng.integers(len(STEM_ALPHABET), size=5))
        if is_stem(found):
            return found
