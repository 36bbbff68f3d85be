"""Placeholder space as a student sees it: the same few placeholders in every conversation, by order of appearance.

A conversation's own stems are keyed, so that nobody outside can link them; to a student they would be noise that it can
only memorise. Numbered anew in every prompt they say nothing of anybody, and all that is to be learnt is to copy them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_bytes
from types import MappingProxyType
from typing import Final

from tacit_clients.egress import Gate
from tacit_privacy.errors import BadInput
from tacit_privacy.pii.policy import RestorePolicy
from tacit_privacy.pii.pseudonyms import grammar
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.restoring.stream import StreamRestorer

_LETTERS: Final = [letter for letter in grammar.STEM_ALPHABET if letter.isalpha()]
_DIGITS: Final = [letter for letter in grammar.STEM_ALPHABET if letter.isdigit()]


def stem(number: int) -> str:
    """The stem of whom or what a text names as the ``number``-th of its type, from 0: a2b3c, b3c4c, c4d5c and so on."""
    turn, low = divmod(number, len(_LETTERS) * len(_DIGITS))
    if turn >= len(_LETTERS):
        raise BadInput("a text names more people or things than a student can tell apart; leave it out")
    letters = [_LETTERS[(low + step) % len(_LETTERS)] for step in range(2)]
    digits = [_DIGITS[(low + low // len(_LETTERS) + step) % len(_DIGITS)] for step in range(2)]
    return f"{letters[0]}{digits[0]}{letters[1]}{digits[1]}{_LETTERS[(turn + 2) % len(_LETTERS)]}"


class Canon:
    """Reads texts of one conversation, the prompt first, and numbers its placeholders as they appear.

    Only placeholders that the conversation issued are renamed; look-alikes are somebody's text, and escaped before.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._issued = {grammar.folded(token): original for token, original in conversation.issued().items()}
        self._fictions = dict(conversation.fictions())
        self._names: dict[str, str] = {}  # type and stem as issued, to those that the student sees
        self._forms: dict[str, list[str]] = {}
        self._originals: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Canon of {len(self._originals)} placeholders>"

    def __len__(self) -> int:
        """How many placeholders it has met."""
        return len(self._originals)

    def read(self, text: str) -> str:
        """``text`` with the student's placeholders."""
        parts, position = list[str](), 0
        for start, end in grammar.cores(text):
            token = self._canonical(text[start:end])
            if token is not None:
                parts += [text[position:start], token]
                position = end
        return "".join((*parts, text[position:]))

    def restorer(self, sinks: RestorePolicy | None) -> StreamRestorer:
        """Puts originals into what the student writes; it knows the placeholders met so far."""
        return StreamRestorer(_Met(self._originals, self._fictions), sinks)

    def _canonical(self, core: str) -> str | None:
        folded, parsed = grammar.folded(core), grammar.parse(core)
        if parsed is None or folded not in self._issued:
            return None
        type = parsed.type.upper()
        if parsed.name not in self._names:
            number = sum(name.rpartition("_")[0] == type for name in self._names.values())
            self._names[parsed.name] = f"{type}_{stem(number)}"
        forms = self._forms.setdefault(parsed.name, [])
        if parsed.form not in forms:
            forms.append(parsed.form)
        form = forms.index(parsed.form)
        token = f"{self._names[parsed.name]}_{grammar.form_word(form)}" if form else self._names[parsed.name]
        self._originals[token] = self._issued[folded]
        return token


class _Met(Conversation):
    """What restoring looks up, under the student's placeholders."""

    def __init__(self, originals: Mapping[str, str], fictions: Mapping[str, str]) -> None:
        super().__init__("student", token_bytes(32))
        self._originals, self._invented = dict(originals), dict(fictions)

    def issued(self) -> Mapping[str, str]:
        return MappingProxyType(self._originals)

    def fictions(self) -> Mapping[str, str]:
        return MappingProxyType(self._invented)


@dataclass(frozen=True, slots=True)
class Redacted:
    """Texts of a conversation as the student sees them. ``met``: placeholders met up to and with each of them."""

    texts: tuple[str, ...] = field(repr=False)
    met: tuple[int, ...]
    canon: Canon


def redacted(gate: Gate, conversation: str, texts: Sequence[str]) -> Redacted | None:
    """By the gate's own redactor and in its own map; None where the policy lets one of ``texts`` not leave. Blocks.

    Raises BadInput where the vault refuses.
    """
    if any(len(text) > gate.policy.detection.max_chars for text in texts):
        return None
    with gate.vault.conversation(conversation, expires_days=gate.policy.conversation.expires_days) as names:
        if gate.redactor is not None:
            done = gate.redactor.redact_many(texts, names)
            if any(each.refused for each in done):
                return None
            texts = [each.text for each in done]
        canon, read, met = Canon(names), list[str](), list[int]()
        for text in texts:
            read.append(canon.read(text))
            met.append(len(canon))
    return Redacted(tuple(read), tuple(met), canon)
