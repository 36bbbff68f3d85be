"""From many finders' spans to one list: trimmed, without overlaps, address lines joined."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tacit_privacy.pii.detection.shapes import EXACT, Found, words

Keeps = Callable[[str], bool]

_EDGE: Final = " \t\r\n\f\v.,;:!?…\"'`()[]{}<>*_|/\\-=~#\ufffd"
_AS_FOUND: Final = words("SECRET PERSONAL_URL URL PHONE_NUMBER USERNAME GPS_COORDINATES EMAIL_ADDRESS PIN")
_ABBREVIATION: Final = re.compile(r"(?:\b(?:Ltd|Inc|Corp|Co|Jr|Sr|Bros|St|Ave|Rd|Blvd)|\b[A-Z]|\.[a-z])$")
_POSSESSIVE: Final = re.compile(r"(?<=\w)'[sS]$")
_LONE_S: Final = re.compile(r"(?<=\w')[sS]\b")
_BETWEEN_LINES: Final = re.compile(r"[ \t]{0,4}[,;>|]?[ \t]{0,4}(?:\r?\n[ \t>|]{0,8})?,?[ \t]{0,4}")
_ADDRESS_PARTS: Final = words("ADDRESS ZIP_CODE LOCATION")


def trimmed(text: str, found: Found) -> Found | None:
    """Without white space, punctuation and 's at its ends; None if nothing is left."""
    start, end = found.start, min(found.end, len(text))
    if found.type in _AS_FOUND:
        shown = text[start:end]
        start, end = start + len(shown) - len(shown.lstrip()), end - len(shown) + len(shown.rstrip())
        return found._replace(start=start, end=end) if start < end else None
    while start < end and text[start] in _EDGE:
        start += 1
    while start < end and text[end - 1] in _EDGE:
        closes = text[end - 1] == ")" and text.find("(", start, end) >= 0
        if closes or (text[end - 1] == "." and _ABBREVIATION.search(text, max(start, end - 8), end - 1)):
            break
        end -= 1
    if _POSSESSIVE.search(text, max(start, end - 3), end):
        end -= 2
    if end - start == 1 and _LONE_S.match(text, start):
        return None
    return found._replace(start=start, end=end) if start < end else None


class _Settled:
    """Spans that do not overlap, in order."""

    def __init__(self) -> None:
        self.spans: list[Found] = []

    def put(self, one: Found, text: str, keeps: Keeps) -> None:
        """Add ``one`` where nothing is yet; what sticks out of a span that came before widens it, or stands alone.

        What is kept anyway never widens anything.
        """
        at = bisect_left(self.spans, one.start, key=lambda span: span.end - 1)
        after = at
        while after < len(self.spans) and self.spans[after].start < one.end:
            after += 1
        if at == after:
            self.spans.insert(at, one)
        elif not keeps(one.type):
            self.spans[at:after] = self._widened(self.spans[at:after], one, text, keeps)

    @staticmethod
    def _widened(over: Sequence[Found], one: Found, text: str, keeps: Keeps) -> list[Found]:
        done: list[Found] = []
        reached = one.start
        for span in over:
            gap = Found(reached, span.start, one.type, one.score)
            left = trimmed(text, gap) if gap.start < gap.end else None
            if left and _elastic(span, keeps):
                span = span._replace(start=left.start)
            elif left:
                done.append(left)
            done.append(span)
            reached = max(reached, span.end)
        rest = trimmed(text, Found(reached, one.end, one.type, one.score)) if reached < one.end else None
        if rest and _elastic(done[-1], keeps):
            done[-1] = done[-1]._replace(end=rest.end)
        elif rest:
            done.append(rest)
        return done


def _elastic(span: Found, keeps: Keeps) -> bool:
    """A number whose check digit is right ends where it ends; what is kept must not swallow what is not."""
    return not keeps(span.type) and (span.score < EXACT or span.type == "SECRET")


def settle(text: str, found: Iterable[Found], keeps: Keeps) -> list[Found]:
    """No two overlap, and every character that anything masked covers stays covered.

    Secrets come first, what the policy keeps comes last; between, a checked number, then what says more than ID, then
    the longer, then the surer.
    """
    ready = {one for item in found if (one := trimmed(text, item)) is not None}
    settled = _Settled()
    for one in sorted(ready, key=lambda one: _rank(one, keeps), reverse=True):
        settled.put(one, text, keeps)
    return settled.spans


def _rank(one: Found, keeps: Keeps) -> tuple[bool, bool, bool, bool, int, float, int, str]:
    return (
        one.type == "SECRET",
        not keeps(one.type),
        one.score >= EXACT,
        one.type != "ID",
        one.end - one.start,
        one.score,
        -one.start,
        one.type,
    )


def joined(text: str, settled: Sequence[Found], keeps: Keeps) -> list[Found]:
    """Parts of one address on one line or the next become one span; its type is ADDRESS."""
    done: list[Found] = []
    for one in settled:
        last = done[-1] if done else None
        if (
            last is not None
            and last.type == "ADDRESS"
            and one.type in _ADDRESS_PARTS
            and not keeps(last.type)
            and not keeps(one.type)
            and _BETWEEN_LINES.fullmatch(text, last.end, one.start)
        ):
            done[-1] = Found(last.start, one.end, "ADDRESS", max(last.score, one.score))
        else:
            done.append(one)
    return done
