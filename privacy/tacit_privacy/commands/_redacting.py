"""What ``tacit redact`` does with text: in which parts it is searched, replaced and written."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tacit_privacy.commands._blocks import Block, blocks
from tacit_privacy.commands._detecting import Detecting, Found, Job, Told
from tacit_privacy.commands._rows import Batch, batches
from tacit_privacy.commands._streams import Chain, Lines, emit, readers
from tacit_privacy.errors import BadInput, TextRefused
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.redactor import Redaction, Redactor

_RUN = re.compile(r"[A-Za-z0-9_\\]*")
_MOST_HELD = 1 << 20  # characters that wait for the vault


class Replacing:
    """Replaces what was found elsewhere, in one conversation, in the order of the input."""

    def __init__(self, policy: RedactionPolicy, conversation: Conversation) -> None:
        self._told = Told()
        self._redactor = Redactor(self._told, policy)
        self._conversation, self._most = conversation, policy.detection.max_chars
        self.masked: Counter[str] = Counter()

    def replace(self, text: str, found: Sequence[Entity], place: Callable[[int], str]) -> Redaction:
        """``place`` words where in the input an offset of ``text`` is. Raises TextRefused, BadInput."""
        if len(text) > self._most:
            raise BadInput(
                f"{place(0)}: {len(text)} characters are more than detection.max_chars {self._most}; split it"
            )
        self._told.tell(text, list(found))
        done = self._redactor.redact(text, self._conversation)
        if done.refused is not None:
            at = next((entity.start for entity in done.entities if entity.type == done.refused), 0)
            action = "is only for this device" if done.local_only else "is not to leave"
            raise TextRefused(
                "local_only" if done.local_only else "block",
                f"{place(at)} holds a {done.refused}, which by policy {action}; take it out, or change the policy",
            )
        self.masked.update(done.masked)
        return done


class Form(Protocol):
    """A way to read: parts that are searched in one go, and how each is written."""

    def jobs(self) -> Iterator[Any]: ...

    def waits(self) -> bool: ...

    def written(self, job: Any, found: Found, replacing: Replacing) -> str: ...


@dataclass(frozen=True)
class Piece:
    """A block, or a line, of the input."""

    block: Block

    @property
    def texts(self) -> list[str]:
        return [self.block.window]


class Plain:
    """Text in blocks, or line by line. An entity belongs to the block that it begins in, and is written with it."""

    def __init__(self, files: list[Path] | None, by_line: bool = False) -> None:
        self._chain, self._by_line = Chain(files), by_line
        self._waits = self._chain.waits
        self._taken = 0

    def jobs(self) -> Iterator[Piece]:
        if self._by_line:
            lines = Lines(self._chain)
            self._waits = lines.waits
            for line in lines:
                yield Piece(Block(line, 0, len(line), lines.number))
        else:
            yield from map(Piece, blocks(self._chain))

    def waits(self) -> bool:
        return self._waits()

    def written(self, job: Piece, found: Found, replacing: Replacing) -> str:
        block, window = job.block, job.block.window
        start = block.start + self._taken
        # what the last block's search found shorter is cut, not dropped: its rest is still to be written
        cut = (replace(entity, start=max(start, entity.start)) for entity in found[0] if entity.end > start)
        mine = [entity for entity in cut if entity.start < block.end]
        end = max([block.end, start, *(entity.end for entity in mine)])
        if end > block.end and (run := _RUN.match(window, end)):
            end = run.end()  # what replaces takes in the rest of a word
        self._taken = end - block.end
        here = [Entity(e.start - start, e.end - start, e.type, e.score) for e in mine]

        def place(at: int) -> str:
            return self._chain.place(block.line + window.count("\n", block.start, start + at))

        return replacing.replace(window[start:end], here, place).text


class Rows:
    """JSONL: each row gains ``redacted`` and ``entities``; or its text is replaced."""

    def __init__(self, files: list[Path] | None, field: str, replace: bool) -> None:
        self._files, self._field, self._replace = files, field, replace
        self._waits: Callable[[], bool] = lambda: False

    def jobs(self) -> Iterator[Batch]:
        for reader in readers(self._files):
            lines = Lines(reader)
            self._waits = lines.waits
            adds = ("entities",) if self._replace else ("redacted", "entities")
            yield from batches(reader, lines, reader.name, (self._field,), adds)

    def waits(self) -> bool:
        return self._waits()

    def written(self, job: Batch, found: Found, replacing: Replacing) -> str:
        """Raises Interrupted, which holds the rows before the one that cannot be written."""
        lines: list[str] = []
        for row, entities in zip(job.rows, found, strict=True):
            try:
                done = replacing.replace(row.text, entities, row.where)
            except (TextRefused, BadInput) as error:
                raise Interrupted("".join(lines), error) from None
            found_here = [entity.row() for entity in done.entities]
            if self._replace:
                lines.append(row.with_text(done.text, entities=found_here))
            else:
                lines.append(row.with_fields(redacted=done.text, entities=found_here))
        return "".join(lines)


class Interrupted(Exception):
    """Some rows of a batch are written, then there is an error."""

    def __init__(self, partial: str, error: TextRefused | BadInput) -> None:
        super().__init__()
        self.partial, self.error = partial, error


@dataclass
class Outbox:
    """Emits only what the vault has kept: whoever reads a placeholder can restore it, whatever happens to this process.

    Saving a large map takes a while, so what is written meanwhile waits, for at most four times as long.
    """

    conversation: Conversation
    save: Callable[[], None]
    _saved: int = -1
    _next: float = 0.0
    _waiting: list[str] = field(default_factory=list)
    _held: int = 0

    def put(self, text: str, urgent: bool) -> None:
        self._waiting.append(text)
        self._held += len(text)
        if urgent or self._held >= _MOST_HELD or time.monotonic() >= self._next:
            self.flush()

    def flush(self) -> None:
        if self.conversation.version != self._saved:
            begun = time.monotonic()
            version = self.conversation.version
            self.save()
            self._saved, self._next = version, time.monotonic() + 4 * (time.monotonic() - begun)
        waiting, self._waiting, self._held = self._waiting, [], 0
        emit("".join(waiting))


def stream(form: Form, replacing: Replacing, detecting: Detecting[Job], outbox: Outbox) -> None:
    """The whole road, from input to stdout. Raises BadInput, TextRefused when everything before it was written."""
    try:
        for job, found in detecting.in_order(form.jobs(), form.waits):
            try:
                text = form.written(job, found, replacing)
            except Interrupted as interrupted:
                outbox.put(interrupted.partial, urgent=True)
                raise interrupted.error from None
            outbox.put(text, urgent=form.waits())
    except (BadInput, TextRefused):
        outbox.flush()
        raise
    outbox.flush()


def whole(files: list[Path] | None, most: int) -> tuple[str, Chain]:
    """All of the input, for ``--json``, and where it comes from. Raises BadInput where that is too long."""
    parts, held, chain = [], 0, Chain(files)
    while piece := chain.read():
        parts.append(piece)
        held += len(piece)
        if held > most:
            raise BadInput(f"the text has more than {most} characters; leave out --json, or use --jsonl")
    return "".join(parts), chain


def single(text: str, source: Chain, policy: RedactionPolicy, replacing: Replacing) -> dict[str, Any]:
    """One document of one text."""
    with Detecting[Batch](policy, 1) as detecting:
        found = detecting.one(text)
    done = replacing.replace(text, found, lambda at: source.place(1 + text.count("\n", 0, at)))
    entities = [entity.row() for entity in done.entities]
    return {"redacted": done.text, "entities": entities, "masked": dict(done.masked)}
