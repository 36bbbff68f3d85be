"""Text in and out of ``tacit redact`` and ``tacit restore``: any length, strict UTF-8, no more held than asked for."""

import codecs
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tacit_privacy.errors import BadInput

PIECE = 1 << 16  # bytes per read
LONGEST_LINE = 1 << 26  # characters of one JSONL row


class Reader:
    """One file, or stdin, as text. ``\\r\\n`` stays what it is."""

    def __init__(self, path: Path | None) -> None:
        self.name = "stdin" if path is None else str(path)
        if path is None and sys.stdin is None:  # whoever started the command closed it
            raise BadInput("cannot read stdin: it is closed; name files")
        try:
            self._descriptor = sys.stdin.fileno() if path is None else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise BadInput(f"cannot read {self.name}: {(error.strerror or 'it cannot be opened').lower()}") from error
        self._owned, self._closed = path is not None, False
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._bytes = 0
        self._broken: BadInput | None = None

    def read(self) -> str:
        """The next piece, "" at the end. Raises BadInput behind the last character before a byte that is not UTF-8."""
        while True:
            if self._broken is not None:
                raise self._broken
            try:
                data = os.read(self._descriptor, PIECE)
            except IsADirectoryError as error:
                raise BadInput(f"cannot read {self.name}: it is a folder; name files") from error
            text = self._decoded(data)
            if text or (not data and self._broken is None):
                return text

    def waits(self) -> bool:
        """Whether ``read`` would wait for somebody to write."""
        return not self._closed and not select.select([self._descriptor], [], [], 0)[0]

    def close(self) -> None:
        if self._owned and not self._closed:
            os.close(self._descriptor)
        self._closed = True

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *anything: object) -> None:
        self.close()

    def _decoded(self, data: bytes) -> str:
        kept = self._decoder.getstate()[0]
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            offset = self._bytes - len(kept) + error.start
            self._broken = BadInput(
                f"{self.name} is not UTF-8 text at byte {offset} (counted from 0); convert it, as with iconv -t UTF-8"
            )
            text = (kept + data)[: error.start].decode("utf-8")
        self._bytes += len(data)
        return text


class Text(Protocol):
    """Where text comes from: a reader, or a chain of them."""

    @property
    def name(self) -> str: ...

    def read(self) -> str: ...

    def waits(self) -> bool: ...


class Chain:
    """Files as the one text that ``cat`` makes of them: a word may begin in one and end in the next."""

    def __init__(self, files: list[Path] | None) -> None:
        self._readers = readers(files)
        self._reader = next(self._readers, None)
        self._begins = [(0, self.name)]  # at which line, counted from 0 over all files, a file begins
        self._line = 0

    @property
    def name(self) -> str:
        return self._reader.name if self._reader is not None else "stdin"

    def read(self) -> str:
        """The next piece, "" at the end of the last file. Raises BadInput as a reader does."""
        while self._reader is not None:
            text = self._reader.read()
            if text:
                self._line += text.count("\n")
                return text
            self._reader = next(self._readers, None)
            if self._reader is not None:
                self._begins.append((self._line, self.name))
        return ""

    def waits(self) -> bool:
        return self._reader is not None and self._reader.waits()

    def place(self, line: int) -> str:
        """``FILE line N`` for a line counted from 1 over all files."""
        first, name = next(begin for begin in reversed(self._begins) if begin[0] < line)
        return f"{name} line {line - first}"


class Lines:
    """A reader's lines, each with its end; a last line need not have one."""

    def __init__(self, reader: Text) -> None:
        self._reader = reader
        self._lines: list[str] = []  # complete ones, last first
        self._rest: list[str] = []
        self._held = 0
        self.number = 0  # of the line that was given last
        self._ended = False

    def waits(self) -> bool:
        """Whether the next line would have to be waited for."""
        return not self._lines and not self._ended and self._reader.waits()

    def __iter__(self) -> Iterator[str]:
        while True:
            while self._lines:
                self.number += 1
                yield self._lines.pop()
            if self._ended:
                return
            self._read()

    def _read(self) -> None:
        piece = self._reader.read()
        self._ended = not piece
        *whole, rest = piece.split("\n")
        if whole:
            whole[0] = "".join((*self._rest, whole[0]))
            self._lines = [line + "\n" for line in reversed(whole)]
            self._rest, self._held = [], 0
        if rest:
            self._rest.append(rest)
            self._held += len(rest)
        if self._ended and self._rest:
            self._lines = ["".join(self._rest)]
            self._rest = []
        if self._held > LONGEST_LINE:
            number = self.number + len(self._lines) + 1
            raise BadInput(f"{self._reader.name} line {number} has more than {LONGEST_LINE} characters; split it")


def readers(files: list[Path] | None) -> Iterator[Reader]:
    """One after the other, as ``cat`` does; no file, or ``-``, is stdin. Raises BadInput."""
    for path in files or [Path("-")]:
        with Reader(None if path == Path("-") else path) as reader:
            yield reader


def check_files(files: list[Path] | None) -> None:
    """Before anything is made: raises BadInput for a file that cannot be read, and for a folder."""
    for path in files or []:
        if path == Path("-"):
            continue
        if path.is_dir():
            raise BadInput(f"cannot read {path}: it is a folder; name files")
        if not path.is_fifo():  # opening one would wait for its writer
            with Reader(path):
                pass


def await_stdin(files: list[Path] | None) -> None:
    """Wait until another process has written to stdin, where that is read first."""
    if (files or [Path("-")])[0] == Path("-") and sys.stdin is not None and not sys.stdin.isatty():
        select.select([sys.stdin.fileno()], [], [])


def emit(text: str) -> None:
    """To stdout, at once, as UTF-8 whatever the locale. A lone surrogate, which JSON can hold, becomes ``?``."""
    if text:
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        sys.stdout.buffer.flush()
