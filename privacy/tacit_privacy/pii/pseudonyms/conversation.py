"""One conversation's map between what identifies people and what stands for it outside the device."""

import hmac
import json
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn, Self

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.pseudonyms import grammar
from tacit_privacy.pii.pseudonyms.fictions import mentioned
from tacit_privacy.pii.pseudonyms.folding import Folded
from tacit_privacy.pii.pseudonyms.known import KnownValues
from tacit_privacy.pii.pseudonyms.people import LINKED_TYPES, Bearer, Name, Register, name_of
from tacit_privacy.pii.pseudonyms.surrogates import Free, Surrogates

KEY_BYTES: Final = 32
STATE_VERSION: Final = 1
_LETTERS: Final = bytes(ord(grammar.STEM_ALPHABET[byte % 32]) for byte in range(256))
_MOST_DIGESTS: Final = 16  # one in three million has no stem: a digit comes too late in it
MOST_FORMS: Final = 700  # surface forms of one stem; a further one gets a stem of its own


class Conversation:
    """Issues placeholders and remembers what they stand for. Safe to use from several threads.

    The same value has the same placeholder for as long as the conversation lives; another conversation's key gives
    another one. Nothing that prints, logs, copies or pickles this object gets at a value.
    """

    def __init__(self, identifier: str, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise BadInput(f"a conversation's key has {KEY_BYTES} bytes, not {len(key)}")
        self.identifier = identifier
        self.version = 0  # grows with each new issue
        self.lock = threading.RLock()
        self._key = key
        self._bearers: list[Bearer] = []
        self._registers = {type: Register(type) for type in LINKED_TYPES}
        self._types: set[str] = set()  # as placeholders spell them, in lower case
        self._by_key: dict[tuple[str, str], list[Bearer]] = {}
        self._stems: set[str] = set()
        self._tokens: dict[str, str] = {}  # placeholder -> original
        self._folded: dict[str, str] = {}  # the same, as grammar.folded looks it up
        self._surrogates = Surrogates(self)
        self._known = KnownValues()

    # --- issuing

    def placeholder(self, type: str, surface: str) -> str:
        """The placeholder of ``surface``; issued now if it is new."""
        with self.lock:
            bearer = self.bearer(type, surface)
            if surface in bearer.forms:
                return self._token(bearer, bearer.forms.index(surface))
            bearer.forms.append(surface)
            self._known.add(type, surface)
            token = self._token(bearer, len(bearer.forms) - 1)
            self._tokens[token] = self._folded[grammar.folded(token)] = surface
            self.version += 1
            return token

    def surrogate(self, type: str, surface: str, free: Free, digits: bool = False) -> str | None:
        """A made-up value of the same kind in place of ``surface``, or with ``digits`` the same shape in other digits.

        ``free`` says whether a value is in none of the texts at hand. None when nothing fits: use a placeholder.
        """
        with self.lock:
            if digits:
                made = self._surrogates.formatted(type, surface, self._nobodys(free))
            else:
                made = self._surrogates.surrogate(self.bearer(type, surface), surface, self._nobodys(free))
            self._known.add(type, surface)
            self.version += 1
            return made

    def _nobodys(self, free: Free) -> Free:
        return lambda value: free(value) and not self._known.touches(value)

    def mentioned(self, folded: str) -> None:
        """Somebody's own words are never made up later on. ``folded``: what stays of a text, folded."""
        with self.lock:
            self._surrogates.seen |= mentioned(folded)

    def bearer(self, type: str, surface: str) -> Bearer:
        """Who or what ``surface`` stands for, made known if new. Hold the lock."""
        name = name_of(type, surface)
        if type in LINKED_TYPES:
            found = self._registers[type].find(name)
        else:
            same = self._by_key.get((type, name.key), [])
            found = same[-1] if same else None
        if found is None or (len(found.forms) >= MOST_FORMS and surface not in found.forms):
            return self._enter(Bearer(type, self._new_stem(type, name.key), name, gender=name.gender))
        found.gender = found.gender or name.gender
        if name.full and not found.known_as.full:
            found.full = name
            self._registers[type].add(found)
        return found

    def _enter(self, bearer: Bearer) -> Bearer:
        self._stems.add(bearer.stem)
        self._bearers.append(bearer)
        self._types.add(grammar.type_word(bearer.type).lower())
        if bearer.type in LINKED_TYPES:
            self._registers[bearer.type].add(bearer)
        self._by_key.setdefault((bearer.type, bearer.name.key), []).append(bearer)
        return bearer

    def _new_stem(self, type: str, key: str) -> str:
        """Five letters of the value's keyed digest; more, if another value has those."""
        for attempt in range(_MOST_DIGESTS):
            again = (str(attempt),) if attempt else ()
            letters = self.digest("stem", type, key, *again).translate(_LETTERS).decode("ascii")
            for start in range(grammar.LONGEST_STEM):
                if not grammar.is_stem(letters[start : start + grammar.SHORTEST_STEM]):
                    continue
                for length in range(grammar.SHORTEST_STEM, min(grammar.LONGEST_STEM, len(letters) - start) + 1):
                    if letters[start : start + length] not in self._stems:
                        return letters[start : start + length]
        raise BadInput("the conversation holds more values than it can tell apart; begin another one")

    def digest(self, *parts: str) -> bytes:
        """64 keyed bytes of ``parts``: two HMAC-SHA256 blocks, each part preceded by its length."""
        message = b"".join(
            len(raw).to_bytes(8, "big") + raw for raw in (p.encode("utf-8", "surrogatepass") for p in parts)
        )
        return b"".join(hmac.digest(self._key, bytes([block]) + message, "sha256") for block in range(2))

    @staticmethod
    def _token(bearer: Bearer, form: int) -> str:
        token = f"{grammar.type_word(bearer.type)}_{bearer.stem}"
        return f"{token}_{grammar.form_word(form)}" if form else token

    # --- looking up

    def original(self, placeholder: str) -> str | None:
        """What ``placeholder``, in any case, stands for; the canonical form for a form that was never issued."""
        token = grammar.parse(placeholder)
        with self.lock:
            exact = self._surrogates.originals.get(placeholder) or self._folded.get(grammar.folded(placeholder))
            return exact if exact is not None or token is None else self._folded.get(token.name)

    def issued(self) -> Mapping[str, str]:
        """Every placeholder with its original, as of now."""
        with self.lock:
            return MappingProxyType(dict(self._tokens))

    def fictions(self) -> Mapping[str, str]:
        """Every surrogate with its original, as of now."""
        with self.lock:
            return MappingProxyType(dict(self._surrogates.originals))

    def values(self) -> frozenset[str]:
        """Every original, as of now, but for escaped look-alikes, which are nobody's."""
        with self.lock:
            masked = (form for each in self._bearers if each.type != grammar.ESCAPED for form in each.forms)
            return frozenset((*masked, *(original for _, original in self._surrogates.invented)))

    def people(self) -> frozenset[str]:
        """Those of ``values`` that name somebody."""
        with self.lock:
            masked = (form for each in self._bearers if each.type == "PERSON" for form in each.forms)
            invented = (original for type, original in self._surrogates.invented if type == "PERSON")
            return frozenset((*masked, *invented))

    def known(self, text: str | Folded) -> list[Entity]:
        """Where ``text`` holds an original, whatever its case, width and white space. Places may overlap."""
        with self.lock:
            return self._known.find(text)

    def leaks(self, text: str) -> list[Entity]:
        """Where a text about to leave still holds an original, its own placeholders and surrogates aside.

        "_PERSON" is not found in "_PERSON_k3f9q": what ends inside a placeholder is no original.
        """
        with self.lock:
            found = self._known.find(text)
            if not found:
                return []
            own = [span for span in grammar.cores(text) if grammar.folded(text[slice(*span)]) in self._folded]
            own += [span for fiction in self._surrogates.originals for span in grammar.occurrences(text, fiction)]
        return [each for each in found if not any(_ends_inside(each, *span) for span in own)]

    def types(self) -> frozenset[str]:
        """The types issued so far, as placeholders spell them but in lower case."""
        with self.lock:
            return frozenset(self._types)

    # --- keeping; for the vault alone

    def state(self) -> bytes:
        """The whole map. It holds every original: only ever to be sealed."""
        with self.lock:
            bearers = [
                [each.type, each.stem, each.forms, _row(each.name), each.full and _row(each.full), each.gender]
                for each in self._bearers
            ]
            whole = {
                "state": STATE_VERSION,
                "version": self.version,
                "bearers": bearers,
                "invented": [[*key, made] for key, made in self._surrogates.invented.items()],
                "fictions": self._surrogates.originals,
                "aliases": self._surrogates.aliases,
                "seen": sorted(self._surrogates.seen),
            }
            # JSON's own escapes would make one character of two lone surrogates side by side
            return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")

    @classmethod
    def from_state(cls, identifier: str, key: bytes, state: bytes) -> Self:
        """The conversation that ``state`` describes. Raises BadInput for anything that ``state()`` did not write."""
        conversation = cls(identifier, key)
        try:
            whole: dict[str, Any] = json.loads(state.decode("utf-8", "surrogatepass"))
            if whole["state"] != STATE_VERSION:
                raise BadInput(f"a conversation's state has version {STATE_VERSION}; this one was written by another")
            for type, stem, forms, name, full, gender in whole["bearers"]:
                bearer = Bearer(type, stem, _name(name), list(forms), _name(full) if full else None, gender)
                conversation._enter(bearer)
                for index, form in enumerate(forms):
                    token = conversation._token(bearer, index)
                    conversation._known.add(type, form)
                    conversation._tokens[token] = conversation._folded[grammar.folded(token)] = form
            for type, original, made in whole["invented"]:
                conversation._surrogates.invented[type, original] = made
                conversation._known.add(type, original)
            conversation._surrogates.originals.update(whole["fictions"])
            conversation._surrogates.aliases.update(whole["aliases"])
            conversation._surrogates.seen.update(whole["seen"])
            conversation.version = int(whole["version"])
        except (ValueError, KeyError, TypeError):
            raise BadInput("a conversation's state cannot be read") from None  # the cause would hold values
        return conversation

    # --- not showing

    def __repr__(self) -> str:
        return f"<Conversation of {len(self._tokens)} placeholders>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a conversation is not pickled or copied; its vault keeps it")


def _row(name: Name) -> list[Any]:
    return [name.key, list(name.words), name.gender, name.full]


def _name(row: list[Any]) -> Name:
    key, words, gender, full = row
    return Name(key, tuple(words), gender, full)


def _ends_inside(entity: Entity, start: int, end: int) -> bool:
    """Whether ``entity`` overlaps a span and does not reach over all of it and more."""
    overlap = entity.start < end and start < entity.end
    return overlap and not (entity.start <= start and end <= entity.end and entity.end - entity.start > end - start)
