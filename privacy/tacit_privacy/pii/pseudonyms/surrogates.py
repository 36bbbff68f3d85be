"""Which made-up value stands for an original, so that what is linked stays linked and nothing is confused."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tacit_privacy.pii.pseudonyms import fictions, fpe, grammar
from tacit_privacy.pii.pseudonyms.fictions import Dice
from tacit_privacy.pii.pseudonyms.folding import fold
from tacit_privacy.pii.pseudonyms.people import LINKED_TYPES, Bearer, is_legal_form, is_title, unpossessed

if TYPE_CHECKING:
    from tacit_privacy.pii.pseudonyms.conversation import Conversation

LONGEST_CODE: Final = 2  # letters in a row that an identifier may have beside its digits; an IBAN's bank has more
_ATTEMPTS: Final = 24
_FIT = re.compile(r"[A-Za-z0-9](?:[ -~]*[A-Za-z0-9])?")  # recognisable at both ends, and plain in between
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_LETTERS = re.compile(r"[^\W\d_]+")
_EDGES = re.compile(r"([!-/:-@\[-`{-~\s]*)(.*?)([!-/:-@\[-`{-~\s]*)", re.DOTALL)

Free = Callable[[str], bool]  # whether a value is nobody's: neither in the texts at hand nor known


class Surrogates:
    """Invents for one conversation; who calls holds its lock. Everything invented stays restorable."""

    def __init__(self, conversation: "Conversation") -> None:
        self._conversation = conversation
        self.originals: dict[str, str] = {}  # surrogate, or a part of one -> original
        self.invented: dict[tuple[str, str], str] = {}  # (type, original) -> what is written in its place
        self.aliases: dict[str, dict[str, str]] = {}  # stem -> folded word -> made-up word
        self.seen: set[str] = set()  # vocabulary that somebody used, so that it is ambiguous

    def surrogate(self, bearer: Bearer, surface: str, free: Free) -> str | None:
        """A plausible value in place of ``surface``; None when none fits."""

        def make(attempt: int) -> str | None:
            if bearer.type in LINKED_TYPES:
                return self._name(bearer, surface, attempt, free)
            maker = fictions.MAKERS.get(bearer.type)
            if maker is None:
                return self._digits(bearer.type, surface, attempt)
            key = surface if bearer.forms and surface != bearer.forms[0] else ""
            return maker(Dice(self._conversation.digest("surrogate", bearer.stem, key, str(attempt))))

        return self._settled(bearer.type, surface, make, free)

    def formatted(self, type: str, surface: str, free: Free) -> str | None:
        """``surface`` with other digits; None when it has too few."""
        return self._settled(type, surface, lambda attempt: self._digits(type, surface, attempt), free)

    def _settled(self, type: str, surface: str, make: Callable[[int], str | None], free: Free) -> str | None:
        """What stands for ``surface``: what did before, unless that has meanwhile become somebody's value."""
        before = self.invented.get((type, surface))
        if before is not None and not self._conversation.known(before):
            return before
        for attempt in range(_ATTEMPTS):
            whole = make(attempt)
            if whole is None:
                return None
            fiction, original = _common_edges(whole, surface)
            fits = _FIT.fullmatch(fiction) is not None and grammar.parse(fiction) is None
            if fits and self._usable(fiction, original, free) and not self._conversation.known(whole):
                self.invented[type, surface] = whole
                self.originals[fiction] = original
                self._parts(type, fiction, original, free)
                return whole
        return None

    def _usable(self, fiction: str, original: str, free: Free) -> bool:
        owner = self.originals.get(fiction)
        return owner == original or (
            owner is None and free(fiction) and not self.seen & fictions.mentioned(fold(fiction))
        )

    def _parts(self, type: str, fiction: str, original: str, free: Free) -> None:
        """An answer may use a part: the first name, a number without its spaces."""
        pairs: list[tuple[str, str]] = []
        if type == "PERSON":
            made, real = fiction.split(), original.split()
            pairs = list(zip(made, real, strict=True)) if len(made) == len(real) > 1 else []
        elif not any(character.isalpha() for character in fiction):
            pairs = [("".join(filter(str.isdigit, fiction)), "".join(filter(str.isdigit, original)))]
        for made_part, real_part in pairs:
            word = fold(made_part)
            distinct = len(word) > 2 and not is_title(word) and word != fold(real_part)
            if distinct and _FIT.fullmatch(made_part) and self._usable(made_part, real_part, free):
                self.originals[made_part] = real_part

    def _digits(self, type: str, surface: str, attempt: int) -> str | None:
        compact = "".join(filter(str.isalnum, surface)).upper()
        if not fpe.iban_holds(compact) and any(len(word) > LONGEST_CODE for word in _LETTERS.findall(surface)):
            return None  # those letters would stay, and may be a name
        key = self._conversation.digest("format-preserving", type)[:32]
        return fpe.encrypted_digits(key, attempt.to_bytes(1, "big"), surface)

    # --- names

    def _name(self, bearer: Bearer, surface: str, attempt: int, free: Free) -> str | None:
        """``surface`` with each word replaced by its owner's made-up word, in the same case."""
        words = list(_WORD.finditer(surface))
        if bearer.type != "PERSON":
            return self._firm(bearer, surface, words, attempt, free)
        out, position, named = [], 0, False
        for match in words:
            word = unpossessed(fold(match.group()))
            made: str | None = match.group()
            if named or not is_title(word):
                named = True
                made = self._made(bearer, word, attempt, free)
            if made is None:
                return None
            out += [surface[position : match.start()], _in_case(made, match.group())]
            position = match.end()
        return "".join((*out, surface[position:])) if named else None

    def _made(self, bearer: Bearer, word: str, attempt: int, free: Free) -> str | None:
        """The made-up word for one folded word of a person's name; an initial is the initial of a made-up word."""
        whole = bearer.known_as.words
        if word in whole or len(word) > len(whole) + 1:
            last = word == whole[-1] and (len(whole) > 1 or bool(bearer.gender))
            return self._alias(bearer, word, fictions.LAST_NAMES if last else fictions.FIRST_NAMES, attempt, free)
        owners = [next((each for each in whole if each.startswith(letter)), None) for letter in word]
        made = [self._made(bearer, owner, attempt, free) if owner and len(owner) > 1 else None for owner in owners]
        return "".join(each[0] for each in made if each) if all(made) else None

    def _firm(self, bearer: Bearer, surface: str, words: list[re.Match[str]], attempt: int, free: Free) -> str | None:
        if not words:
            return None
        legal = words[-1] if len(words) > 1 and is_legal_form(fold(words[-1].group())) else None
        key = " ".join(fold(word.group()) for word in words if word is not legal)
        made = self._alias(bearer, key, fictions.FIRMS, attempt, free)
        end = words[-2].end() if legal else words[-1].end()
        return made and surface[: words[0].start()] + _in_case(made, surface[words[0].start() : end]) + surface[end:]

    def _alias(self, bearer: Bearer, word: str, choices: tuple[str, ...], attempt: int, free: Free) -> str | None:
        aliases = self.aliases.setdefault(bearer.stem, {})
        taken = {made for other in self.aliases.values() for made in other.values()}
        if word in aliases and (self._conversation.known(aliases[word]) or attempt):
            del aliases[word]
        if word not in aliases:
            start = Dice(self._conversation.digest("alias", bearer.stem, word, str(attempt))).number(len(choices))
            for made in (*choices[start:], *choices[:start]):
                if made not in taken and made.lower() not in self.seen and free(made):
                    aliases[word] = made
                    break
        return aliases.get(word)


def _in_case(made: str, like: str) -> str:
    if len(like) > 1 and like.isupper():
        return made.upper()
    return made.lower() if like.islower() else made


def _common_edges(whole: str, surface: str) -> tuple[str, str]:
    """Punctuation that both begin and end with stays outside: the made-up part and the real part."""
    made, real = _EDGES.fullmatch(whole), _EDGES.fullmatch(surface)
    if made is None or real is None or made.group(1) != real.group(1) or made.group(3) != real.group(3):
        return whole, surface
    return made.group(2), real.group(2)
