"""How people are reached and what they are called online: e-mail, phone, user names."""

import re
from collections.abc import Iterator
from typing import Final

from tacit_privacy.pii.detection.shapes import (
    LIKELY,
    POSSIBLE,
    SURE,
    UNLIKELY,
    Finder,
    Found,
    Shape,
    View,
    any_of,
    only_digits,
    words,
)

_DOMAIN: Final = re.compile(r"(?:@|%40)(?P<v>[^\W_][\w-]{0,62}(?:\.[^\W_][\w-]{0,62}){1,8})")
_LOCAL: Final = 128  # RFC 5321 allows 64 octets; mail in the wild is not always lawful


class Email:
    """Looks left and right of each at sign, also one that is encoded for an address, a bounded way."""

    def may_be_in(self, view: View) -> bool:
        """Without an at sign there is no address."""
        return "@" in view.characters or "%40" in view.text

    def find(self, view: View) -> Iterator[Found]:
        """Addresses with a dotted domain that ends in letters."""
        text = view.text
        for match in _DOMAIN.finditer(text):
            at = start = match.start()
            while start > max(0, at - _LOCAL) and (text[start - 1].isalnum() or text[start - 1] in "._%+-'&~=#"):
                start -= 1
            while start < at and text[start] in ".'&=#~-":
                start += 1
            last = match["v"].rstrip("-_").rpartition(".")[2]
            if start < at and len(last) >= 2 and not last[0].isdigit() and not last.isdigit():
                yield Found(start, match.start("v") + len(match["v"].rstrip("-_")), "EMAIL_ADDRESS", 0.98)


_SPELT_EMAIL: Final = Shape(
    "EMAIL_ADDRESS",
    re.compile(
        r"(?<![\w.+-])\w[\w.+-]{0,63}\s?[\[(<{]\s?(?:at|@|arroba|chiocciola)\s?[\])>}]\s?"
        r"\w[\w-]{0,62}(?:\s?(?:\.|[\[(<{]\s?(?:dot|punto|punkt|point|\.)\s?[\])>}])\s?\w[\w-]{1,62}){1,4}",
        re.IGNORECASE,
    ),
    0.9,
    needs="[(<{",
)

_SPACED_EMAIL: Final = Shape(
    "EMAIL_ADDRESS",
    re.compile(
        r"(?<![\w.+-])\w[\w.+-]{0,63}(?: {1,2}@ {0,2}|@ {1,2})\w[\w-]{0,62}(?:(?: \. |\.)[a-z][\w-]{0,62}){0,3}"
        r"(?: \. |\.)[a-z]{2,10}(?![\w@.-]\w)"
    ),
    0.85,
    needs="@",
)

PHONE_WORDS: Final = any_of(
    "phone|telephone|tel|mobile|cell|cellphone|cell phone|call|calling|call me|fax|desk|dial|hotline|helpline|whatsapp",
    "signal|sms|text me|text|texted|messages to|ring|reach|reached|contact|landline|answering at|office|ph|mob",
    "phone number",
    "telecom|tele|extension|ext|voicemail|support line|shout",
    "telefon|handy|mobil|rufnummer|handynummer|telefonnummer|teléfono|telefono|móvil|movil|celular|llámame|llame",
    "tél|téléphone|portable|numéro de téléphone|appelez|cellulare|telefone|telemóvel|telefoon|mobiel|puhelin|puh|tlf",
    "komórka|numer telefonu|zadzwoń|τηλέφωνο|телефон|тел|моб|звоните|هاتف|جوال|फ़ोन|फोन|मोबाइल|טלפון",
    "电话|手机|電話|携帯|전화|휴대폰|โทร",
)
_PHONE: Final = re.compile(
    r"(?<![\w/$€£#-])(?<![0-9][.,:=])(?<!\.)(?P<v>(?:\+|\(\+|\()?[0-9]{1,12}+\)?"
    r"(?:(?:[ .\-/]{1,2}+\(?|\(|(?<=\)))[0-9]{1,9}+\)?){0,6}"
    r"(?:[ ,]{0,2}(?:x|ext\.?|extension|durchwahl|poste|int\.)[ .:]{0,2}[0-9]{1,6})?)(?![\w%€£°])(?!\.[0-9])",
    re.IGNORECASE,
)
_NORTH_AMERICA: Final = re.compile(
    r"(?:\+?1[ .-]{0,2})?(?:\([2-9][0-9]{2}\)|[2-9][0-9]{2})[ .-]{0,2}[0-9]{3}[ .-][0-9]{4}"
)
_DATE_LIKE: Final = re.compile(
    r"(?:(?:19|20)[0-9]{2}[-./][0-9]{1,2}|(?:19|20)[0-9]{2}([-./ ])[0-9]{1,2}\1[0-9]{1,2}"
    r"|[0-9]{1,2}([-./ ])[0-9]{1,2}\2(?:[0-9]{4}|[0-9]{2}))\b"
)
_AMOUNT: Final = re.compile(r"\(?[0-9]{1,9}\.[0-9]{1,2}\)?")
_YEAR_IN_BRACKETS: Final = re.compile(r"\((?:19|20)[0-9]{2}\)")
_YEARS: Final = re.compile(r"(?:1[5-9]|20)[0-9]{2} ?[-/] ?(?:1[5-9]|20)[0-9]{2}")
_COUNTS: Final = re.compile("[01]?123|9876|([0-9])\\1*$")  # somebody counts
_SSN_LIKE: Final = re.compile(r"[0-9]{3}([- ])[0-9]{2}\1[0-9]{4}")


def _phone_score(view: View, match: re.Match[str]) -> float:
    """How much a run of digit groups looks like a number to dial; ``_PHONE_WORDS`` nearby lift what is above 0."""
    shown = match["v"]
    extension = re.search(r"(?i)[ ,]{0,2}[a-z]", shown)
    number = shown[: extension.start()] if extension else shown
    groups = re.findall("[0-9]+", number)
    count = sum(map(len, groups))
    if (
        not 6 <= count <= 15
        or _DATE_LIKE.fullmatch(number)
        or _AMOUNT.fullmatch(number)
        or _YEARS.fullmatch(number)
        or _SSN_LIKE.fullmatch(number)
    ):
        return 0.0
    if len(groups) == 4 and number.count(".") == 3 and all(int(group) < 256 for group in groups):
        return 0.0  # an IP address
    if count == 6 and len(groups) == 1:
        return 0.0
    if number.startswith(("+", "(+")):
        return 0.92 if count >= 8 else LIKELY
    if _NORTH_AMERICA.fullmatch(number):
        return 0.88
    if len(groups) == 1 or _YEAR_IN_BRACKETS.search(number):
        return UNLIKELY
    if len(groups) > 7 or count / len(groups) < 1.9:
        return 0.0
    if extension or (number.startswith("(") and ")" in number):
        return LIKELY
    if number.startswith("00") and count >= 10 and groups[0] != "0":
        return LIKELY
    if number.startswith("0") and 9 <= count <= 14 and len(groups[0]) >= 2:
        return 0.65
    return 0.3


_SPACED_PHONE: Final = Shape(
    "PHONE_NUMBER",
    re.compile(r"(?<![\w.,+-])(?P<v>\+? ?[0-9](?:[ .-][0-9]){6,14})(?![\w%€£°])(?![ .,-]{1,2}[0-9])"),
    digits=7,
    check=lambda view, match: 0.0 if _COUNTS.match(only_digits(match["v"])) else UNLIKELY,
    context=PHONE_WORDS,
    beside=SURE,
)
PHONE: Final = Shape("PHONE_NUMBER", _PHONE, digits=6, check=_phone_score, context=PHONE_WORDS, beside=SURE)

_NOT_HANDLES: Final = words(
    "media import charset keyframes font-face supports page layer container namespace override deprecated test param "
    "return returns throws author since see property staticmethod classmethod dataclass abstractmethod cached_property "
    "lru_cache cache wraps overload final app pytest given fixture mock click autowired bean component controller "
    "service entity id column getmapping postmapping requestmapping injectable input output nullable notnull "
    "suppresswarnings inject beforeeach aftereach all here everyone channel home work school gmail todo"
)
_NEXT_IS_CODE: Final = re.compile(
    r"[^\n]{0,200}\n\s*(?:@|def |class |async |public |private |protected |static |final |fun |func |export |function "
    r"|const |abstract |void )"
)


def _handle_score(view: View, match: re.Match[str]) -> float:
    """Not the decorators, annotations and at-rules of programs, nor the scopes of packages."""
    text, end = view.text, match.end()
    name = match["v"][1:].rstrip(".")
    if name.lower().partition(".")[0] in _NOT_HANDLES or text[end : end + 1] in {"/", "(", "{", "="}:
        return 0.0
    if match.start() == 0 or text[match.start() - 1] in "\n\t ":
        line = text.rfind("\n", max(0, match.start() - 80), match.start()) + 1
        if not text[line : match.start()].strip() and _NEXT_IS_CODE.match(text, end):
            return 0.0
    return LIKELY if len(name) >= 3 else POSSIBLE


_LABEL: Final = (
    r"(?:user ?names?|user[_ -]?id|log ?in(?: name)?|screen ?name|handle|gamer ?tag|nickname|nick|benutzername"
    r"|nombre de usuario|usuario|identifiant|nom d'utilisateur|nome utente|gebruikersnaam|логин|用户名|skype|discord"
    r"|telegram|snapchat|instagram|insta|twitter|tiktok|psn|xbox)"
)
USERNAMES: Final = (
    Shape(
        "USERNAME",
        re.compile(r"(?<![\w@/.&`$=])(?P<v>@[^\W\d]\w{1,30}(?:\.\w{1,30})*)"),
        needs="@",
        check=_handle_score,
    ),
    Shape("USERNAME", re.compile(r"(?<![\w/.])/?(?P<v>u/[A-Za-z0-9_-]{3,20})(?![\w/])"), 0.7, words=("u/",)),
    Shape(
        "USERNAME",
        re.compile(
            rf"(?<![^\W_]){_LABEL}[\"']?\s{{0,3}}(?:[:=]|\bis\b|\bist\b|\best\b|\bes\b)\s{{0,3}}[\"']?"
            r"(?P<v>[^\W_](?=[\w.-]{0,30}[0-9_.-]\w)[\w.-]{1,30}\w)(?![\w(\[])",
            re.IGNORECASE,
        ),
        0.85,
        needs=":=s",
        words=tuple(
            words(
                "user log screen handle gamer nick benutz usuario identif utente gebruik логин 用户名 skype discord "
                "telegram snapchat insta twitter tiktok psn xbox"
            )
        ),
    ),
)

CONTACT: Final[tuple[Finder, ...]] = (Email(), _SPELT_EMAIL, _SPACED_EMAIL, PHONE, _SPACED_PHONE, *USERNAMES)
