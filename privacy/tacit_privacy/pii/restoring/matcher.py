"""What a conversation has issued so far, in the shape that restoring looks it up. No expression is built from data."""

import weakref
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from tacit_privacy.pii.pseudonyms import grammar
from tacit_privacy.pii.pseudonyms.conversation import Conversation


@dataclass(slots=True)
class Node:
    """One place in the trie of surrogates."""

    children: "dict[str, Node]" = field(default_factory=dict)
    original: str | None = None  # of the surrogate that ends here


@dataclass(frozen=True, slots=True)
class Matcher:
    """A snapshot: what is issued later is not restored by who holds this."""

    tokens: dict[str, str]  # folded placeholder -> original
    types: frozenset[str]  # lower case
    beginnings: frozenset[str]  # every beginning of ``type_``
    first_words: frozenset[str]  # what the first run of letters and digits of a placeholder can be
    ordered: tuple[str, ...]  # the folded placeholders, sorted
    longest: int  # of a folded placeholder with any form
    stem_ends: tuple[int, ...] = ()  # the lengths of folded placeholders without a form
    fictions: Node = field(default_factory=Node)  # the surrogates, by character

    @classmethod
    def of(cls, conversation: Conversation) -> "Matcher":
        """The snapshot of ``conversation`` as it is now."""
        with conversation.lock:
            version, last = _last.get(conversation, (-1, None))
            if last is None or version != conversation.version:
                last = cls._made(conversation.issued(), conversation.fictions())
                _last[conversation] = conversation.version, last
            return last

    @classmethod
    def _made(cls, issued: Mapping[str, str], fictions: Mapping[str, str]) -> "Matcher":
        tokens = {grammar.folded(token): original for token, original in issued.items()}
        names = {parsed.name for parsed in map(grammar.parse, tokens) if parsed is not None}
        types = frozenset(name.rpartition("_")[0] for name in names)
        return cls(
            tokens=tokens,
            types=types,
            beginnings=frozenset(f"{type}_"[:end] for type in types for end in range(1, len(type) + 2)),
            first_words=frozenset(type.partition("_")[0] for type in types),
            ordered=tuple(sorted(tokens)),
            longest=max(map(len, tokens), default=0) + 1 + grammar.LONGEST_FORM,
            stem_ends=tuple(sorted({len(name) for name in names})),
            fictions=_trie(fictions),
        )

    def plausible(self, folded: str) -> bool:
        """Whether a placeholder of an issued type could begin with, or be, ``folded``."""
        if len(folded) > self.longest:
            return False
        if folded in self.beginnings:
            return True
        return any(folded[:at] in self.types for at in range(1, len(folded)) if folded[at] == "_")

    def cut_short(self, folded: str) -> bool:
        """Whether ``folded`` is the proper beginning of a placeholder, the type and its underscore at least."""
        at = bisect_left(self.ordered, folded)
        begins = at < len(self.ordered) and self.ordered[at].startswith(folded) and self.ordered[at] != folded
        return begins and any(folded[:end] in self.types for end in range(1, len(folded)) if folded[end] == "_")

    def overgrown(self, folded: str) -> bool:
        """Whether ``folded`` is an issued placeholder with something glued to it."""
        return any(folded[:end] in self.tokens for end in self.stem_ends if end < len(folded))


_last: "weakref.WeakKeyDictionary[Conversation, tuple[int, Matcher]]" = weakref.WeakKeyDictionary()


def _trie(fictions: Mapping[str, str]) -> Node:
    root = Node()
    for fiction, original in fictions.items():
        node = root
        for character in fiction:
            node = node.children.setdefault(character, Node())
        node.original = original
    return root
