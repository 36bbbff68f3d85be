"""Names that everybody shares: countries, large cities, household brands.

"What time is it in Madrid?" identifies nobody, and an answer needs the city. In a short text that holds nothing
personal, such a name is found as PUBLIC_PLACE or PUBLIC_ORGANIZATION, which the default policy keeps; beside a person,
an age, a number or an address it stays what it was and is masked. To mask both types switches the rule off.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

from tacit_privacy.pii.entities import Entity

LONGEST = 160
"""Code points of a text in which public names are kept: in a longer one, what stands around them may identify."""

PUBLIC = {"LOCATION": "PUBLIC_PLACE", "ORGANIZATION": "PUBLIC_ORGANIZATION"}
_HARMLESS = frozenset({*PUBLIC, *PUBLIC.values(), "DATE_TIME", "DOMAIN_NAME", "URL"})


def set_apart(text: str, found: Sequence[Entity]) -> list[Entity]:
    """``found`` with public names under their own types, where ``text`` is short and holds nothing personal."""
    if len(text) > LONGEST or any(entity.type not in _HARMLESS for entity in found):
        return list(found)
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
