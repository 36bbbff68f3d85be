"""Text as words and numbers, for comparing and choosing without a model. No pattern here is ever made from data."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.pseudonyms.folding import fold

_WORD: Final = re.compile(r"[^\W_]+(?:['\-][^\W_]+)*")
_NUMBER: Final = re.compile(r"(?<![\w.,])[-\u2212]?\d{1,30}(?:[.,'\u2019]\d{1,30}){0,9}(?!\w)")
_UNSPACED: Final = re.compile("[\u0e00-\u0eff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_LINKING = """
a about am an and any are as at be been but by can could did do does for from had has have he her hers him his how i if
in into is it its just may me mine my no nor not of on or our ours out please shall she should so some than that the
their theirs them then there these they this those to too up us was we were what when where which who whom whose why
will with would you your yours
aber als auch auf aus bei bin bis das dass dem den der des die du ein eine einem einen einer er es für hat ich ihr ihre
im ist kann man mein meine mich mir mit nach nicht oder sein sich sie sind um und uns von vor war was wer wie wir wird
wo zu zum zur
au aux avec ce ces cette dans de des du elle en est et il je la le les leur lui ma mais me mes moi mon ne nous on ou où
par pas pour qu que qui sa se ses son sont sur te tu un une vous
al como con cual de del el ella en es esta este la las lo los me mi mis para pero por que se ser si sin son su sus te
un una y yo
"""
LINKING: Final = frozenset(_LINKING.split())
"""Words that hold a sentence together in English, German, French and Spanish, and say little of what it is about."""


def plain(text: str) -> str:
    """``text`` in one case and width, its accents part of their letters."""
    return unicodedata.normalize("NFC", fold(text))


def folded(text: str) -> str:
    """``text`` as short answers are compared: case folded, white space made one, one full stop at the end left out."""
    return " ".join(text.casefold().split()).removesuffix(".").rstrip()


def words(text: str) -> list[str]:
    """The folded words of ``text``; of scripts without spaces each character counts as one."""
    found: list[str] = []
    for word in _WORD.findall(plain(text)):
        found += list(word) if _UNSPACED.search(word) else [word]
    return found


def content_words(text: str) -> list[str]:
    """Those of ``words`` that say what the text is about."""
    return [word for word in words(text) if word not in LINKING]


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """The F1 of two bags of words, 0 to 1; two empty ones agree."""
    if not first or not second:
        return float(not first and not second)
    common = sum((Counter(first) & Counter(second)).values())
    return 2 * common / (len(first) + len(second))


def numbers(text: str) -> list[Decimal]:
    """Every number in ``text``, whether its thousands are set apart and its decimals begin as in English or German."""
    return [_value(match.group()) for match in _NUMBER.finditer(text)]


def _value(written: str) -> Decimal:
    digits = written.replace("\u2212", "-").replace("'", "").replace("\u2019", "")
    mark = max((",", "."), key=digits.rfind)  # the last of the two may begin the decimals
    other = "," if mark == "." else "."
    digits = digits.replace(other, "")
    groups = digits.lstrip("-").split(mark)
    thousands = len(groups) > 1 and len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])
    if len(groups) > 2 or (mark == "," and other not in written and thousands):
        return Decimal(digits.replace(mark, ""))
    return Decimal(digits.replace(mark, "."))


def rarity(question: str, texts: Sequence[str]) -> list[float]:
    """How much of the question's rare words each text holds; a word that all texts hold says nothing."""
    wanted = dict.fromkeys(content_words(question))
    held = [frozenset(words(text)) for text in texts]
    weights = {word: math.log((1 + len(held)) / (1 + sum(word in each for each in held))) for word in wanted}
    return [math.fsum(weight for word, weight in weights.items() if word in each) for each in held]


def in_place_of(entities: Sequence[Entity], text: str, word: Callable[[Entity], str]) -> str:
    """``text`` with ``word`` of each entity in its place; of two that overlap the first alone."""
    parts, at = [], 0
    for entity in sorted(entities):
        if entity.start >= at:
            parts += [text[at : entity.start], word(entity)]
        at = max(at, entity.end)
    return "".join([*parts, text[at:]])
