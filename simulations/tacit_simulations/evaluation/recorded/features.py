"""What an answer's text says of its own worth: numbers from the answer and its question alone, no model asked.

Each is a plain count or share whose meaning can be told to the owner of the device; how much it counts is learned.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tacit_simulations.evaluation.recorded.reading import Answer, Equation, equations, numbers, read

Vector = NDArray[np.float64]

CLIP: Final = 4.0  # standardised features are cut here, as those of prompts are
FLAGS: Final = ("any_wrong", "no_number", "negative", "fraction_of_count", "beyond_cents", "cut_off", "share_above_100")
"""Features that are remarks by themselves, 0 or 1, without anything learned."""

_HEDGES: Final = re.compile(
    r"\b(?:however|but wait|wait|actually|assum\w+|perhaps|maybe|probably|unclear|negative|"
    r"not (?:possible|enough|specified|given)|cannot|can't|impossible|insufficient|incorrect|mistake|sorry|"
    r"approximately|let's (?:try|re)|not make sense)\b"
)
_UNKNOWN: Final = re.compile(r"\bx\b|\blet\b")
_COUNTED: Final = re.compile(r"\bhow many\b")
_MONEY: Final = re.compile(r"\$|\bhow much\b|\bdollars?\b|\bcents?\b|\bcosts?\b")
_SHARE: Final = re.compile(r"%|\bpercent\w*|\bfraction\b|\bprobability\b")
_STEP: Final = re.compile(r"\n|[.!?](?=\s)")
_LONG: Final = 3000  # characters; greedy models that go round in circles say more


def describe(prompt: str, text: str) -> Vector:
    """The features of an answer ``text`` to ``prompt``, shape (len(names()),), all finite."""
    return np.array([value for group in _grouped(prompt, text).values() for value in group.values()])


@cache
def names() -> tuple[str, ...]:
    """Of the features, in their order."""
    return tuple(name for group in _grouped("", "").values() for name in group)


@cache
def groups() -> dict[str, list[int]]:
    """Columns of the features that belong together."""
    found, start = {}, 0
    for name, group in _grouped("", "").items():
        found[name] = list(range(start, start + len(group)))
        start += len(group)
    return found


def describe_all(prompts: Sequence[str], texts: Sequence[str]) -> Vector:
    """Standardised over all of them and cut at ``CLIP``, shape (n, len(names())). No grade enters."""
    found = np.array([describe(*each) for each in zip(prompts, texts, strict=True)]).reshape(len(prompts), -1)
    spread = found.std(axis=0)
    standard = (found - found.mean(axis=0)) / np.where(spread > 1e-6, spread, 1.0)
    return np.asarray(np.clip(standard, -CLIP, CLIP), dtype=np.float64)


def flags(prompts: Sequence[str], texts: Sequence[str]) -> Vector:
    """How many of ``FLAGS`` each answer has earned, (n,): a rule that needs no grades to learn from."""
    columns = [names().index(flag) for flag in FLAGS]
    return np.array([float(describe(*each)[columns].sum()) for each in zip(prompts, texts, strict=True)])


def _grouped(prompt: str, text: str) -> dict[str, dict[str, float]]:
    answer, asked = read(text), prompt.lower()
    found = equations(answer.body)
    given, said = numbers(prompt), numbers(answer.body)
    return {
        "form": {**_form(answer, text), **_repetition(answer.body)},
        "arithmetic": _arithmetic(found, answer),
        "sources of numbers": _sources(given, said, found, answer),
        "final number": _number(answer.number, given, asked),
        "tone": _tone(answer.body.lower()),
    }


def _form(answer: Answer, text: str) -> dict[str, float]:
    steps = sum(1 for part in _STEP.split(answer.body) if part.strip())
    return {
        "characters": math.log1p(len(answer.body)),
        "steps": math.log1p(steps),
        "step_length": math.log1p(len(answer.body) / max(1, steps)),
        "long": float(len(text) > _LONG),
        "cut_off": float(not answer.whole),
        "nothing_stated": float(answer.stated is None),
        "stated_length": math.log1p(len(answer.stated or "")),
    }


def _repetition(body: str) -> dict[str, float]:
    lines = Counter(line.strip() for line in _STEP.split(body) if len(line.strip()) > 8)
    raw = body.encode("utf-8", "surrogatepass")
    return {
        "repeated": math.log1p(max(lines.values(), default=1) - 1),
        "packed_share": len(zlib.compress(raw, 6)) / max(40, len(raw)),
    }


def _arithmetic(found: Sequence[Equation], answer: Answer) -> dict[str, float]:
    """Every written equation computed again."""
    wrong, results = sum(each.wrong for each in found), [each.result for each in found]
    return {
        "equations": math.log1p(len(found)),
        "no_equation": float(not found),
        "wrong_equations": float(min(wrong, 3)),
        "any_wrong": float(wrong > 0),
        "rounded": float(any(each.rounded for each in found)),
        "final_is_result": float(_among(answer.number, results)),
        "final_is_last_result": float(_among(answer.number, results[-1:])),
        "negative_result": float(any(result < 0 for result in results)),
        "fractional_results": sum(result % 1 != 0 for result in results) / max(1, len(results)),
    }


def _sources(
    given: Sequence[float], said: Sequence[float], found: Sequence[Equation], answer: Answer
) -> dict[str, float]:
    """Which numbers come from where: those of the question that the answer never uses, those it has from nowhere."""
    used = sum(_among(number, said) for number in given)
    known = [*given, *(each.result for each in found), *(each.value for each in found)]
    strange = sum(not _among(number, known) for number in said)
    return {
        "unused": float(min(len(given) - used, 4)),
        "unused_share": (len(given) - used) / max(1, len(given)),
        "strange_share": strange / max(1, len(said)),
        "steps_for_numbers": len(found) - len(given) / 1.5,
        "final_in_question": float(_among(answer.number, given)),
        "final_ends_body": float(_among(answer.number, said[-1:])),
        "final_said": float(_among(answer.number, said)),
    }


def _number(number: float | None, given: Sequence[float], asked: str) -> dict[str, float]:
    """What is odd about the final number for what is asked."""
    value, largest = number or 0.0, max(given, default=0.0)
    whole, cents = value % 1 == 0, abs(value * 100 - round(value * 100)) < 1e-6
    return {
        "no_number": float(number is None),
        "size": math.log1p(abs(value)),
        "against_largest": max(-6.0, min(6.0, math.log((abs(value) + 1) / (largest + 1)))),
        "zero": float(value == 0),
        "negative": float(value < 0),
        "fraction_of_count": float(not whole and _COUNTED.search(asked) is not None),
        "fraction": float(not whole),
        "beyond_cents": float(not cents and _MONEY.search(asked) is not None),
        "share_above_100": float(value > 100 and _SHARE.search(asked) is not None and not _MONEY.search(asked)),
    }


def _tone(lower: str) -> dict[str, float]:
    hedges = len(_HEDGES.findall(lower))
    return {
        "hedges": math.log1p(hedges),
        "any_hedge": float(hedges > 0),
        "unknowns": float(_UNKNOWN.search(lower) is not None),
    }


def _among(number: float | None, others: Sequence[float]) -> bool:
    return number is not None and any(abs(number - other) < 1e-6 for other in others)
