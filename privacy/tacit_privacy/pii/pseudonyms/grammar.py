"""What a placeholder looks like: ``TYPE_stem`` or ``TYPE_stem_form``, such as ``PERSON_k3f9q`` and ``PERSON_k3f9q_b``.

A stem holds a letter and a digit, so no snake-case word of letters or of digits alone is ever one. A placeholder is
always a whole *run* of ASCII letters, digits and underscores (an underscore escaped as in Markdown counts as one), less
the underscores at the run's ends. Every part of the package asks this module, so what is issued is recognised.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

STEM_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"  # base 32 without l, o, 0 and 1
ESCAPED: Final = "ESCAPED"  # the type of input that merely looks like a placeholder
SHORTEST_STEM: Final = 5
LONGEST_STEM: Final = 48
LONGEST_FORM: Final = 3

_TYPES = (
    "address age credit_card crypto custom date_time domain_name email email_address escaped iban iban_code id imei "
    "ip ip_address license location mac mac_address medical_license money name nrp organization organisation passport "
    "password person personal_url phone phone_number secret ssn title uk_nhs uk_nino url us_bank_number "
    "us_driver_license us_itin us_passport us_ssn user username vehicle zip"
)
KNOWN_TYPES: Final = frozenset(_TYPES.split())
"""Types whose look-alikes are escaped even before one was issued."""

CORE: Final = re.compile(r"[A-Za-z0-9]+(?:\\{0,3}_[A-Za-z0-9]+)*")
GLUE: Final = re.compile(r"(?:\\{0,3}_){1,8}[A-Za-z0-9]")  # what, right after a core, makes it part of a longer word
LONGEST_GLUE: Final = 32
RUN: Final = re.compile(r"(?:[A-Za-z0-9_]|(?<!\\)\\++(?=_))+")  # linear for any number of backslashes

_WORD = re.compile(r"[A-Za-z0-9]")
_LETTERS = frozenset(letter for letter in STEM_ALPHABET if letter.isalpha())
_DIGITS = frozenset(STEM_ALPHABET) - _LETTERS
_FORM_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Token:
    """One placeholder in parts, all in lower case; ``form`` is empty for the canonical form."""

    type: str
    stem: str
    form: str

    @property
    def name(self) -> str:
        """Type and stem, what all forms have in common."""
        return f"{self.type}_{self.stem}"


def is_stem(word: str) -> bool:
    """Whether ``word`` could be a stem: of the alphabet, with at least one letter and one digit."""
    letters = set(word)
    return (
        SHORTEST_STEM <= len(word) <= LONGEST_STEM
        and letters <= _LETTERS | _DIGITS
        and not letters.isdisjoint(_LETTERS)
        and not letters.isdisjoint(_DIGITS)
    )


def folded(core: str) -> str:
    """``core`` as it is looked up: lower case, underscores without backslashes."""
    return core.replace("\\", "").lower()


def parse(core: str) -> Token | None:
    """The placeholder that the whole of ``core`` spells, in any case, whether issued or not."""
    parts = folded(core).split("_")
    form = ""
    if len(parts) >= 3 and 1 <= len(parts[-1]) <= LONGEST_FORM and _FORM_LETTERS.issuperset(parts[-1]):
        form = parts.pop()
    stem = parts.pop()
    if not parts or not all(parts) or not parts[0][0].isalpha() or not is_stem(stem):
        return None
    return Token("_".join(parts), stem, form)


def type_word(type: str) -> str:
    """``type`` as a placeholder spells it: ASCII capitals, digits and single underscores, a letter first."""
    word = "_".join(re.findall(r"[A-Z0-9]+", type.upper()))[:40].rstrip("_")
    return word if word[:1].isalpha() else f"X_{word}".rstrip("_")


def form_word(index: int) -> str:
    """The name of surface form ``index`` >= 1: b to z, then two and three letters."""
    word = ""
    while index >= 0:
        index, letter = divmod(index, 26)
        word = chr(ord("a") + letter) + word
        index -= 1
    return word


def occurrences(text: str, value: str) -> Iterator[tuple[int, int]]:
    """Where ``value`` stands in ``text`` without an ASCII letter or digit beside it."""
    at = text.find(value) if value else -1
    while at >= 0:
        end = at + len(value)
        if not _WORD.match(text[at - 1 : at]) and not _WORD.match(text[end : end + 1]):
            yield at, end
        at = text.find(value, at + 1)


def cores(text: str) -> list[tuple[int, int]]:
    """Where in ``text`` the cores of runs stand that could be placeholders as a whole."""
    found = []
    for run in RUN.finditer(text):
        if "_" not in run.group():
            continue
        core = CORE.search(text, run.start(), run.end())
        if core is not None and not GLUE.match(text, core.end(), run.end()):
            found.append(core.span())
    return found
