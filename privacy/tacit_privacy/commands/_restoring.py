"""What ``tacit restore`` does with text: streams it, and keeps up with a ``tacit redact`` that is still at work."""

from pathlib import Path
from typing import Any

from tacit_privacy.commands._redacting import whole
from tacit_privacy.commands._rows import rows as read_rows
from tacit_privacy.commands._streams import Chain, Lines, emit, readers
from tacit_privacy.commands._vaults import quoted
from tacit_privacy.errors import BadInput
from tacit_privacy.pii.policy import RestorePolicy
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.restoring.stream import StreamRestorer
from tacit_privacy.pii.vault.store import Vault


class Live:
    """A conversation as it stands in the vault now. What ``tacit redact`` has written, it has saved before."""

    def __init__(self, vault: Vault, identifier: str, sinks: RestorePolicy | None) -> None:
        self._vault, self._identifier, self.sinks = vault, identifier, sinks
        self._version = 0
        self._conversation: Conversation | None = None
        self._counts = {"restored": 0, "unknown": 0, "malformed": 0, "withheld": 0}

    def conversation(self) -> tuple[Conversation, bool]:
        """The conversation, and whether it changed since the last call. Raises BadInput where there is none."""
        version = self._vault.version(self._identifier)
        if self._conversation is not None and version in (0, self._version):  # 0: erased; go on with what is known
            return self._conversation, False
        found = self._vault.peek(self._identifier)
        if found is None:
            raise BadInput(
                f"the vault has no conversation {quoted(self._identifier)}, or it has expired; "
                "name the one of tacit redact"
            )
        if self._conversation is None:
            self._vault.touch(self._identifier)
            version = self._vault.version(self._identifier)
        self._conversation, self._version = found, version
        return found, True

    def restorer(self) -> StreamRestorer:
        return StreamRestorer(self.conversation()[0], self.sinks)

    def count(self, stream: StreamRestorer) -> None:
        for name in self._counts:
            self._counts[name] += getattr(stream, name)

    def counts(self) -> dict[str, int]:
        return dict(self._counts)

    def summary(self) -> str:
        """One line; what could not be restored is named."""
        words = {
            "unknown": "never issued here",
            "malformed": "changed or cut short",
            "withheld": "left in addresses by policy",
        }
        left = [f"{self._counts[name]} {said}" for name, said in words.items() if self._counts[name]]
        return f"restored {self._counts['restored']} placeholders" + (f"; {', '.join(left)}" if left else "")


def plain(files: list[Path] | None, live: Live) -> None:
    """One text of any length."""
    chain = Chain(files)
    stream: StreamRestorer | None = None
    while piece := chain.read():
        conversation, changed = live.conversation()
        if stream is None:
            stream = StreamRestorer(conversation, live.sinks)
        elif changed:
            stream.renew(conversation)
        emit(stream.feed(piece))
    if stream is not None:
        emit(stream.close())
        live.count(stream)


def rows(files: list[Path] | None, fields: tuple[str, ...], replace: bool, live: Live) -> None:
    """Row by row. Raises BadInput where one is broken, when those before it were written."""
    for reader in readers(files):
        lines = Lines(reader)
        ready: list[str] = []
        try:
            for row in read_rows(lines, reader.name, fields, () if replace else ("restored",)):
                stream = live.restorer()
                text = stream.feed(row.text) + stream.close()
                live.count(stream)
                ready.append(row.with_text(text) if replace else row.with_fields(restored=text))
                if len(ready) >= 64 or lines.waits():
                    emit("".join(ready))
                    ready = []
        finally:
            emit("".join(ready))


def single(files: list[Path] | None, most: int, live: Live) -> dict[str, Any]:
    """One document of one text."""
    text, _ = whole(files, most)
    stream = live.restorer()
    restored = stream.feed(text) + stream.close()
    live.count(stream)
    counts = live.counts()
    return {"restored": restored, "restored_count": counts.pop("restored"), **counts}
