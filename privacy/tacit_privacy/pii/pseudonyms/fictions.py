"""Made-up values: names of nobody, places that do not exist, addresses and numbers reserved for examples."""

import re
from collections.abc import Callable
from typing import Final

_FIRST = (
    "Ada Alvin Amity Anselm Ariel Aubrey Beatrix Benno Bettina Blythe Bram Calla Caspian Cedric Celeste Clement Corin "
    "Cressida Damaris Darian Della Dorian Edda Elara Elswyth Emeric Enid Evander Fabian Fenella Flora Garrick Gemma "
    "Gideon Greta Hadrian Hester Idris Ilse Imogen Ines Isolde Jarek Jocasta Jorin Junia Kester Lavinia Leander "
    "Leonie Linus Lorelei Lucan Mabel Malina Marius Merle Mirabel Nadir Nerys Odette Orla Orson Petra Quentin Rafe "
    "Rhoda Rowena Sabine Selwyn Sidony Tamsin Tarquin Thea Tobin Una Valentin Verity Wendel Winifred Xenia Yorick "
    "Zelda Zephyr "
)
_LAST = (
    "Abbeywood Aldercroft Alderney Ambleford Applegarth Arkenfeld Ashgrave Barlowe Bellweather Birchmoor Blackmere "
    "Brackenridge Brambleton Brightwater Calloway Carrowdale Chalkley Cloverdell Coldbrook Copperfield Cragmont "
    "Dapplewood Dovelane Dunmarsh Eastermere Eldergrove Elmhollow Emberly Fairbourne Farrowmoor Fennimore Fernhurst "
    "Foxgrove Gladwater Glenmarsh Goldthorn Greymoor Hallowell Harrowgate Hawkmere Hazelrigg Heathfield Hollowmere "
    "Inkerby Ironwood Juniperly Kestrelby Kingsmoor Lakenheath Larkspur Lindenmere Longmarsh Lowenthorp Maplethorp "
    "Marlwood Meadowcroft Millhaven Mossgrove Nettleship Northmere Oakenfold Orchardby Otterburn Pinecroft Plumstead "
    "Quillfeather Ravensdale Redthorn Reedmoor Rookwood Rowanby Saltmarsh Silverlake Sparrowhill Stonewell Summerby "
    "Swanmere Tanglewood Thistlemoor Underhall Valebrook Wainscot Westermoor Whitlock Wickersley Willowmere "
    "Winterbourne Wrenfield Yarrowby Yewdale "
)
_FIRMS = (
    "Norvel Quantra Belmere Ostrine Calvex Drenholm Eltaris Fenwold Galdora Havenix Istria Jovanta Kelbrook Lunaris "
    "Marvane Nextara Orbelle Pelloway Quillon Rivanta Solmere Tavoria Umbrel Vantora Wexley Xandor Yelvane Zorvane "
)
_PLACES = (
    "Almere-on-Sea Brackwater Calderhaven Dunmoor Eastvale Farrowby Glimmerton Harrowdene Islemere Junewick Kelderby "
    "Larkhaven Mirewood Northvale Oxmarsh Pellbridge Quarrington Riverden Saltholm Tarnbrook Ulverstead Violetmere "
    "Westhollow Yarnbury Zennorby "
)
FIRST_NAMES: Final = tuple(_FIRST.split())
LAST_NAMES: Final = tuple(_LAST.split())
FIRMS: Final = tuple(_FIRMS.split())
PLACES: Final = tuple(_PLACES.split())
_VOCABULARY: Final = frozenset(word.lower() for word in (*FIRST_NAMES, *LAST_NAMES, *FIRMS, *PLACES))
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")
_RESERVED = re.compile(r"\d{3}-?555-?01\d\d|(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}|00:00:5e:00:53:[0-9a-f]{2}")


def mentioned(folded: str) -> set[str]:
    """What in a folded text is part of a value that this module could make up: never issued from then on."""
    words = {part for word in _WORD.findall(folded) for part in (word, *word.split("-"))}
    return (words & _VOCABULARY) | {each.replace("-", "") for each in _RESERVED.findall(folded)}


class Dice:
    """Choices drawn from keyed bytes, the same for the same bytes."""

    def __init__(self, digest: bytes) -> None:
        self._left = int.from_bytes(digest, "big")

    def number(self, count: int) -> int:
        """One of ``count`` numbers from 0; 512 bits last for far more draws than a value needs."""
        self._left, drawn = divmod(self._left, count)
        return drawn

    def of(self, choices: tuple[str, ...]) -> str:
        """One of ``choices``."""
        return choices[self.number(len(choices))]


def _phone(dice: Dice) -> str:
    return f"{dice.number(7) + 2}{dice.number(10)}{dice.number(10)}-555-01{dice.number(100):02d}"


def _address(dice: Dice) -> str:
    return f"{dice.number(180) + 1} {dice.of(LAST_NAMES)} {dice.of(('Lane', 'Street', 'Road', 'Close', 'Way'))}"


def _handle(dice: Dice) -> str:
    return f"{dice.of(FIRST_NAMES).lower()}{dice.number(900) + 100}"


def _ip(dice: Dice) -> str:
    return f"{dice.of(('192.0.2', '198.51.100', '203.0.113'))}.{dice.number(254) + 1}"


def _email(dice: Dice) -> str:
    return f"{dice.of(FIRST_NAMES).lower()}.{dice.of(LAST_NAMES).lower()}{dice.number(90) + 10}@example.org"


def _mac(dice: Dice) -> str:
    return f"00:00:5E:00:53:{dice.number(256):02X}"


def _url(dice: Dice) -> str:
    return f"https://example.org/{_handle(dice)}"


MAKERS: Final[dict[str, Callable[[Dice], str]]] = {
    "ADDRESS": _address,
    "EMAIL_ADDRESS": _email,
    "IP_ADDRESS": _ip,
    "LOCATION": lambda dice: dice.of(PLACES),
    "MAC_ADDRESS": _mac,
    "PERSONAL_URL": _url,
    "PHONE_NUMBER": _phone,
    "URL": _url,
    "USERNAME": _handle,
}
"""How a value of a type is made up; names of people and organisations follow their words instead."""
