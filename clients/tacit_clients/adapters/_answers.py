"""What the adapters share: which strings of a chat body are the protocol's own, and the state of an answer's fields."""

from collections.abc import Hashable

from tacit_privacy.pii.api import TextRedactor
from tacit_privacy.pii.restoring.stream import StreamRestorer

_WORDS = frozenset(("role", "type", "tool_call_id", "id", "call_id", "detail", "format"))
TEXTS = ("content", "reasoning_content", "refusal")


def structural(place: tuple[str | int, ...]) -> bool:
    """Whether the string at ``place`` of a chat body must stay: roles, types, identifiers, names of tools."""
    last = place[-1]
    if last == "name":  # of a tool; a message's own name is a person's
        return any(word in place for word in ("function", "tools", "functions", "tool_choice", "tool_calls"))
    if isinstance(last, int) and "required" in place:
        return True
    return last in _WORDS and "arguments" not in place and "args" not in place


class Answer:
    """One answer: a restorer for each of its fields, so that placeholders may arrive in pieces."""

    def __init__(self, redactor: TextRedactor, conversation: str) -> None:
        self._redactor, self._conversation = redactor, conversation
        self._streams: dict[Hashable, StreamRestorer] = {}

    def text(self, field: Hashable, piece: str) -> str:
        """What can be shown of a text."""
        return self._stream(field, json=False).feed(piece)

    def arguments(self, field: Hashable, tool: str, piece: str) -> str:
        """What can be handed on of a tool's arguments, which are restored where the policy names the tool."""
        if field not in self._streams and not self._redactor.policy.restore.tool(tool):
            return piece
        return self._stream(field, json=True).feed(piece)

    def rest(self, field: Hashable) -> str:
        """What was held back of a field that has ended."""
        stream = self._streams.pop(field, None)
        return stream.close() if stream is not None else ""

    def open_fields(self) -> list[Hashable]:
        return list(self._streams)

    def _stream(self, field: Hashable, json: bool) -> StreamRestorer:
        if field not in self._streams:
            sinks = self._redactor.policy.restore
            self._streams[field] = self._redactor.restorer(self._conversation, sinks, json_string=json)
        return self._streams[field]
