"""What the owner changes. Each comes as a form with its page's token, which the gateway's guard has checked."""

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from tacit_clients.distilling.buffer import DistillationBuffer
from tacit_clients.gateway.bodies import form_of, parsed, text_of
from tacit_clients.gateway.errors import refuse
from tacit_clients.gateway.page.owner import Number, Owner, owner_of
from tacit_clients.gateway.page.render import HEADERS, back, page
from tacit_clients.gateway.page.trying import LONGEST, tried
from tacit_clients.gateway.page.wording import why
from tacit_clients.gateway.responses.kept import KIND as RESPONSES
from tacit_clients.gateway.session import cookie_of
from tacit_privacy.errors import BadInput, TextRefused

router = APIRouter(prefix="/owner", include_in_schema=False)


@router.post("/pause")
async def pause(request: Request) -> Response:
    owner, paused = owner_of(request), _form(request).get("paused") == "1"
    await owner.in_thread(owner.gateway.runtime.pause, paused)
    return back("/", "paused" if paused else "resumed")


@router.post("/erase/record/{number}")
async def erase_record(request: Request, number: Number) -> Response:
    owner = owner_of(request)
    gone = await owner.in_thread(owner.gateway.book.erase, number)
    return back("/", "erased" if gone else "gone")


@router.post("/erase/conversation")
async def erase_conversation(request: Request) -> Response:
    """The names of one conversation, and everything that was kept of it."""
    owner, form = owner_of(request), _form(request)
    _confirmed(form)
    await owner.in_thread(_forget, owner, form.get("conversation", ""))
    return back("/", "erased-conversation")


@router.post("/erase/records")
async def erase_records(request: Request) -> Response:
    owner = owner_of(request)
    _confirmed(_form(request))
    await owner.in_thread(owner.gateway.book.erase)
    return back("/", "erased")


@router.post("/erase/everything")
async def erase_everything(request: Request) -> Response:
    owner = owner_of(request)
    _confirmed(_form(request))
    await owner.in_thread(_forget_all, owner)
    return back("/", "erased-everything")


@router.post("/collect")
async def collect(request: Request) -> Response:
    owner, wanted = owner_of(request), _form(request).get("collect") == "1"
    await owner.in_thread(owner.gateway.collector.switch, wanted)
    return back("/answers", "collecting" if wanted else "not-collecting")


@router.post("/answers/{number}")
async def judge(request: Request, number: Number) -> Response:
    """Accept, correct or drop one answer."""
    owner, form = owner_of(request), _form(request)
    verdict = form.get("verdict", "")
    if verdict == "accept":
        done = await owner.in_thread(owner.gateway.collector.accept, number)
    elif verdict == "drop":
        done = await owner.in_thread(owner.gateway.collector.drop, number)
    elif verdict == "correct":
        done = await _correct(owner, number, form.get("answer", "").replace("\r\n", "\n"))
    else:
        raise refuse(400, "bad_request", "a verdict is accept, correct or drop")
    said = {"accept": "accepted", "drop": "dropped", "correct": "corrected"}[verdict]
    return back("/answers", said if done else "gone")


@router.post("/erase/example/{number}")
async def erase_example(request: Request, number: Number) -> Response:
    owner = owner_of(request)
    await owner.in_thread(owner.gateway.collector.erase, number)
    return back("/answers", "erased")


@router.post("/erase/examples")
async def erase_examples(request: Request) -> Response:
    owner = owner_of(request)
    _confirmed(_form(request))
    await owner.in_thread(owner.gateway.collector.erase)
    return back("/answers", "erased")


@router.post("/try")
async def try_it(request: Request) -> Response:
    """As JSON for the page's script, as a page for whoever has none."""
    owner, raw = owner_of(request), request.scope["state"]["body"]
    live = request.headers.get("content-type", "").startswith("application/json")
    text = text_of(parsed(raw), "text") if live else form_of(raw).get("text", "").replace("\r\n", "\n")
    if len(text) > LONGEST:
        raise refuse(413, "too_large", f"a text to try has at most {LONGEST} characters")
    found = await owner.in_thread(tried, owner.gateway.egress.gate, text)
    if not live:
        return page(request, "try", text=text, tried=found, longest=LONGEST)
    said = "" if found.leaves is not None else f"{why(found.reason, False)} ({found.detail or found.reason})"
    row: dict[str, Any] = {"pieces": [each.row() for each in found.pieces], "leaves": found.leaves, "refused": said}
    return JSONResponse(row, headers=HEADERS)


@router.post("/leave")
async def leave(request: Request) -> Response:
    """End this session; the page stays closed until there is a new link."""
    owner_of(request).gateway.sessions.end(cookie_of(request.headers.get("cookie", "")))
    return back("/")


async def _correct(owner: Owner, number: int, answer: str) -> bool:
    try:
        return await owner.in_thread(owner.gateway.collector.correct, number, answer)
    except TextRefused as error:
        reason = error.reason
    raise BadInput(f"your text was not kept: {why(reason, False)}; the answer still waits for you")


def _forget(owner: Owner, conversation: str) -> None:
    gateway = owner.gateway
    numbers = owner.index.of_conversation(conversation)
    gateway.book.erase(numbers)
    gateway.collector.erase_conversation(conversation)
    DistillationBuffer(gateway.vault).erase_conversation(conversation)
    kept = gateway.vault.rows(RESPONSES)
    gateway.vault.erase_rows(RESPONSES, [r.number for r in kept if json.loads(r.row)["conversation"] == conversation])
    gateway.vault.erase(conversation)


def _forget_all(owner: Owner) -> None:
    owner.gateway.book.erase()
    owner.gateway.vault.erase_all()


def _form(request: Request) -> dict[str, str]:
    return form_of(request.scope["state"]["body"])


def _confirmed(form: dict[str, str]) -> None:
    if form.get("sure") != "1":
        raise refuse(400, "bad_request", "tick the box to say that you are sure; what is erased cannot come back")
