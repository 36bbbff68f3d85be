"""Who a name stands for: surface forms of one person or organisation, as far as the conversation leaves no doubt.

A *full* name has at least two whole words ("Anna Kowalska"), or for an organisation its legal form ("Acme Ltd"). A
*partial* one ("Anna", "A. Kowalska", "Mr Kowalski", "Acme") belongs to a full name only while exactly one known name
fits. Two different full names are never one.
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
    if type == "PERSON":
        return _person(text)
    if type in LINKED_TYPES:
        return _organisation(text)
    return Name(fold(surface), (), "", True)


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
    if partial.full or not partial.words or _of_two_genders(partial, full):
        return False
    if type != "PERSON":
        return full.full and full.words[:-1] == partial.words
    if len(partial.words) == 1:
        word = partial.words[0]
        if len(word) == len(full.words) > 1 and word == "".join(each[0] for each in full.words):
            return True  # initials written as one word
        return word in full.words if len(word) > 1 else False
    return len(partial.words) <= len(full.words) and _in_order(partial.words, full.words)


def _of_two_genders(one: Name, other: Name) -> bool:
    return bool(one.gender and other.gender and one.gender != other.gender)


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
        """The fullest name known, with what titles have said."""
        best = self.full or self.name
        return Name(best.key, best.words, best.gender or self.gender, best.full)


def bearer_of(type: str, name: Name, bearers: list[Bearer]) -> Bearer | None:
    """Who among ``bearers``, all of ``type``, ``name`` stands for; None when nobody, or when it could be several."""
    if name.full:
        for bearer in bearers:
            known = bearer.known_as
            if known.full and known.key == name.key and not _of_two_genders(known, name):
                return bearer
        waiting = [each for each in bearers if not each.known_as.full and fits(type, each.known_as, name)]
        return next((each for each in waiting if not _shared(type, each, bearers)), None)
    whole = [each for each in bearers if each.known_as.full and fits(type, name, each.known_as)]
    same = [each for each in bearers if not each.known_as.full and each.known_as.key == name.key]
    titled = [
        each
        for each in bearers
        if not each.known_as.full
        and not each.name.bare
        and name.bare
        and fits(type, name, each.known_as)
        and each not in same
    ]
    if len(whole) + len(titled) == 1 and not same:
        return (whole + titled)[0]
    return same[0] if same else None


def _shared(type: str, partial: Bearer, bearers: list[Bearer]) -> bool:
    """Whether another full name could claim ``partial`` as well."""
    return any(each.known_as.full and fits(type, partial.known_as, each.known_as) for each in bearers)
