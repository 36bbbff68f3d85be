"""Addresses of machines and pages: which of them lead to a person."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from tacit_privacy.pii.detection.shapes import LIKELY, POSSIBLE, SURE, Finder, Found, Shape, View, any_of, words

_URL: Final = re.compile(
    r"(?<![A-Za-z0-9+.-])(?:https?|ftps?|sftp|wss?)://[^\s<>\"'`{}|\\^\[\]]{1,4000}", re.IGNORECASE
)
_BARE: Final = re.compile(
    r"(?<![\w@./:-])(?P<host>(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,6}[a-z]{2,18})(?![\w-]|\.\w|\()"
    r"(?P<path>/[^\s<>\"'`{}|\\^\[\]]{0,2000})?",
    re.IGNORECASE,
)
_TOP: Final = words(
    "com org net edu gov mil int io dev ai app info biz me tv name online site store shop blog club xyz tech "
    "cloud page eu uk de fr es pt nl be ch at dk se fi no pl cz sk hu ro bg gr tr ru ua by kz il ae sa qa eg "
    "ma ng ke za in pk bd lk cn jp kr tw hk sg my th vn ph id au nz ca mx br ar cl pe uy ve ie is lt lv ee lu "
    "li hr si rs mk al ba cy mt ge am az us it co"
)
# also words, file names' endings or abbreviations: they count with www., a path, or three labels and more
_ALSO_WORDS: Final = words("me at be no in it is us am my id to do so by se si app page name store shop rs pl ai in co")
_ENDINGS: Final = words("py js ts md sh rb go rs cc pl ml ps zip mov java html htm txt pdf docx json csv")
_TRAILING: Final = ".,;:!?'\")]}…"

_HANDLE_PATH: Final = re.compile(
    r"/(?:@|%40|~)\w|/(?:in|u|users?|profiles?|people|members?|author|channel|accounts?|customers?|patients?)/[^/?#]{2,}",
    re.IGNORECASE,
)
_SOCIAL: Final = re.compile(
    r"(?:^|\.)(?:twitter|x|facebook|fb|instagram|threads|tiktok|snapchat|pinterest|tumblr|soundcloud|vimeo|twitch|patreon"
    r"|flickr|last|behance|dribbble|github|gitlab|bitbucket|codepen|huggingface|kaggle|medium|quora|vk|t|wa|paypal|venmo"
    r"|ko-fi|onlyfans|strava|calendly|linktr|about)\.(?:com|me|tv|net|org|fm|co|ee|io)$"
)
_NOT_PEOPLE: Final = words(
    "about login signup search explore help settings home terms privacy features pricing topics trending "
    "marketplace blog docs jobs contact share intent watch hashtag events groups pages models datasets spaces"
)
_TELLING: Final = re.compile(
    r"[?&#;](?:[\w.-]{0,20}[_.-])?(?:token|key|apikey|sig|signature|auth|session|sessionid|sid|code|secret|password|pwd"
    r"|email|e-?mail|user|username|userid|name|phone|customer|account|uid|invite)=[^&\s]{2,}|%40|@",
    re.IGNORECASE,
)
_SHARED: Final = re.compile(r"[/=](?=[\w-]*[0-9])(?=[\w-]*[A-Z])(?=[\w-]*[a-z])[\w-]{20,}(?![\w-])")
_LIBRARY: Final = re.compile(
    r"(?:^|\.)(?:doi\.org|arxiv\.org|nih\.gov|wikipedia\.org|wikimedia\.org|rfc-editor\.org|ietf\.org|w3\.org|iso\.org"
    r"|archive\.org|jstor\.org|europa\.eu|python\.org|stackoverflow\.com|stackexchange\.com)$"
)
"""Sites whose numbered pages everybody reads: a number there points to a paper or a question, not to a person."""
_RECORD: Final = re.compile(r"/[^/?#\s]*[0-9]{5}|\?[\w.-]+=")
"""One record among many: a long number in the path, or a question put to the site. Whose it is, the site knows."""
_OWN: Final = any_of(
    "my website|my site|my web site|my page|my blog|my homepage|my portfolio|my profile|my company|my repo|our website",
    "website:|personal site|meine website|meine seite|mi sitio|mi página|mon site|il mio sito|moja strona|my url",
)
_PRIVATE_HOST: Final = re.compile(r"\.(?:local|internal|intranet|corp|lan|home|private)(?::[0-9]+)?$", re.IGNORECASE)


def _leads_to_a_person(view: View, start: int, end: int, host: str, path: str) -> bool:
    """Whether an address holds a handle, an e-mail address, a token or a record's number, or is somebody's own."""
    if _RECORD.search(path) and not _LIBRARY.search(host.lower()):
        return True
    if _TELLING.search(path) or _HANDLE_PATH.search(path) or _SHARED.search(path) or _PRIVATE_HOST.search(host):
        return True
    if _SOCIAL.search(host.lower()):
        parts = [part for part in re.split(r"[/?#]", path) if part]
        if len(parts) == 1 and parts[0].lower() not in _NOT_PEOPLE:
            return True
    return "@" in host or view.near(start, start, _OWN)


class Address:
    """Finds addresses with a scheme and bare ones; type PERSONAL_URL, URL or DOMAIN_NAME."""

    def may_be_in(self, view: View) -> bool:
        """Every address has a dot or a scheme."""
        return "." in view.characters or "://" in view.text

    def find(self, view: View) -> Iterator[Found]:
        """Every address, without the punctuation of the sentence around it."""
        if "://" in view.text:
            yield from self._with_scheme(view)
        for match in _BARE.finditer(view.text):
            host, path = match["host"], _stripped(match["path"] or "")
            start, end = match.start(), match.start("host") + len(host) + len(path)
            if not self._plausible(host, path):
                continue
            if _leads_to_a_person(view, start, end, host, path):
                yield Found(start, end, "PERSONAL_URL", LIKELY)
            else:
                yield Found(start, end, "URL" if len(path) > 1 else "DOMAIN_NAME", 0.6)

    @staticmethod
    def _with_scheme(view: View) -> Iterator[Found]:
        for match in _URL.finditer(view.text):
            whole = _stripped(match.group())
            host, slash, path = whole.partition("://")[2].partition("/")
            start, end = match.start(), match.start() + len(whole)
            personal = _leads_to_a_person(view, start, end, host.partition("?")[0], slash + path)
            telling = personal or bool(_TELLING.search(host))
            yield Found(start, end, "PERSONAL_URL" if telling else "URL", 0.95 if telling else 0.9)

    @staticmethod
    def _plausible(host: str, path: str) -> bool:
        labels = host.split(".")
        last = labels[-1].lower()
        if last not in _TOP or (not labels[-1].islower() and not host.isupper()):
            return False  # "end.It was": a full stop without its space
        sure = labels[0].lower() == "www" or len(labels) >= 3 or len(path) > 1
        return sure or (last not in _ALSO_WORDS and last not in _ENDINGS)


def _stripped(address: str) -> str:
    """Without closing punctuation; a closing bracket stays where it was opened inside."""
    while address and address[-1] in _TRAILING:
        if address[-1] == ")" and address.count("(") >= address.count(")"):
            break
        address = address[:-1]
    return address


_MACHINE: Final = any_of(
    "ip|ipv4|ipv6|ip address|address|host|server|client|ping|ssh|subnet|gateway|dns|router|client_ip|remote_addr",
    "login from|logged in from|connected from|endpoint|firewall|adresse ip|ip-adresse|dirección ip|indirizzo ip|адрес",
)
_VERSION: Final = re.compile(
    r"(?:\bv|versions?|release|build|==|>=|<=|~=|\bver\.?|chrome/|firefox/|safari/)\s{0,2}$", re.IGNORECASE
)


def _v4_score(view: View, match: re.Match[str]) -> float:
    """Four numbers below 256; not versions, chapters or the addresses that every machine has."""
    parts = match.group().split(".")
    if any(int(part) > 255 or (len(part) > 1 and part[0] == "0") for part in parts):
        return 0.0
    if _VERSION.search(view.text, max(0, match.start() - 12), match.start()):
        return 0.0
    numbers = [int(part) for part in parts]
    if numbers[0] in {0, 127, 255}:
        return 0.0
    return 0.8 if max(numbers) >= 32 else 0.3


def _v6_score(view: View, match: re.Match[str]) -> float:
    """What the standard library reads as an address, and long enough not to be a slice or a scope."""
    shown = match.group()
    try:
        parsed = ipaddress.IPv6Address(shown.rstrip(":") if not shown.endswith("::") else shown)
    except ValueError:
        return 0.0
    if parsed.is_loopback or parsed.is_unspecified or not any(char.isdigit() for char in shown):
        return 0.0
    return 0.95 if len([group for group in shown.split(":") if group]) >= 4 else POSSIBLE


_HEX: Final = "[0-9A-Fa-f]"
NETWORK: Final[tuple[Finder, ...]] = (
    Address(),
    Shape(
        "IP_ADDRESS",
        re.compile(r"(?<![\w.-])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w-])(?!\.[0-9])"),
        digits=4,
        needs=".",
        check=_v4_score,
        context=_MACHINE,
        beside=0.95,
    ),
    Shape(
        "IP_ADDRESS",
        re.compile(rf"(?<![\w:.])(?:{_HEX}|:){{6,45}}+(?![\w.])"),
        needs=":",
        words=("::", ":"),
        digits=1,
        check=_v6_score,
        context=_MACHINE,
        beside=0.95,
    ),
    Shape(
        "MAC_ADDRESS",
        re.compile(rf"(?<![\w:-]){_HEX}{{2}}([:-]){_HEX}{{2}}(?:\1{_HEX}{{2}}){{4}}(?![\w:-])"),
        0.95,
        needs=":-",
    ),
    Shape(
        "MAC_ADDRESS",
        re.compile(rf"(?<![\w.])(?=[A-Fa-f.]{{0,13}}[0-9]){_HEX}{{4}}\.{_HEX}{{4}}\.{_HEX}{{4}}(?![\w.])"),
        0.6,
        needs=".",
        digits=1,
        context=any_of("mac|mac address|interface|switch|port|device"),
        beside=SURE,
    ),
)
