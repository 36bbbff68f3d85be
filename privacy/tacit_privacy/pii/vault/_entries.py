"""One conversation as it stands in the file: opened, changed, sealed again."""

import json
import secrets
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.pseudonyms.grammar import type_word
from tacit_privacy.pii.vault._master import Master
from tacit_privacy.pii.vault.sealing import KEY_BYTES, Sealer, derive

_TABLE = "conversations"
COLUMNS = "handle, version, data_key, about, state"
_STALE_S = 3600.0  # a use is noted when the last one noted is older: reading need not write


class Row(NamedTuple):
    """A conversation in the file; ``COLUMNS`` in their order."""

    handle: bytes
    version: int
    data_key: bytes
    about: bytes
    state: bytes


@dataclass(frozen=True)
class About:
    """What is known of a conversation beside its map; sealed like the map."""

    identifier: str = field(repr=False)
    created: float
    used: float
    lasts_s: float | None  # after its last use; None: for ever
    size: int = 0

    @property
    def expires(self) -> float | None:
        return None if self.lasts_s is None else self.used + self.lasts_s

    def expired(self, now: float) -> bool:
        return self.expires is not None and self.expires <= now

    def stale(self, now: float) -> bool:
        """Whether its last use must be noted again."""
        return now - self.used > min(_STALE_S, _STALE_S if self.lasts_s is None else self.lasts_s / 100)


@dataclass(frozen=True)
class Entry:
    """A row, opened. Version 0: not written yet."""

    handle: bytes
    version: int
    data_key: bytes = field(repr=False)
    about: About
    state: bytes = field(repr=False)

    @classmethod
    def new(cls, handle: bytes, about: About) -> "Entry":
        return cls(handle, 0, secrets.token_bytes(KEY_BYTES), about, b"")

    @classmethod
    def opened(cls, master: Master, row: Row) -> "Entry":
        """Raises BadInput where a seal does not fit."""
        data_key = master.unwrap(row.data_key, _TABLE, row.handle)
        sealer = _sealer(data_key)
        about = _about(master.opened(sealer, row.about, _TABLE, "about", row.handle, row.version))
        state = master.opened(sealer, row.state, _TABLE, "state", row.handle, row.version)
        return cls(row.handle, row.version, data_key, about, state)

    @staticmethod
    def about_only(master: Master, row: Row) -> About:
        """Without opening the map. Raises BadInput where a seal does not fit."""
        sealer = _sealer(master.unwrap(row.data_key, _TABLE, row.handle))
        return _about(master.opened(sealer, row.about, _TABLE, "about", row.handle, row.version))

    def conversation(self) -> Conversation:
        """A new object with this map. Its placeholders come from a key that only this conversation has."""
        key = derive(self.data_key, "placeholders")
        if not self.version:
            return Conversation(self.about.identifier, key)
        return Conversation.from_state(self.about.identifier, key, self.state)

    def lasting(self, lasts_s: float | None) -> "Entry":
        return replace(self, about=replace(self.about, lasts_s=lasts_s))

    def following(self, conversation: Conversation, now: float) -> "Entry":
        """The row after this one."""
        about = replace(self.about, used=now, size=len(conversation.issued()))
        return replace(self, version=self.version + 1, about=about, state=conversation.state())

    def sealed(self, master: Master) -> Row:
        """For this place and version."""
        sealer, place = _sealer(self.data_key), (master.identity, _TABLE)
        about = self.about
        told = json.dumps([about.identifier, about.created, about.used, about.lasts_s, about.size]).encode()
        return Row(
            self.handle,
            self.version,
            master.wrap(self.data_key, _TABLE, self.handle),
            sealer.seal(told, *place, "about", self.handle, self.version),
            sealer.seal(self.state, *place, "state", self.handle, self.version),
        )


def originals_of(conversation: Conversation, types: frozenset[str]) -> frozenset[str]:
    """The originals of these types, whether placeholders or made-up values stand for them."""
    starts = tuple(f"{type_word(name)}_" for name in types)
    found = {value for token, value in conversation.issued().items() if token.startswith(starts)}
    for value in conversation.fictions().values():
        if any(entity.type in types for entity in conversation.known(value)):
            found.add(value)
    return frozenset(found)


def _sealer(data_key: bytes) -> Sealer:
    return Sealer(derive(data_key, "seal"))


def _about(raw: bytes) -> About:
    try:
        return About(*json.loads(raw))
    except (ValueError, TypeError):
        raise BadInput("the vault is damaged: an entry cannot be read; restore it from a copy or erase it") from None
