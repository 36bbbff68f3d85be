"""The two ways to restore an answer: whole, or as it streams in."""

from dataclasses import dataclass

from tacit_privacy.pii.policy import RestorePolicy
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.restoring.json_text import JsonText
from tacit_privacy.pii.restoring.matcher import Matcher
from tacit_privacy.pii.restoring.scanner import Counts, Scanner
from tacit_privacy.pii.restoring.zones import Zones


@dataclass(frozen=True, slots=True)
class Restored:
    """A text with originals in place, and what happened to its placeholders (see Counts)."""

    text: str
    restored: int
    unknown: int
    malformed: int
    withheld: int


class StreamRestorer:
    """Restores one field of one answer as it streams in; the output does not depend on how the stream was cut.

    ``sinks`` None restores everywhere. ``json_string``: the text is JSON (tool arguments, say), and originals are
    escaped for the string they stand in. ``json_asked``: JSON was asked for; a text that begins as none is read as
    text, and nothing is put into what would be a picture or markup were the JSON shown as it is. What the conversation
    issues later is not restored before ``renew``.
    """

    def __init__(
        self,
        conversation: Conversation,
        sinks: RestorePolicy | None = None,
        json_string: bool = False,
        *,
        json_asked: bool = False,
    ) -> None:
        self._counts = Counts()
        matcher = Matcher.of(conversation)
        self._road: JsonText | Scanner
        if json_string or json_asked:
            self._road = JsonText(matcher, sinks, self._counts, around=Zones() if json_asked else None)
        else:
            self._road = Scanner(matcher, sinks, self._counts)

    def feed(self, text: str) -> str:
        """What can be emitted now."""
        return self._road.feed(text)

    def close(self) -> str:
        """The rest: what was held back, as it is. Never completes a placeholder that was cut short."""
        return self._road.close()

    def renew(self, conversation: Conversation) -> None:
        """From the next ``feed`` on restore what was issued meanwhile, too."""
        self._road.renew(Matcher.of(conversation))

    @property
    def held(self) -> int:
        """Characters held back."""
        return self._road.held

    @property
    def restored(self) -> int:
        """Placeholders restored so far."""
        return self._counts.restored

    @property
    def unknown(self) -> int:
        """Placeholders of an issued type that were never issued."""
        return self._counts.unknown

    @property
    def malformed(self) -> int:
        """Placeholders cut short by the stream's end, or with letters glued to them."""
        return self._counts.malformed

    @property
    def withheld(self) -> int:
        """Placeholders left as they are since they stand in an address."""
        return self._counts.withheld


def restore(
    text: str, conversation: Conversation, sinks: RestorePolicy | None = None, json_string: bool = False
) -> Restored:
    """``text`` with issued placeholders replaced by their originals, where ``sinks`` allows; None allows everywhere."""
    stream = StreamRestorer(conversation, sinks, json_string)
    whole = stream.feed(text) + stream.close()
    return Restored(whole, stream.restored, stream.unknown, stream.malformed, stream.withheld)
