"""The owner's pages, to be looked at. Sessions are checked by the gateway's guard before anything here runs."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tacit_clients.gateway.errors import refuse
from tacit_clients.gateway.page import changes
from tacit_clients.gateway.page.index import Filter
from tacit_clients.gateway.page.owner import Number, Owner, owner_of
from tacit_clients.gateway.page.render import HEADERS, page, static
from tacit_clients.gateway.page.shown import How, blocks
from tacit_clients.gateway.page.trying import LONGEST, Tried

router = APIRouter(include_in_schema=False)
_WAITING_ON_A_PAGE: Final = 20


@router.get("/")
async def left(request: Request) -> Response:
    """The list of what left and what did not."""
    owner, asked = owner_of(request), request.query_params
    wanted = _filter(asked)
    number = int(asked["page"]) if asked.get("page", "").isdecimal() and len(asked["page"]) < 9 else 1
    view = await owner.in_thread(owner.index.view, wanted, number)
    query = {name: value for name, value in asked.items() if name not in ("page", "done") and value}
    upstream = owner.gateway.settings.upstream
    values: dict[str, Any] = {
        "view": view,
        "wanted": wanted,
        "query": urlencode(query),
        "filtered": bool(query),
        "upstream": upstream,
    }
    values["masks"] = owner.gateway.egress.gate.redactor is not None
    values["following"] = owner.gateway.following
    return page(request, "left", days=owner.gateway.settings.keeping.outbound_days, **values)


@router.get("/records/{number}")
async def record(request: Request, number: Number) -> Response:
    """One record, and the very bytes that left in it."""
    owner, asked = owner_of(request), request.query_params
    found = await owner.in_thread(owner.index.find, number)
    if found is None:
        raise _nothing_there()
    entry, ending = found
    how: How = next((each for each in get_args(How) if each == asked.get("as")), "messages")
    resolving = asked.get("names") == "1" and how != "bytes"
    names = await owner.in_thread(owner.gateway.vault.peek, entry.conversation) if resolving else None
    body, cut = await owner.in_thread(blocks, entry.body, how, names) if entry.left else ([], False)
    values: dict[str, Any] = {
        "entry": entry,
        "ending": ending,
        "blocks": body,
        "cut": cut,
        "how": how,
        "resolving": resolving,
    }
    return page(request, "record", forgotten=resolving and names is None, **values)


@router.get("/records/{number}/bytes")
async def record_bytes(request: Request, number: Number) -> Response:
    """What left, byte by byte, as a file."""
    owner = owner_of(request)
    found = await owner.in_thread(owner.index.find, number)
    if found is None or not found[0].left:
        raise _nothing_there()
    return _file(found[0].body, f"left-{number}.json", "application/json")


@router.get("/try")
async def trying(request: Request) -> Response:
    return page(request, "try", text="", tried=Tried([], ""), longest=LONGEST)


@router.get("/answers")
async def answers(request: Request) -> Response:
    """Answers to judge, and the examples made of them."""
    owner, collector = owner_of(request), owner_of(request).gateway.collector
    resolving = request.query_params.get("names") == "1"
    waiting = await owner.in_thread(collector.waiting)
    examples = (await owner.in_thread(collector.examples))[::-1]
    shown, recent = waiting[:_WAITING_ON_A_PAGE], examples[:_WAITING_ON_A_PAGE]
    if resolving:
        shown = [await _resolved(owner, each) for each in shown]
        recent = [await _resolved(owner, each) for each in recent]
    values: dict[str, Any] = {
        "waiting": shown,
        "more": len(waiting) - len(shown),
        "examples": recent,
        "count": len(examples),
    }
    return page(request, "answers", resolving=resolving, **values)


@router.get("/examples.jsonl")
async def examples(request: Request) -> Response:
    """What training reads."""
    owner = owner_of(request)
    text = await owner.in_thread(owner.gateway.collector.export)
    return _file(text, "examples.jsonl", "application/jsonl")


@router.get("/erase")
async def erase(request: Request) -> Response:
    return page(request, "erase")


@router.get("/static/{name}")
async def files(name: str) -> Response:
    return static(name)


router.include_router(changes.router)


async def _resolved(owner: Owner, kept: Any) -> Any:
    return await owner.in_thread(owner.gateway.collector.resolved, kept) or kept


def _filter(asked: Mapping[str, str]) -> Filter:
    shown = asked.get("shown", "")
    return Filter(
        "left" if shown == "left" else "refused" if shown == "refused" else "",
        asked.get("mode", "")[:64],
        asked.get("type", "")[:64],
        asked.get("conversation", "")[:64],
        _day(asked.get("since", "")),
        _day(asked.get("until", "")),
    )


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 1970 <= found.year < 9000 else None


def _file(text: str, name: str, kind: str) -> Response:
    disposition = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text.encode("utf-8"), 200, HEADERS | disposition, kind)


def _nothing_there() -> Exception:
    return refuse(404, "not_found", "there is no such record")
