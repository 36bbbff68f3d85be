"""A request made general by rules: the sentence that asks, without anything that could tell who asks of whom.

Only words in lower case that stand in the request survive, and a few that begin a question. That errs on the safe
side: a language that writes its nouns with capitals, as German does, loses them.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from tacit_clients.modes.lexical import LINKING, content_words, in_place_of, words
from tacit_clients.modes.prompts import NOTHING
from tacit_privacy.pii.entities import Entity

_NOUNS: Final = {
    "PERSON": "someone",
    "LOCATION": "a place",
    "ADDRESS": "a place",
    "PUBLIC_PLACE": "a place",
    "ORGANIZATION": "an organisation",
    "PUBLIC_ORGANIZATION": "an organisation",
    "DATE_TIME": "some day",
    "DATE_OF_BIRTH": "some day",
    "EMAIL_ADDRESS": "an address",
    "URL": "an address",
    "PERSONAL_URL": "an address",
    "NRP": "a group",
}
_THING, _NUMBER, _TEXT, _LINK = "something", "some", "a text", "an address"
_GENERIC: Final = frozenset(
    word for noun in (*_NOUNS.values(), _THING, _NUMBER, _TEXT, _LINK) for word in noun.split()
) | {"a", "an"}
_QUOTED: Final = re.compile(
    r"```.{0,20000}?```|`[^`\n]{1,2000}`|\"[^\"]{1,2000}\"|\u201c[^\u201d]{1,2000}\u201d|\u201e[^\u201c]{1,2000}\u201c|"
    r"«[^»]{1,2000}»|(?<!\w)'[^'\n]{2,2000}'(?!\w)|(?<!\w)\u2018[^\u2019\n]{2,2000}\u2019(?!\w)",
    re.DOTALL,
)
_REACHED: Final = re.compile(r"\S{1,256}@\S{1,256}|\b(?:https?://|www\.)\S{1,2000}")
SENTENCES: Final = re.compile(r"(?<=[.!?])\s+|(?<=\u3002)|\n+")
_CLAUSE: Final = re.compile(r"(?<=;)\s+")  # what stands before it is often the story behind a question
_CORE: Final = re.compile(r"[^\W\d_]+(?:['\u2019\-][^\W\d_]+)*")
_END: Final = "?\uff1f"
_MARKS: Final = "()[]{}<>*_\"'`.,;:!?\u2018\u2019\u201c\u201d\u201e«»\u3001\u3002\u2026\u2013\u2014-"
_LONGEST_WORD: Final = 30
_MOST_READ: Final = 20_000  # characters of a request

_QUESTIONS = """
are can could did do does had has have how how's is may might must shall should was were what what's when where where's
which who who's whom whose why will would
dürfen kann kannst können könnten sollte wann warum was welche welcher welches wer wie wieso wo
combien est-ce peut peux pourquoi pourriez pouvez quand que quel quelle quelles quels qui quoi
cuál cuándo cuánto cuántos cómo dónde puede puedes qué quién
"""
_ORDERS = """
add advise analyse analyze answer book brainstorm calculate cancel check choose compare complete compose compute
convert correct count create define describe design draft edit evaluate explain extract fill find fix format generate
give help identify improve invent let's list make mark name open outline paraphrase pick plan play polish prepare
proofread propose put read recommend remind remove rename reply rephrase rewrite say schedule search send set shorten
show simplify solve sort start stop suggest summarise summarize switch teach tell translate turn update use verify wake
write
bitte erkläre fasse finde gib hilf nenne schreib schreibe zeig übersetze
comment donne explique résume traduis écris écrivez
ayúdame escribe explica resume traduce
"""
_VERBAL_NOUNS = """
answer book cancel change check comment count design draft finde fix format help list mark name open outline
plan play polish record resume say schedule search set start stop switch test turn update use wake
"""
_OBJECTS = """
a all an any both down each every her him his how in it its me my off on our out that the their them these this
those up us what when where which who whose why your
"""
_ASKING: Final = frozenset(_QUESTIONS.split())
_ORDER: Final = frozenset(_ORDERS.split())
_BEGINNINGS: Final = _ASKING | _ORDER
_NOUNS_TOO: Final = frozenset(_VERBAL_NOUNS.split())  # of the verbs that order
_AFTER_VERBS: Final = frozenset(_OBJECTS.split())
_POLITE: Final = frozenset((("can", "you"), ("could", "you"), ("would", "you")))
_FIRST_PERSON: Final = """
i me my mine myself we us our ours ourselves
ich mich mir mein meine meinem meinen meiner meines wir uns unser unsere unserem unseren unserer unseres
je moi mon ma mes mien mienne nous notre nos
yo mí mi mis mío mía conmigo nosotros nosotras nuestro nuestra nuestros nuestras
"""
_SECOND_PERSON: Final = """
you your yours yourself yourselves
du dich dir dein deine deinem deinen deiner deines ihr euch euer eure eurem euren eurer
tu te toi ton ta tes vous votre vos
tú ti tus usted ustedes vosotros vosotras vuestro vuestra
"""
_SELF: Final = frozenset(_FIRST_PERSON.split())
_ANYBODYS: Final = frozenset(
    [(verb, "i") for verb in ("do", "can", "could", "should", "shall", "may", "might", "must", "would")]
    + [(verb, "ich") for verb in ("soll", "sollte", "kann", "könnte", "darf", "muss")]
)
_SOMEBODY: Final = frozenset((_FIRST_PERSON + _SECOND_PERSON).split())
_FORMAL: Final = re.compile(r"\b(?:Sie|Ihnen|Ihr(?:e[mnrs]?)?)\b")
_ELIDED: Final = ("j'", "m'")  # je, me
_BEFORE: Final = frozenset(("please", "bitte", "then", "and", "so", "now", "also", "hi", "hello", "ok", "but"))


def asks(sentence: str) -> bool:
    """Whether a sentence asks or orders something: by its question mark, or by the question word or verb in front.

    A question word counts only where the sentence has no full stop: "When she came back, she was ill." asks nothing.
    """
    if is_question(sentence):
        return True
    head = next(iter(_heads(sentence)), "")
    return head in _BEGINNINGS and not (head in _ASKING and sentence.strip()[-1] in ".\u3002")


def is_question(sentence: str) -> bool:
    """By its mark."""
    return sentence.rstrip()[-1:] in tuple(_END)


def orders(sentence: str) -> bool:
    """Whether a sentence surely orders something: "Draft a reply", "Could you list them?", not the title "Draft lease".

    A verb that is a noun as well counts only before a word that follows verbs.
    """
    heads = _heads(sentence)
    if tuple(heads[:2]) in _POLITE:
        heads = heads[2:]
    head, after = (*heads, "", "")[:2]
    return head in _ORDER and (head not in _NOUNS_TOO or after in _AFTER_VERBS)


def _heads(sentence: str) -> list[str]:
    """The first words of a sentence without those that say nothing there."""
    first = _CORE.findall(sentence[:200].lower().replace("\u2019", "'"))[:6]
    return [word for word in first if word not in _BEFORE]


def tells_of_oneself(text: str) -> bool:
    """Whether ``text`` has a pronoun of the first person, in English, German, French or Spanish.

    But for the *I* that everybody asks with: how do I, should I, kann ich.
    """
    found = ["", *_pronouns(text)]
    return any(word in _SELF and (before, word) not in _ANYBODYS for before, word in pairwise(found))


def speaks_to_somebody(text: str) -> bool:
    """Whether ``text`` has a pronoun of the first or second person in one of these languages, as letters do."""
    return _FORMAL.search(text) is not None or any(word in _SOMEBODY for word in _pronouns(text))


def _pronouns(text: str) -> Iterator[str]:
    """Words that may be pronouns, what hangs on them cut off: I'm, j'ai, ai-je."""
    for word in words(text.replace("\u2019", "'")):
        yield from ["je"] if word.startswith(_ELIDED) else re.split("['-]", word)


def generalise(text: str, entities: Sequence[Entity], longest: int = 240) -> str:
    """The last clauses of ``text`` that ask something, made general; NOTHING where no word of substance is left.

    At most ``longest`` characters. ``entities``: everything a detector found in ``text``. What is in capitals, holds a
    digit or a sign of an address, or is quoted becomes a general word, whether or not anything found it.
    """
    bare = _REACHED.sub(f" {_LINK} ", _QUOTED.sub(f" {_TEXT} ", _flat(_without(text, entities)[:_MOST_READ])))
    kept: list[str] = []
    for clause in reversed([each for each in _clauses(bare) if asks(each)]):
        plain = _general(clause)
        if not _says_something(plain):
            continue
        if len(plain) + sum(len(each) + 1 for each in kept) > longest:
            break
        kept.insert(0, plain)
    return " ".join(kept) or NOTHING


def _clauses(text: str) -> Iterator[str]:
    for sentence in SENTENCES.split(text):
        yield from _CLAUSE.split(sentence)


def _without(text: str, entities: Sequence[Entity]) -> str:
    """``text`` with a general noun in place of each entity."""
    return in_place_of(entities, text, lambda entity: f" {_NOUNS.get(entity.type, _THING)} ")


def _flat(text: str) -> str:
    """``text`` without widths and signs that nobody sees, which could hide a capital or a digit."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(character for character in plain if unicodedata.category(character) not in ("Cf", "Cs", "Co", "Cn"))


def _general(sentence: str) -> str:
    words: list[str] = []
    for position, written in enumerate(sentence.split()):
        word = _word(written, position)
        if word and not (words and word in (_THING, _NUMBER) and words[-1].rstrip(",;:") == word):
            words.append(word)
    end = "?" if sentence.rstrip()[-1:] in _END else "."
    return (" ".join(words).rstrip(",;:.!? ") + end) if words else ""


def _word(written: str, position: int) -> str:
    """A word as it may stand in a general question; empty for what is none."""
    core = written.strip(_MARKS)
    comma = "," if written.endswith(",") else ""
    if not core:
        return ""
    if any(character.isdigit() or character.isnumeric() for character in core):
        return _NUMBER + comma
    lower = core.lower().replace("\u2019", "'")
    if len(core) > _LONGEST_WORD or _CORE.fullmatch(core) is None:
        return _THING + comma
    if core != core.lower() and not (lower in ("i", "i'm", "i'd", "i've", "i'll") or _begins(lower, position)):
        return _THING + comma
    return lower + comma


def _begins(lower: str, position: int) -> bool:
    return position == 0 and (lower in _BEGINNINGS or lower in _BEFORE or lower in LINKING)


def _says_something(sentence: str) -> bool:
    return any(word not in _GENERIC and word not in _BEGINNINGS for word in content_words(sentence))
