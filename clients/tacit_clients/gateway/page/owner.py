"""What the routes of the page share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

from fastapi import Path, Request

from tacit_clients.gateway.page.index import Index

if TYPE_CHECKING:
    from tacit_clients.gateway.app import Gateway

T = TypeVar("T")
Number = Annotated[int, Path(ge=1, le=2**53)]  # of a record


@dataclass(frozen=True)
class Owner:
    """The gateway and what the page remembers of its record."""

    gateway: "Gateway"
    index: Index

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await self.gateway.egress.in_thread(work, *arguments)


def owner_of(request: Request) -> Owner:
    """One for each gateway, made when its page is first looked at."""
    state = request.app.state
    found: Owner | None = getattr(state, "owner", None)
    if found is None:
        found = state.owner = Owner(state.gateway, Index(state.gateway.book))
    return found
