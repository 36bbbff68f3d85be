"""The last look: reads the very bytes that are about to leave, knows nothing of how they were made, and says no."""

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from threading import Lock
from typing import Final

from tacit_clients.egress.views import Path, leaves, views
from tacit_privacy.errors import TextRefused
from tacit_privacy.pii.detection.common import COMMON
from tacit_privacy.pii.entities import Detector
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.pseudonyms.folding import WORD, Folded, fold, joins
from tacit_privacy.pii.pseudonyms.grammar import CORE, occurrences
from tacit_privacy.pii.pseudonyms.joined import JoinedNames

HIGH_CONFIDENCE: Final = 0.8
_SHORTEST, _SHORTEST_NUMBER = 3, 5  # letters and digits; shorter values are in every text by chance
_SIGN = "\u25a0"
_SEPARATOR = "\x00"  # folds to itself and joins nothing
_REMEMBERED = 8192  # texts found clean before, as keyed digests


class Values:
    """Originals that must not leave, prepared for being looked for. Holds them; never prints them.

    ``people``: those of them that are names, looked for in identifiers as well.
    """

    def __init__(self, values: Iterable[str], people: Iterable[str] = ()) -> None:
        self._people = frozenset(people)
        self._joined = JoinedNames(self._people)
        self._by_word: dict[str, list[str]] = {}
        self._anywhere: list[str] = []  # of scripts without spaces between words
        self._cased: dict[str, re.Pattern[str]] = {}  # lower-case word -> its spellings as a name
        self._values = {value: fold(value) for value in values}
        for value, needle in self._values.items():
            solid = [character for character in needle if character.isalnum()]
            if len(solid) < (_SHORTEST_NUMBER if "".join(solid).isdigit() else _shortest(solid)):
                continue
            first = WORD.search(needle)
            if needle in COMMON:
                spellings = "|".join(re.escape(word) for word in {value.strip(), needle.title(), needle.upper()})
                self._cased[needle] = re.compile(rf"(?<!\w)(?:{spellings})(?!\w)")
            elif first is not None:
                self._by_word.setdefault(first.group(), []).append(needle)
            else:
                self._anywhere.append(needle)

    def __repr__(self) -> str:
        return "Values(...)"

    def without(self, others: Iterable[str]) -> "Values":
        """These but for ``others``, however they are spelt."""
        needles = {fold(other) for other in others}
        if needles.isdisjoint(self._values.values()):
            return self
        kept = [value for value, needle in self._values.items() if needle not in needles]
        return Values(kept, self._people.intersection(kept))

    def in_any(self, texts: list[str]) -> bool:
        """Whether one of ``texts`` holds one of the values, whatever its case, width, white space or accents' form."""
        if not (self._by_word or self._anywhere or self._cased):
            return False
        blob = _SEPARATOR.join(fold(text) for text in texts)
        words = set(WORD.findall(blob))
        for word in words & self._by_word.keys():
            if any(_stands(needle, blob) for needle in self._by_word[word]):
                return True
        if any(needle in blob for needle in self._anywhere):
            return True
        if any(self._cased[word].search(text) for word in words & self._cased.keys() for text in texts):
            return True
        return bool(self._people) and any(self._joined.find(Folded(text)) for text in texts)


def _shortest(solid: list[str]) -> int:
    return _SHORTEST if all(character.isascii() for character in solid) else 2


def _stands(needle: str, blob: str) -> bool:
    """Whether ``needle`` stands in ``blob`` and is not part of a longer word."""
    at = blob.find(needle)
    while at >= 0:
        end = at + len(needle)
        before, after = blob[at - 1 : at], blob[end : end + 1]
        if not (before and _glued(before, needle[0])) and not (after and _glued(needle[-1], after)):
            return True
        at = blob.find(needle, at + 1)
    return False


def _glued(left: str, right: str) -> bool:
    return joins(left) and joins(right)


@dataclass(frozen=True)
class LastLook:
    """``check`` raises TextRefused or returns; the error names a kind of finding and never what was found."""

    policy: RedactionPolicy
    patterns: Detector | None  # None: the policy masks nothing, so patterns have nothing to say
    structural: Callable[[Path], bool]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_clean", _Clean())

    def check(
        self, outbound: bytes, values: Iterable[Values], issued: Set[str], fictions: Set[str] = frozenset()
    ) -> None:
        """``values``: what must not be there; ``issued``: placeholders, and ``fictions``: made-up values, both of which
        may look like entities.
        """
        texts = [view for leaf in dict.fromkeys(leaves(json.loads(outbound), self.structural)) for view in views(leaf)]
        texts = list(dict.fromkeys(_without_tokens(issued, text) for text in texts))
        if any(kind.in_any(texts) for kind in values):
            raise TextRefused("known_value", "a value that was masked before was about to leave")
        if self.patterns is not None:
            long = [each for each in fictions if sum(map(str.isalnum, each)) >= _SHORTEST_NUMBER]
            self._patterns([_without_fictions(long, text) for text in texts], fictions)

    def _patterns(self, texts: list[str], fictions: Set[str]) -> None:
        clean: _Clean = self._clean  # type: ignore[attr-defined]
        fresh = [text for text in dict.fromkeys(texts) if not clean.knows(text)]
        if not fresh or self.patterns is None:
            return
        for text, found in zip(fresh, self.patterns.detect(fresh), strict=True):
            for entity in found:
                if entity.score < max(HIGH_CONFIDENCE, self.policy.detection.least(entity.type)):
                    continue
                if self.policy.action(entity.type) == "keep" or text[entity.start : entity.end] in fictions:
                    continue
                raise TextRefused("pattern", f"something that looks like {entity.type} was about to leave")
            if not any(entity.score >= HIGH_CONFIDENCE for entity in found):
                clean.add(text)


def _without_tokens(issued: Set[str], text: str) -> str:
    """``text`` with a sign that is neither letter nor space in place of every issued placeholder.

    A value such as "NHS" is no leak inside ``UK_NHS_ewa39``, and beside "account no." a stem is no account's number.
    """
    return CORE.sub(lambda core: _SIGN if core.group() in issued else core.group(), text)


def _without_fictions(fictions: Iterable[str], text: str) -> str:
    """``text`` with that sign in place of every made-up value, which may look like a real one."""
    for fiction in fictions:
        for start, end in reversed(list(occurrences(text, fiction))) if fiction in text else ():
            text = text[:start] + _SIGN + text[end:]
    return text


class _Clean:
    """Texts in which the patterns found nothing, known by a digest under a key of this process."""

    def __init__(self) -> None:
        self._key, self._seen, self._lock = token_bytes(32), OrderedDict[bytes, None](), Lock()

    def knows(self, text: str) -> bool:
        with self._lock:
            return self._digest(text) in self._seen

    def add(self, text: str) -> None:
        with self._lock:
            self._seen[self._digest(text)] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)

    def _digest(self, text: str) -> bytes:
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()
