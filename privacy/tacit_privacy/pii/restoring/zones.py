"""Where in an answer a place is: in plain text, or in something that a client may open or load by itself.

A placeholder in an address would send the original to whoever owns the address, so what counts is not the grammar of
one Markdown dialect but what any client might make of the text. In doubt a place is an address. The state is a few
flags and a short memory, and goes character by character: how a stream was cut makes no difference.
"""

import re
from typing import Final, Literal

Zone = Literal["text", "url", "image", "markup"]

_SCHEME_WORDS = (
    "http https ftp ftps sftp ws wss mailto data javascript vbscript file sms blob about intent ssh git view"
)
_SCHEMES: Final = frozenset(_SCHEME_WORDS.split())
_LONGEST_WORD: Final = 16
_DEEPEST: Final = 64
_DOTS: Final = ".\u3002\uff0e\uff61"
_ENDS_A_HOST: Final = frozenset(",;\"'|)]}\uff0c\u3001\uff1b")  # a further column, value or word begins after it
_DIALLING: Final = frozenset("+(*_~\\")  # what may stand between "Tel:" and a number
_UNIT = re.compile(r"[^\W_]+|.", re.DOTALL)


class Zones:
    """Follows the text that a client sees, restored values included, and says in which zone its end is."""

    def __init__(self) -> None:
        self._word = ""  # the end of the run of letters and digits just before
        self._previous = ""  # the last character
        self._escaped = False  # whether a backslash escapes what comes next
        # the chunk: what stands without white space between
        self._url = False
        self._dials = False  # just after "tel:", where nothing but the number itself can be told to anybody
        self._dotted = False  # a host's name was in the chunk
        self._label = -1  # characters since a dot inside a name; -1 when there was none
        # Markdown
        self._brackets: list[bool] = []  # open ``[``; True for an image's
        self._depth = 0  # open parentheses of a link's target; 0 outside
        self._image = False
        self._blank = False  # only white space since the last newline
        # markup
        self._opening = False  # just after ``<``
        self._tag = False
        self._quote = ""
        self._equals = False

    @property
    def zone(self) -> Zone:
        """Of what comes next."""
        if self._tag or self._opening:
            return "markup"
        if self._depth:
            return "image" if self._image else "url"
        return "url" if self._url else "text"

    @property
    def opening(self) -> bool:
        """Whether the last character opened an angle bracket, so that ``<PERSON_k3f9q>`` may still be plain text."""
        return self._opening and not self._tag and not self._depth and not self._url

    def feed(self, text: str) -> None:
        """Go on over ``text``."""
        for match in _UNIT.finditer(text):
            unit = match.group()
            if unit.isalnum():
                self._letters(unit)
            else:
                self._sign(unit)
            self._previous = unit[-1]

    def _letters(self, unit: str) -> None:
        if self._opening:
            self._opening, self._tag = False, True
        self._equals = self._escaped = self._blank = False
        self._url, self._dials = self._url or self._dials, False
        if self._label == 0 and self._previous != "." and not unit[0].isascii():
            self._label = -1  # a sentence ended at the dot
        if self._label >= 0:
            self._label += len(unit)
            if self._label >= 2 or unit[0].isdigit():
                self._dotted = True
        self._word = (self._word + unit)[-_LONGEST_WORD:]

    def _sign(self, sign: str) -> None:
        if sign.isspace():
            self._space(sign)
        else:
            self._blank = False
            self._address(sign)
            self._markdown(sign)
        self._markup(sign)
        self._escaped = sign == "\\" and not self._escaped
        self._word = ""

    def _space(self, sign: str) -> None:
        self._url = self._dotted = self._dials = False
        self._label = -1
        if sign in "\n\r\u2028\u2029":
            if self._blank and sign == "\n":  # a paragraph's end closes what was left open, but not a quoted value
                self._brackets.clear()
                self._depth = 0
                self._tag = self._tag and bool(self._quote)
            self._blank = True

    def _address(self, sign: str) -> None:
        if sign == "<":
            self._url = self._dotted = False
        self._url = self._url or (
            (sign == "/" and self._previous in ("/", ":", "\\"))
            or (sign == "\\" and self._previous in ("\\", "/"))
            or (sign == ":" and self._word.lower() in _SCHEMES)
            or (sign in _DOTS and self._word.lower() == "www")
            or (self._dotted and sign in "/?#@:\\")
        )
        self._url = self._url or (self._dials and sign not in _DIALLING)
        self._dials = not self._url and (self._dials or (sign == ":" and self._word.lower() == "tel"))
        self._dotted = self._dotted and sign not in _ENDS_A_HOST
        self._label = 0 if sign in _DOTS and self._previous.isalnum() else -1

    def _markdown(self, sign: str) -> None:
        if self._escaped:
            return
        if self._depth:
            if sign == "(":
                self._depth += 1
            elif sign == ")":
                self._depth -= 1
                self._url = self._url and self._depth > 0
        elif sign == "[":
            self._brackets = [*self._brackets[-_DEEPEST:], self._previous == "!"]
        elif sign == "]" and self._brackets:
            self._image = self._brackets.pop()
        elif sign == "(" and (self._previous == "]" or self._word.lower() == "url"):
            self._depth = 1
            self._image = self._image if self._previous == "]" else True

    def _markup(self, sign: str) -> None:
        if self._opening:
            self._opening = False
            self._tag = self._tag or sign in "/!?"
        if not self._tag:
            self._opening = sign == "<"
        elif self._quote:
            self._quote = "" if sign == self._quote else self._quote
        elif sign in "\"'" and self._equals:
            self._quote = sign
        elif sign == ">":
            self._tag = self._url = self._dotted = False
        if not sign.isspace():
            self._equals = sign == "="


_HOST = re.compile(rf"[\w\-%@:+~*&#;\\{_DOTS}]*")
_HOST_GOES_ON = re.compile(rf"(?:\.[\\*_~&#;]*[^\W_]|[{_DOTS}][\\*_~&#;]*[A-Za-z0-9])|&#|&period|%2[eE]")
_FILE = re.compile(r"\.(\w{1,5})[.:;*_]*")
_FILE_KINDS = (  # none of them a top-level domain
    "pdf doc docx xls xlsx ppt pptx odt ods txt csv tsv json jsonl xml yaml yml toml html htm png jpg jpeg gif svg "
    "webp bmp tiff mp3 mp4 wav avi mkv tar gz bak log tex bib eml msg vcf ics js ts java cpp css sql ipynb "
)
_FILES: Final = frozenset(_FILE_KINDS.split())
LONGEST_HOST: Final = 256


def continues_as_host(text: str, end: int, final: bool) -> bool | None:
    """Whether what follows ``text[:end]`` makes it the beginning of an address; None while more text is needed."""
    limit = end + LONGEST_HOST
    match = _HOST.match(text, end, limit)
    stop = match.end() if match else end
    if stop >= limit:
        return True
    if stop == len(text) and not final:
        return None
    host, after = text[end:stop], text[stop : stop + 1]
    if host.endswith(":") and after == "/":
        return True
    file = _FILE.fullmatch(host)
    if file and file.group(1).lower() in _FILES and after not in ("/", "?", "#"):
        return False
    return _HOST_GOES_ON.search(host) is not None
