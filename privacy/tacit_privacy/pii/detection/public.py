"""Names that identify nobody where they stand: of places and brands that everybody shares, and in bare requests.

"What time is it in Madrid?" identifies nobody, and an answer needs the city. In a short text that holds nothing
personal, such a name is found as PUBLIC_PLACE or PUBLIC_ORGANIZATION, which the default policy keeps; beside a person,
an age, a number or an address it stays what it was and is masked. To mask both types switches the rule off.

Lists cannot hold every town and diner. A bare request, as to a voice assistant ("is there parking at glendale mall"),
is short, in lower case throughout and does not say whose place or firm it is; there, every place and organisation is
public. A person never is; but where no capital tells names from words, a word must be likelier a name than not.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

from tacit_privacy.pii.entities import Entity

LONGEST = 160
"""Code points of a text in which public names are kept: in a longer one, what stands around them may identify."""

PUBLIC = {"LOCATION": "PUBLIC_PLACE", "ORGANIZATION": "PUBLIC_ORGANIZATION"}
_MACHINES = frozenset({"ai", "siri", "cortana", "bixby", "chatgpt"})  # spoken to like persons, and nobody
_LIKELY = 0.95  # score of the recogniser at a chance of one half
_HARMLESS = frozenset({*PUBLIC, *PUBLIC.values(), "DATE_TIME", "DOMAIN_NAME", "URL"})


_OWN = re.compile(
    r"\b(?:my|our) (?:\w+ )?(?:company|firm|business|brand|shop|store|start-?up|school|employer|clinic|practice|team"
    r"|band|town|village|address|organi[sz]ation|website|product)\b"
    r"|\b(?:live|lives|living|lived|reside|resides|born|grew up|based|work|works|working|worked|employed) "
    r"(?:in|at|for|near)\b"
    r"|\b(?:i am|i'm|im|we are|we're|he is|she is) from\b"
    r"|\b(?:company|business|brand|start-?up|shop|firm|website|product)\b.{0,20}\b(?:called|named)\b"
    r"|\b(?:mi|mis|nuestr[ao]|mein|meine|unser|unsere|mon|ma|notre|minha|meu|noss[ao]|mijn|ons|onze|moja|moj|mia|mio"
    r"|vivo|vive|abito|wohne|wohnt|arbeite|trabajo|trabalho|travaille|lavoro)\b"
)


def set_apart(text: str, found: Sequence[Entity]) -> list[Entity]:
    """``found`` with public names under their own types, where ``text`` is short and holds nothing personal."""
    found = [entity for entity in found if text[entity.start : entity.end].casefold() not in _MACHINES]
    bare = len(text) <= LONGEST and text.isascii() and text.islower() and not _OWN.search(text)
    if bare:
        found = [entity for entity in found if entity.type != "PERSON" or entity.score >= _LIKELY]
    if len(text) > LONGEST or any(entity.type not in _HARMLESS for entity in found):
        return found
    if bare:
        return [replace(entity, type=PUBLIC.get(entity.type, entity.type)) for entity in found]
    return [_apart(text, entity) for entity in found]


def _apart(text: str, entity: Entity) -> Entity:
    known = names().get(entity.type, frozenset())
    word = " ".join(text[entity.start : entity.end].casefold().split()).removesuffix("'s").strip(".,")
    return replace(entity, type=PUBLIC[entity.type]) if word in known else entity


@cache
def names() -> Mapping[str, frozenset[str]]:
    """The lists of public.toml by entity type, case-folded. A place may be named as a brand is, and the reverse."""
    raw = tomllib.loads((files("tacit_privacy") / "pii" / "detection" / "public.toml").read_text(encoding="utf-8"))
    lists = {key: {word.strip().casefold().strip(".") for word in text.split(",")} - {""} for key, text in raw.items()}
    everything = frozenset().union(*lists.values())
    return {"LOCATION": everything, "ORGANIZATION": everything}
