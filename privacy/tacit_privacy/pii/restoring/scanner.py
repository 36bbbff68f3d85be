"""One left-to-right pass over one text that arrives in parts. Whole texts take the same road in one part."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tacit_privacy.pii.policy import RestorePolicy
from tacit_privacy.pii.pseudonyms import grammar
from tacit_privacy.pii.restoring.matcher import Matcher, Node
from tacit_privacy.pii.restoring.zones import Zones, continues_as_host

_SEGMENT = re.compile(r"[A-Za-z0-9]+|_+|\\+|[^A-Za-z0-9_\\]+")
_TAIL = re.compile(r"[\\_]*")


@dataclass(slots=True)
class Counts:
    """What happened to placeholders: restored; of an issued type but never issued; cut short or with something glued
    to them; issued but left as they are, since the place is an address and the policy says no."""

    restored: int = 0
    unknown: int = 0
    malformed: int = 0
    withheld: int = 0


class _More(Exception):
    """More text is needed before the next character can be emitted."""


class Scanner:
    """Takes text, gives it back with originals in place. Holds back only what may still become a placeholder.

    ``encode`` puts an original into the form that its place needs (JSON escapes). Restored text is never looked at
    again for placeholders. ``around``: zones of a larger text, of which this is a part; a picture or markup there is
    one here.
    """

    def __init__(
        self,
        matcher: Matcher,
        sinks: RestorePolicy | None,
        counts: Counts,
        encode: Callable[[str], str] | None = None,
        around: Zones | None = None,
    ) -> None:
        self._matcher, self._counts, self._around = matcher, counts, around
        self._encode = encode
        self._sinks = sinks
        anywhere = sinks is None or (sinks.text and sinks.urls and sinks.images)
        self._zones = None if anywhere else Zones()
        self._text = ""  # not yet emitted
        self._raw: list[str] | None = None  # how its characters are spelled, where that differs
        self._glued = False  # the run that reaches up to here has letters or digits
        self._slashes = False  # a backslash is the last thing emitted
        self._out: list[str] = []

    def renew(self, matcher: Matcher) -> None:
        """Know more placeholders from now on."""
        self._matcher = matcher

    @property
    def held(self) -> int:
        """Characters held back."""
        return len(self._text)

    def feed(self, text: str, raw: list[str] | None = None) -> str:
        """What can be emitted now. ``raw`` spells each character of ``text``, if it is not spelled as itself."""
        if raw is not None:
            self._raw = (self._raw or []) + raw
        self._text += text
        return self._run(final=False)

    def close(self) -> str:
        """The rest."""
        return self._run(final=True)

    # --- the pass

    def _run(self, final: bool) -> str:
        position = 0
        try:
            while position < len(self._text):
                position = self._segment(position, final)
        except _More as more:
            position = more.args[0]
        self._text = self._text[position:]
        if self._raw is not None:
            self._raw = self._raw[position:]
        out, self._out = "".join(self._out), []
        return out

    def _segment(self, start: int, final: bool) -> int:
        """Deal with the segment at ``start``; gives where the next one starts."""
        match = _SEGMENT.match(self._text, start)
        end = match.end() if match else start + 1
        first = self._text[start]
        if first == "_":
            self._slashes = False
        elif first == "\\":
            self._slashes = True
        elif first.isascii() and first.isalnum():
            self._glued = self._glued and not self._slashes
            self._slashes = False
            if not self._glued:
                end = self._word(start, end, final)
                self._glued = True
                return end
        else:
            self._glued = self._slashes = False
        self._emit(start, end)
        return end

    def _emit(self, start: int, end: int) -> None:
        text = self._text[start:end]
        if self._zones is not None:
            self._zones.feed(text)
        self._put(text if self._raw is None else "".join(self._raw[start:end]))

    def _put(self, text: str) -> None:
        if self._around is not None:
            self._around.feed(text)
        self._out.append(text)

    def _word(self, start: int, end: int, final: bool) -> int:
        """A run's first letters and digits: the only place where a placeholder or surrogate begins."""
        stop, original, odd = self._token(start, end, final)
        fiction_stop, fiction = self._fiction(start, final)
        if fiction is not None and (original is None or fiction_stop > stop):
            stop, original = fiction_stop, fiction
        if original is None:
            self._counts.unknown += odd == "unknown"
            self._counts.malformed += odd == "malformed"
            self._emit(start, end)
            return end
        if self._may_restore(start, stop, final):
            self._counts.restored += 1
            if self._zones is not None:
                self._zones.feed(original)
            self._put(self._encode(original) if self._encode else original)
        else:
            self._counts.withheld += 1
            self._emit(start, stop)
        return stop

    def _token(self, start: int, end: int, final: bool) -> tuple[int, str | None, str]:
        """Where the placeholder at ``start`` ends, what it stands for, and how it is odd if it stands for nothing."""
        text, matcher = self._text, self._matcher
        word = text[start:end].lower()
        if word not in matcher.first_words and (final or end < len(text) or not matcher.plausible(word)):
            return start, None, ""
        match = grammar.CORE.match(text, start)
        core_end = match.end() if match else end
        folded = grammar.folded(text[start:core_end])
        if not matcher.plausible(folded):
            return start, None, ""
        tail = self._tail(start, core_end, final)
        if grammar.GLUE.match(text, core_end):
            return start, None, ""
        original = matcher.tokens.get(folded)
        token = grammar.parse(folded)
        if original is None and token is not None:
            original = matcher.tokens.get(token.name)
        at_end = final and core_end + len(tail) == len(text)
        return core_end, original, "" if original is not None else self._oddity(folded, tail, at_end)

    def _oddity(self, folded: str, tail: str, at_end: bool) -> str:
        """What is wrong with a word that begins like a placeholder."""
        if at_end and self._matcher.cut_short(f"{folded}_" if "_" in tail else folded):
            return "malformed"
        token = grammar.parse(folded)
        if token is not None and token.type in self._matcher.types:
            return "unknown"
        return "malformed" if self._matcher.overgrown(folded) else ""

    def _tail(self, start: int, core_end: int, final: bool) -> str:
        """The underscores after a core, once it is known what follows them; asks for more text until then."""
        match = _TAIL.match(self._text, core_end)
        tail = match.group() if match else ""
        if not final and core_end + len(tail) == len(self._text) and len(tail) <= grammar.LONGEST_GLUE:
            raise _More(start)
        return tail

    def _fiction(self, start: int, final: bool) -> tuple[int, str | None]:
        """Where the longest surrogate at ``start`` ends and what it stands for."""
        node: Node | None = self._matcher.fictions
        best: tuple[int, str | None] = (start, None)
        position = start
        while node is not None and node.children:
            if position == len(self._text):
                if final:
                    break
                raise _More(start)
            node = node.children.get(self._text[position])
            position += 1
            if node is not None and node.original is not None:
                self._tail(start, position, final)
                following = self._text[position : position + 1]
                if not (following.isascii() and following.isalnum()) and not grammar.GLUE.match(self._text, position):
                    best = (position, node.original)
        return best

    # --- sinks

    def _may_restore(self, start: int, end: int, final: bool) -> bool:
        """Whether the policy lets ``text[start:end]`` be restored where it stands."""
        if self._zones is None or self._sinks is None:
            return True
        allowed = {
            "text": self._sinks.text,
            "url": self._sinks.urls,
            "image": self._sinks.images,
            "markup": self._sinks.urls and self._sinks.images,
        }
        outer = "text" if self._around is None or self._around.opening else self._around.zone
        if outer in ("image", "markup") and not allowed[outer]:
            return False
        zone = self._zones.zone
        if zone == "markup" and self._zones.opening:
            if end == len(self._text) and not final:
                raise _More(start)
            zone = "text" if self._text[end : end + 1] == ">" else zone
        elif zone == "text":
            host = continues_as_host(self._text, end, final)
            if host is None:
                raise _More(start)
            zone = "url" if host else zone
        return allowed[zone]
