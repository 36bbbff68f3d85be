"""Who a name stands for: surface forms of one person or organisation, as far as the conversation leaves no doubt.

A *full* name has at least two whole words ("Anna Kowalska"), or for an organisation its legal form ("Acme Ltd"). A
*partial* one ("Anna", "A. Kowalska", "Acme") belongs to a full name only while exactly one known name fits; "Mr Smith"
only to somebody who was called Mr before, since the one Smith known may be Mrs. Two different full names are never one.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from tacit_privacy.pii.pseudonyms.folding import fold

LINKED_TYPES: Final = frozenset({"PERSON", "ORGANIZATION", "ORGANISATION"})
_TITLES: Final = {  # title -> what it says about whom it names
    **dict.fromkeys(("mr", "mister", "herr", "monsieur", "sir", "señor", "sr", "signor", "pan"), "m"),
    **dict.fromkeys(("mrs", "ms", "miss", "frau", "madame", "mme", "señora", "sra", "signora", "pani"), "f"),
    **dict.fromkeys(("dr", "doctor", "prof", "professor", "mx", "rev"), ""),
}
_TITLES_FOLDED: Final = {fold(title): gender for title, gender in _TITLES.items()}
_FORMS = "gmbh ag kg ug llc llp plc sa sas sarl srl spa bv nv oy ab as aps pty pte kk"
_LEGAL_FORMS: Final = {
    **dict.fromkeys(("ltd", "limited"), "ltd"),
    **dict.fromkeys(("inc", "incorporated"), "inc"),
    **dict.fromkeys(("corp", "corporation"), "corp"),
    **dict.fromkeys(("co", "company"), "co"),
    **{form: form for form in _FORMS.split()},
}
_POSSESSIVE = re.compile(r"(?:'s|(?<=s)')$")


@dataclass(frozen=True, slots=True)
class Name:
    """A surface form taken apart: folded words, the gender its title states, whether it says who is meant by itself."""

    key: str  # what makes two surface forms of one name the same, spelling aside
    words: tuple[str, ...]
    gender: str
    full: bool

    @property
    def bare(self) -> bool:
        """One word and nothing else: the form that anybody of that name shares."""
        return len(self.words) == 1 and not self.gender and not self.full


def unpossessed(text: str) -> str:
    """Folded ``text`` without a possessive ending."""
    return _POSSESSIVE.sub("", text)


def is_title(word: str) -> bool:
    """Whether a folded word is a form of address."""
    return word.strip(".") in _TITLES_FOLDED


def is_legal_form(word: str) -> bool:
    """Whether a folded word says what kind of organisation it is."""
    return word.strip(".") in _LEGAL_FORMS


def name_of(type: str, surface: str) -> Name:
    """``surface`` taken apart by the rules of ``type``."""
    text = unpossessed(fold(surface))
    name = Name(fold(surface), (), "", True)
    if type in LINKED_TYPES:
        parted = _person(text) if type == "PERSON" else _organisation(text)
        name = parted if parted.words else name  # punctuation alone is linked to nothing
    return name


def _person(text: str) -> Name:
    last, comma, first = text.partition(",")
    if comma and first.strip() and "," not in first:
        text = f"{first.strip()} {last.strip()}"
    # "J.R. Smith" and "J. R. Smith" have the same words
    words = [word for word in re.sub(r"(?<=\b\w)\.(?=\S)", ". ", text).split() if word.strip(".")]
    gender = ""
    while len(words) > 1 and is_title(words[0]):
        gender = _TITLES_FOLDED[words.pop(0).strip(".")] or gender
    bare = tuple(word.strip(".") for word in words)
    full = sum(len(word) > 1 for word in bare) >= 2 and all(len(word) > 1 for word in (bare[:1] + bare[-1:]))
    key = " ".join(bare)
    return Name(f"{gender}:{key}" if gender and not full else key, bare, gender, full)


def _organisation(text: str) -> Name:
    words = [word for word in re.sub(r"(?<=\b\w)\.(?=\w\b)", "", text).replace(",", " ").split() if word.strip(".")]
    words = [word.strip(".") for word in words]
    form = _LEGAL_FORMS.get(words[-1]) if len(words) > 1 else None
    if form is not None:
        words[-1] = form
    return Name(" ".join(words), tuple(words), "", form is not None)


def fits(type: str, partial: Name, full: Name) -> bool:
    """Whether ``partial`` may be a way to write ``full``."""
    if partial.full or not partial.words:
        return False
    if type != "PERSON":
        return full.full and full.words[:-1] == partial.words
    if len(partial.words) == 1:
        word = partial.words[0]
        if len(word) == len(full.words) > 1 and word == "".join(each[0] for each in full.words):
            return True  # initials written as one word
        return word in full.words if len(word) > 1 else False
    return len(partial.words) <= len(full.words) and _in_order(partial.words, full.words)


def _in_order(short: tuple[str, ...], long: tuple[str, ...]) -> bool:
    """Each word of ``short`` is, in order, one of ``long`` or its initial, from first to last; one is an initial."""
    if all(len(word) > 1 for word in short):
        return False
    rest = list(long)
    for word in short:
        while rest and not (rest[0] == word or (len(word) == 1 and rest[0].startswith(word))):
            rest.pop(0)
        if not rest:
            return False
        rest.pop(0)
    return short[0][0] == long[0][0] and not rest


@dataclass(slots=True)
class Bearer:
    """Somebody or something with a stem: the names it is known by and its surface forms, in order of issue."""

    type: str
    stem: str
    name: Name
    forms: list[str] = field(default_factory=list)
    full: Name | None = None  # the full name that a partial one turned out to stand for
    gender: str = ""  # learned from a title

    @property
    def known_as(self) -> Name:
        """The fullest name known."""
        return self.full or self.name


class Register:
    """The bearers of one type, found by the words of their names."""

    def __init__(self, type: str) -> None:
        self._type = type
        self._full_by_key: dict[str, list[Bearer]] = {}
        self._full_by_word: dict[str, list[Bearer]] = {}  # and by initials, single and together
        self._partial_by_word: dict[str, list[Bearer]] = {}

    def add(self, bearer: Bearer) -> None:
        """Enter ``bearer``, or enter it anew after its full name became known."""
        name = bearer.known_as
        index = self._full_by_word if name.full else self._partial_by_word
        if name.full:
            self._full_by_key.setdefault(name.key, []).append(bearer)
        for word in _spellings(name) if name.full else set(name.words):
            index.setdefault(word, []).append(bearer)

    def find(self, name: Name) -> Bearer | None:
        """Whom ``name`` stands for; None when nobody, or when it could be several."""
        if name.full:
            for bearer in self._full_by_key.get(name.key, ()):
                if not name.gender or not bearer.gender or name.gender == bearer.gender:
                    return bearer
            return next((each for each in self._waiting(name) if not self._claims(each.name)), None)
        partial = self._partial_by_word.get(_rarest(name), []) if name.words else []
        same = next((each for each in partial if each.full is None and each.name.key == name.key), None)
        if same is not None:
            return same
        whole = self._claims(name)
        titled = [
            each
            for each in partial
            if name.bare and each.full is None and not each.name.bare and fits(self._type, name, each.name)
        ]
        return (whole + titled)[0] if len(whole) + len(titled) == 1 else None

    def _claims(self, partial: Name) -> list[Bearer]:
        """The bearers of full names that ``partial`` may be a way to write."""
        candidates = self._full_by_word.get(_rarest(partial), []) if partial.words else []
        return [
            each
            for each in candidates
            if fits(self._type, partial, each.known_as) and (not partial.gender or partial.gender == each.gender)
        ]

    def _waiting(self, full: Name) -> list[Bearer]:
        """Bearers of partial names that may turn out to be ``full``."""
        found = {
            id(each): each
            for word in sorted(_spellings(full))
            for each in self._partial_by_word.get(word, ())
            if each.full is None and fits(self._type, each.name, full)
        }
        return [each for each in found.values() if not each.name.gender or each.name.gender == full.gender]


def _spellings(full: Name) -> set[str]:
    """What a word of a partial name can be that stands for ``full``."""
    initials = [word[0] for word in full.words]
    return {*full.words, *initials, "".join(initials)}


def _rarest(partial: Name) -> str:
    """The word that fewest names are likely to share."""
    return max(partial.words, key=len)
