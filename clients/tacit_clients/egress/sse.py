"""Server-sent events, framed on bytes: an event, a line or a character may be cut anywhere by the network."""

import contextlib
from collections.abc import Iterator

from tacit_privacy.errors import UpstreamFailed

_BOM = b"\xef\xbb\xbf"


class Framer:
    """Bytes in, the data of whole events out (WHATWG HTML, 9.2.6). Nothing is decoded before its line is whole.

    A line end is never part of a longer UTF-8 sequence, so a line of bytes decodes by itself. Raises UpstreamFailed
    for bytes that are not UTF-8 and for an event longer than ``limit``.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._rest, self._data, self._size = limit, b"", list[str](), 0
        self._first, self._after_return = True, False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The events that ``chunk`` ends, to be taken to the last: those before a bad one come before its error."""
        if self._after_return and chunk:
            chunk = chunk.removeprefix(b"\n")  # the second half of a line end that was cut in two
            self._after_return = False
        held = self._rest + chunk
        if self._first:
            if len(held) < len(_BOM) and _BOM.startswith(held):
                self._rest = held
                return
            held, self._first = held.removeprefix(_BOM), False
        self._after_return = held.endswith(b"\r")
        lines = held.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if (event := self._line(line)) is not None:
                yield event
        if len(self._rest) + self._size > self._limit:
            raise UpstreamFailed("malformed")

    @property
    def pending(self) -> bool:
        """Whether an event has begun and not ended."""
        return bool(self._rest or self._data)

    def last(self) -> str:
        """The data of an event that has no blank line behind it, at the stream's end. Raises UpstreamFailed."""
        line, self._rest = self._rest, b""
        self._line(line)
        return "\n".join(self._data)

    def _line(self, line: bytes) -> str | None:
        if not line:
            event, self._data, self._size = self._data, [], 0
            return "\n".join(event) if event else None
        name, _, value = line.partition(b":")
        if name != b"data":
            return None  # comments, event, id, retry
        self._size += len(value)
        if self._size > self._limit:
            raise UpstreamFailed("malformed")
        self._data.append(decoded(value.removeprefix(b" ")))
        return None


def decoded(raw: bytes) -> str:
    """``raw`` as UTF-8. Raises UpstreamFailed, outside the handler: the decoder's own error carries the bytes."""
    text: str | None = None
    with contextlib.suppress(UnicodeDecodeError):
        text = raw.decode("utf-8")
    if text is None:
        raise UpstreamFailed("malformed")
    return text
