"""Work on a document, declared: what to read, what to ask of each piece, how to make one answer of many.

A plan may come from a model, so it is data and never code: it names choices of this module, counts and words are
bounded, words are compared and never become a pattern, and a plan in any other form is no plan.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from tacit_clients.modes.lexical import numbers, plain, rarity, words
from tacit_clients.modes.prompts import NOTHING
from tacit_clients.modes.trust import carries_instructions, verdict

MOST_JOBS: Final = 4
LONGEST_PLAN: Final = 8000  # characters
_LONGEST_LIST: Final = 50
_PARAGRAPH: Final = re.compile(r"\n[ \t]*\n\s*")
_ITEM: Final = re.compile(r"[\n;,]")
_Word = Annotated[str, StringConstraints(min_length=2, max_length=60)]
Answer = Literal["text", "number", "list", "yes_no"]
Combine = Literal["first", "list", "count", "sum", "max", "min", "join", "most_confident"]

PLANNER: Final = (
    "Somebody has a long private document and a question about it. You never see the document. Say how a small model "
    "should find the answer: it reads one piece of the document at a time and follows one instruction. Reply with JSON "
    'alone, in this form:\n{"jobs": [{"instruction": "...", "select": {"kind": "all", "words": []}, "answer": "text", '
    '"combine": "first"}]}\n'
    f"At most {MOST_JOBS} jobs. instruction: what to find in a piece, in one sentence that stands alone. select.kind: "
    "all, lines or paragraphs; select.words: for lines and paragraphs, words of which one must occur there. answer: "
    "text, number, list or yes_no. combine: first, list, count, sum, max, min, join or most_confident."
)


class Selection(BaseModel, frozen=True, extra="forbid", strict=True):
    """Which parts of a document are read."""

    kind: Literal["all", "lines", "paragraphs"] = "all"
    words: tuple[_Word, ...] = Field(default=(), max_length=16)


class Job(BaseModel, frozen=True, extra="forbid", strict=True):
    """One thing to find out: asked of every selected piece, its answers combined."""

    instruction: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    select: Selection = Selection()
    answer: Answer = "text"
    combine: Combine = "most_confident"


class Plan(BaseModel, frozen=True, extra="forbid", strict=True):
    """What a large model may say about a document that it does not see."""

    jobs: tuple[Job, ...] = Field(min_length=1, max_length=MOST_JOBS)


@dataclass(frozen=True, slots=True)
class Extract:
    """What one piece said."""

    text: str = field(repr=False)
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a job came to. ``computed``: a figure worked out here, which no model should put into other words."""

    text: str = field(repr=False)
    computed: bool = False
    confidence: float | None = None


def plan_of(text: str) -> Plan | None:
    """The plan in a model's answer, which may stand among other words; None where there is none of the right form."""
    start, end = text.find("{"), text.rfind("}") + 1
    if start < 0 or end <= start or end - start > LONGEST_PLAN:
        return None
    try:
        plan = Plan.model_validate_json(text[start:end])
    except ValidationError:
        return None
    return None if any(carries_instructions(job.instruction) for job in plan.jobs) else plan


def default_plan(question: str) -> Plan:
    """Made without any model: the question itself, asked of the pieces that share its rare words."""
    return Plan(jobs=(Job(instruction=question.strip()[-500:] or "?"),))


# --- what is read


def pieces(text: str, size: int) -> list[str]:
    """``text`` in pieces of at most ``size`` characters, cut between paragraphs, else lines, else words, else anywhere.

    Nothing but white space is lost.
    """
    return _packed([part for part in _PARAGRAPH.split(text) if part.strip()], size, "\n\n")


def _packed(parts: Sequence[str], size: int, between: str) -> list[str]:
    packed: list[str] = []
    for part in (smaller for whole in parts for smaller in _cut(whole.strip(), size)):
        if packed and len(packed[-1]) + len(between) + len(part) <= size:
            packed[-1] += between + part
        else:
            packed.append(part)
    return packed


def _cut(part: str, size: int) -> list[str]:
    """``part`` in pieces that are not too long."""
    found = []
    while len(part) > size:
        ends = (part.rfind(mark, 0, size) for mark in ("\n", ". ", " "))
        at = next((end + 1 for end in ends if end >= size // 2), size)
        found.append(part[:at].strip())
        part = part[at:].strip()
    return [each for each in (*found, part) if each]


def selected(text: str, job: Job, question: str, size: int, most: int) -> tuple[list[str], bool]:
    """The pieces that ``job`` reads, at most ``most`` in the document's order, and whether others were left out.

    Where more are selected than may be read, those that share the question's rare words come first. A selection that
    nothing fits is none: the whole document stands in for it.
    """
    found = pieces(_chosen(text, job.select) or text, size)
    if len(found) <= most:
        return found, False
    scores = rarity(f"{question}\n{job.instruction}\n{' '.join(job.select.words)}", found)
    best = sorted(range(len(found)), key=lambda number: (-scores[number], number))[:most]
    return [found[number] for number in sorted(best)], True


def _chosen(text: str, selection: Selection) -> str:
    if selection.kind == "all" or not selection.words:
        return text
    wanted = [folded for word in selection.words if (folded := plain(word))]
    lines = selection.kind == "lines"
    parts = text.splitlines() if lines else _PARAGRAPH.split(text)
    between = "\n" if lines else "\n\n"
    return between.join(part for part in parts if any(word in plain(part) for word in wanted))


# --- what comes of it


def extract_of(text: str, answer: Answer, confidence: float | None) -> Extract | None:
    """What a piece said, in the form that was asked for; None where it says nothing, or not in that form."""
    text = text.strip()
    said = words(text[:200])
    if not said or said[0] in (NOTHING, "unknown") or said[:3] in (["does", "not", "say"], ["it", "does", "not"]):
        return None
    if answer == "number":
        found = numbers(text)
        return Extract(_written(found[0]), confidence) if found else None
    if answer == "yes_no":
        means = verdict(text)
        return None if means is None else Extract("yes" if means else "no", confidence)
    return Extract(text, confidence)


def combined(job: Job, extracts: Sequence[Extract]) -> Result | None:
    """One result of what the pieces said; None where none of them said anything."""
    if not extracts:
        return None
    match job.combine:
        case "count":
            return Result(str(_count(job, extracts)), True)
        case "sum" | "max" | "min":
            return _figure(job.combine, extracts)
        case "list" | "join":
            texts = _items(extracts) if job.answer == "list" or job.combine == "list" else [e.text for e in extracts]
            return Result(("\n" if job.combine == "list" else " ").join(texts))
        case "first":
            best = extracts[0]
        case "most_confident":
            best = max(extracts, key=lambda each: -1.0 if each.confidence is None else each.confidence)
    return Result(best.text, job.answer == "number", best.confidence)


def _count(job: Job, extracts: Sequence[Extract]) -> int:
    if job.answer == "yes_no":
        return sum(each.text == "yes" for each in extracts)
    return len(_items(extracts)) if job.answer == "list" else len(extracts)


def _figure(how: Literal["sum", "max", "min"], extracts: Sequence[Extract]) -> Result | None:
    found = [number for each in extracts for number in numbers(each.text)[:_LONGEST_LIST]]
    if not found:
        return None
    make = {"sum": lambda: sum(found, Decimal(0)), "max": lambda: max(found), "min": lambda: min(found)}
    return Result(_written(make[how]()), True)


def _items(extracts: Sequence[Extract]) -> list[str]:
    """Every entry of lists, once, in order."""
    items = (item.strip(" \t-*\u2022.") for each in extracts for item in _ITEM.split(each.text)[:_LONGEST_LIST])
    return list({plain(item): item for item in reversed([each for each in items if each])}.values())[::-1]


def _written(number: Decimal) -> str:
    """Without an exponent, and without zeros that say nothing."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
