"""Whether an answer states otherwise what the prompt states: addresses, long numbers, days, recipients.

Conservative: each rule needs the same thing in both texts, told differently. An answer that brings something new
contradicts nothing.
"""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Final

from tacit_clients.modes.lexical import plain

_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")
_ISO: Final = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_LONG: Final = re.compile(r"(?<![\w.,/-])\+?\d{2,}(?:[ -]\d{2,}){0,8}(?![\w/-])")
_LEAST_DIGITS: Final = 7
_MOST_FOUND: Final = 64  # of each kind; a text with more of them is a list, and its entries differ
_MOST_LINES: Final = 400

_DAYS: Final = {
    word: day
    for day, names in enumerate(
        (
            "monday montag lundi lunes lunedì poniedziałek",
            "tuesday dienstag mardi martes martedì wtorek",
            "wednesday mittwoch mercredi miércoles mercoledì środa",
            "thursday donnerstag jeudi jueves giovedì czwartek",
            "friday freitag vendredi viernes venerdì piątek",
            "saturday samstag samedi sábado sabato sobota",
            "sunday sonntag dimanche domingo domenica niedziela",
        )
    )
    for word in names.split()
}
_DAY: Final = re.compile(r"\b(?:" + "|".join(_DAYS) + r")\b")
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_ANCHOR: Final = re.compile(  # a date or a time of day, as folded
    rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)? (?:of )?(?P<month>{_MONTHS})[a-z]{{0,6}}\b"
    rf"|\b(?P<month2>{_MONTHS})[a-z]{{0,6}}\.? (?P<day2>\d{{1,2}})\b(?!:)"
    r"|\b(?P<iso>\d{4}-\d{2}-\d{2})\b"
    r"|\b(?P<hour>\d{1,2})(?::(?P<minute>\d{2}))? ?(?P<half>am|pm|a\.m\.|p\.m\.)"
    r"|\b(?P<hour24>\d{1,2}):(?P<minute24>\d{2})\b"
)
_NEAR: Final = 30  # characters between a weekday and the date or time that it belongs to

_LABEL: Final = re.compile(
    r"^[\s*_>-]{0,8}(to|from|cc|bcc|date|when|amount|phone|e-?mail|iban|account|recipient|sender|buyer|seller|landlord|"
    r"tenant|patient|doctor|an|von)[*_]{0,2}\s{0,3}:[*_]{0,2}\s{0,3}(\S.{0,80})$",
    re.IGNORECASE | re.MULTILINE,
)
_NAME = r"([A-ZÀ-ÞŁŚŻ][\w'\-]{1,30}(?: [A-ZÀ-ÞŁŚŻ][\w'\-]{1,30})?)"
_TITLES = "Mr|Ms|Mrs|Miss|Dr|Prof|Frau|Herr|Herrn|Madame|Monsieur"
_TITLE = rf"(?:(?:{_TITLES})(?:\. ?| ))?"
_TO: Final = re.compile(
    r"\b(?i:write|send|reply|respond|draft|letter|e-?mail|message|note|invitation|invite|card|reminder|brief|nachricht)\b"
    rf"[^.\n]{{0,40}}?\b(?:to|for|an|für|à|para) (?:my (?:\w{{1,20}} ){{1,2}})?{_TITLE}{_NAME}"
)
_DEAR: Final = re.compile(
    r"^[\s*_>]{0,8}(?i:dear|hi|hello|hey|liebe[r]?|hallo|cher|chère|bonjour|querid[oa]|estimad[oa]|hola)"
    rf" {_TITLE}{_NAME}",
    re.MULTILINE,
)


def contradicts(answer: str, prompt: str) -> bool:
    """Whether one of the rules finds the two at odds."""
    rules = (_addresses, _long_numbers, _day_and_month, _weekdays, _labels, _recipient)
    return any(rule(answer, prompt) for rule in rules)


def _addresses(answer: str, prompt: str) -> bool:
    """An e-mail address that is nearly one of the prompt's: another domain, or a letter or two of its name."""
    given, told = (_found(_EMAIL.findall(text.casefold())) for text in (prompt, answer))
    pairs = ((new.split("@"), old.split("@")) for new in told - given for old in given - told)
    return any(new[0] == old[0] or (new[1] == old[1] and _nearly(new[0], old[0])) for new, old in pairs)


def _nearly(first: str, second: str) -> bool:
    return min(len(first), len(second)) >= 4 and SequenceMatcher(None, first, second).ratio() >= 0.8


def _long_numbers(answer: str, prompt: str) -> bool:
    """A number of many digits that differs from one of the prompt's in one or two, or has two of them swapped."""
    given, told = (_found(map(_digits, _LONG.findall(_ISO.sub(" ", text)))) for text in (prompt, answer))
    new = {number for number in told - given if len(number) >= _LEAST_DIGITS}
    return any(_misread(number, old) for number in new for old in given - told)


def _digits(written: str) -> str:
    return "".join(character for character in written if character.isdigit())


def _misread(first: str, second: str) -> bool:
    if len(first) != len(second):
        return False
    return sum(one != other for one, other in zip(first, second, strict=True)) <= 2


def _day_and_month(answer: str, prompt: str) -> bool:
    """A date of the prompt with day and month swapped."""
    given, told = set(_ISO.findall(prompt)), set(_ISO.findall(answer))
    return any((year, day, month) in given - told for year, month, day in told - given)


def _weekdays(answer: str, prompt: str) -> bool:
    """Another weekday beside a date or a time that both texts tell."""
    given, told = _days_of(prompt), _days_of(answer)
    return any(given[anchor].isdisjoint(told[anchor]) for anchor in given.keys() & told.keys())


def _days_of(text: str) -> dict[str, set[int]]:
    """For each date and time of day the weekdays right beside it."""
    found: dict[str, set[int]] = {}
    folded = plain(text)
    days = list(_DAY.finditer(folded))[:_MOST_FOUND]
    anchors = list(_ANCHOR.finditer(folded))[:_MOST_FOUND]
    for anchor in anchors:
        near = min(days, key=lambda day: _distance(day, anchor), default=None)
        if near is not None and _distance(near, anchor) <= _NEAR:
            found.setdefault(_anchor_name(anchor), set()).add(_DAYS[near.group()])
    return found


def _distance(first: re.Match[str], second: re.Match[str]) -> int:
    return max(first.start() - second.end(), second.start() - first.end(), 0)


def _anchor_name(anchor: re.Match[str]) -> str:
    parts = anchor.groupdict()
    if parts["iso"]:
        return str(parts["iso"])
    if parts["month"] or parts["month2"]:
        return f"{int(parts['day'] or parts['day2'])} {parts['month'] or parts['month2']}"
    hour, minute = int(parts["hour"] or parts["hour24"]), parts["minute"] or parts["minute24"] or "00"
    if parts["half"]:
        hour = hour % 12 + (12 if parts["half"].startswith("p") else 0)
    return f"{hour}:{minute}"


def _labels(answer: str, prompt: str) -> bool:
    """A labelled value that the prompt has under another label."""
    given, told = _labelled(prompt), _labelled(answer)
    for label in given.keys() & told.keys():
        elsewhere = {value for other, values in given.items() if other != label for value in values}
        if (told[label] - given[label]) & elsewhere:
            return True
    return False


def _labelled(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for label, value in _LABEL.findall(text)[:_MOST_LINES]:
        found.setdefault(label.casefold(), set()).add(plain(value).strip(" *_"))
    return found


def _recipient(answer: str, prompt: str) -> bool:
    """A letter that greets somebody whom the prompt names, though it asks to write to somebody else."""
    asked = {word for name in _TO.findall(prompt)[:_MOST_FOUND] for word in _name_words(name)}
    greeted = [set(_name_words(name)) for name in _DEAR.findall(answer)[:1]]
    named = set(_name_words(prompt))
    return bool(asked) and any(name and name.isdisjoint(asked) and name <= named for name in greeted)


def _name_words(text: str) -> Iterator[str]:
    for word in re.split(r"[^\w'-]+", text):
        if word and word not in _TITLES.split("|"):
            yield plain(word.removesuffix("'s"))


def _found(values: "Iterator[str] | list[str] | map[str]") -> set[str]:
    return set(list(values)[:_MOST_FOUND])
