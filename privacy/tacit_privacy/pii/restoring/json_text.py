"""JSON that arrives in parts: originals are escaped for the string they land in, however deep JSON sits in JSON."""

import json
import re
from collections.abc import Callable
from typing import Final

from tacit_privacy.pii.policy import RestorePolicy
from tacit_privacy.pii.restoring.matcher import Matcher
from tacit_privacy.pii.restoring.scanner import Counts, Scanner
from tacit_privacy.pii.restoring.zones import Zones

_DEEPEST: Final = 6
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}

Units = list[tuple[str, str]]  # (character, how the outermost text spells it)


def escaped(text: str) -> str:
    """``text`` as the inside of a JSON string."""
    inside = json.dumps(text, ensure_ascii=False)[1:-1]
    return _SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", inside)


def _encoder(depth: int) -> Callable[[str], str]:
    def encode(text: str) -> str:
        for _ in range(depth):
            text = escaped(text)
        return text

    return encode


class JsonText:
    """One level of JSON: what is outside strings, and for each string a level below. Same calls as a Scanner.

    ``around`` follows the outermost text as somebody sees it who shows it as it is; such a text may turn out to be no
    JSON.
    """

    def __init__(
        self,
        matcher: Matcher,
        sinks: RestorePolicy | None,
        counts: Counts,
        depth: int = 0,
        around: Zones | None = None,
    ) -> None:
        self._matcher, self._sinks, self._counts, self._depth, self._around = matcher, sinks, counts, depth, around
        self._is_json: bool | None = None if depth < _DEEPEST else False
        if depth == 0 and around is None:
            self._is_json = True
        self._scanner = self._new_scanner()
        self._inside: JsonText | None = None
        self._escape: Units = []  # an escape sequence not yet complete

    def _new_scanner(self) -> Scanner:
        return Scanner(self._matcher, self._sinks, self._counts, _encoder(self._depth), self._around)

    def renew(self, matcher: Matcher) -> None:
        """Know more placeholders from now on."""
        self._matcher = matcher
        self._scanner.renew(matcher)
        if self._inside is not None:
            self._inside.renew(matcher)

    @property
    def held(self) -> int:
        """Characters held back."""
        return self._scanner.held + len(self._escape) + (self._inside.held if self._inside else 0)

    def feed(self, text: str) -> str:
        """What can be emitted now."""
        return self._feed([(character, character) for character in text])

    def close(self) -> str:
        """The rest."""
        out = ""
        if self._inside is not None:
            out = self._inside._feed(self._escape) + self._inside.close()
            self._inside, self._escape = None, []
        return self._scanner.close() + out

    def _feed(self, units: Units) -> str:
        out: list[str] = []
        plain: Units = []  # for the scanner or the level below, given on together
        for unit in units:
            if self._inside is None:
                self._outside(unit, plain, out)
            else:
                self._in_string(self._inside, unit, plain, out)
        out.append(self._give(plain))
        return "".join(out)

    def _give(self, plain: Units) -> str:
        if not plain:
            return ""
        if self._inside is not None:
            text = self._inside._feed(plain)
        else:
            text = self._scanner.feed("".join(c for c, _ in plain), [raw for _, raw in plain])
        plain.clear()
        return text

    def _outside(self, unit: tuple[str, str], plain: Units, out: list[str]) -> None:
        character, raw = unit
        if self._is_json is None and not character.isspace():
            self._is_json = character in "{["
        if self._is_json and character == '"':
            out += [self._give(plain), self._scanner.close(), self._sign(raw)]
            self._scanner = self._new_scanner()
            self._inside = JsonText(self._matcher, self._sinks, self._counts, self._depth + 1, self._around)
        else:
            plain.append(unit)

    def _sign(self, raw: str) -> str:
        """A quote, as it is emitted."""
        if self._around is not None:
            self._around.feed(raw)
        return raw

    def _in_string(self, inside: "JsonText", unit: tuple[str, str], plain: Units, out: list[str]) -> None:
        character, raw = unit
        if self._escape:
            self._escape.append(unit)
            plain.extend(self._unescape())
        elif character == "\\":
            self._escape.append(unit)
        elif character == '"':
            out += [self._give(plain), inside.close(), self._sign(raw)]
            self._inside = None
        else:
            plain.append(unit)

    def _unescape(self) -> Units:
        """The character that the escape sequence stands for once it is complete; its parts if it is none."""
        spelled = "".join(character for character, _ in self._escape)
        raw = "".join(raw for _, raw in self._escape)
        if spelled[1] != "u":
            whole = [(_SHORT[spelled[1]], raw)] if spelled[1] in _SHORT else self._escape
        elif len(spelled) > 2 and not re.fullmatch(r"[0-9a-fA-F]", spelled[-1]):
            whole = self._escape
        elif len(spelled) < 6:
            return []
        else:
            whole = [(chr(int(spelled[2:], 16)), raw)]
        self._escape = []
        return whole
