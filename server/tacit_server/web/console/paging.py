"""Links between the pages of a list."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tacit_server.deployment.looking import Listing


@dataclass(frozen=True, slots=True)
class Pages:
    """Where a page of a list stands among the others; ``before`` and ``after`` are addresses, or empty."""

    number: int
    pages: int
    total: int
    before: str
    after: str


def paging(found: Listing[Any], url: str, query: Mapping[str, str]) -> Pages:
    """``query``: what the list is narrowed by, which every page of it keeps."""
    kept = {name: value for name, value in query.items() if value}

    def at(number: int) -> str:
        return f"{url}?{urlencode(kept | {'page': str(number)})}"

    return Pages(
        found.number,
        found.pages,
        found.total,
        at(found.number - 1) if found.number > 1 else "",
        at(found.number + 1) if found.number < found.pages else "",
    )
