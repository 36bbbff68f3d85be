"""``/v1/responses``: create, fetch, delete."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from secrets import token_hex
from typing import Any

from tacit_clients.gateway.bodies import parsed
from tacit_clients.gateway.chat import send_json, send_stream
from tacit_clients.gateway.desk import Answering, Desk, Presence
from tacit_clients.gateway.errors import refuse
from tacit_clients.gateway.responses.asked import chat_of
from tacit_clients.gateway.responses.kept import Kept, Responses
from tacit_clients.gateway.responses.told import Output, ResponseEvents, completed, response_row
from tacit_clients.gateway.security import Receive, Scope, Send
from tacit_clients.modes.protocol import Json

ROUTE = "/v1/responses"


class CreateResponse:
    """POST. What the client stores it fetches from this device: the large model's endpoint never stores anything."""

    def __init__(self, desk: Desk, kept: Responses) -> None:
        self._desk, self._kept = desk, kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = parsed(scope["state"]["body"])
        before, conversation = await before_of(body, self._desk, self._kept)
        presence = Presence(receive)
        async with presence.watched():
            chat = chat_of(body, before)
            answering = await self._desk.ask(scope, ROUTE, chat, presence.gone, conversation)
            row = response_row(f"resp_{token_hex(20)}", body, "in_progress")
            async with self._desk.counted(answering), aclosing(answering.events):
                if answering.ask.stream:
                    await self._stream(row, chat, answering, presence, send)
                else:
                    await self._whole(row, chat, answering, presence, send)

    async def _whole(
        self, row: dict[str, Json], chat: dict[str, Json], answering: Answering, presence: Presence, send: Send
    ) -> None:
        output = Output()
        async for event in answering.events:
            for _ in output.feed(event):
                continue
        done = completed(row, output, answering.gathered, answering.ask.provenance)
        await self._keep(done, chat, answering)
        presence.finish()
        await send_json(send, done, answering.final_headers())

    async def _stream(
        self, row: dict[str, Json], chat: dict[str, Json], answering: Answering, presence: Presence, send: Send
    ) -> None:
        told = ResponseEvents(row)

        async def rendered() -> AsyncGenerator[bytes]:
            begun = False
            async for event in answering.events:
                if not begun:
                    begun = True
                    yield told.begin()
                yield told.feed(event)
            done = completed(row, told.output, answering.gathered, answering.ask.provenance)
            await self._keep(done, chat, answering)
            yield (b"" if begun else told.begin()) + told.end(done)

        await send_stream(send, answering, rendered(), presence, told.fail)

    async def _keep(self, done: dict[str, Json], chat: dict[str, Json], answering: Answering) -> None:
        if not done["store"]:
            return
        first = 1 if isinstance(done["instructions"], str) else 0  # instructions hold for one response alone
        said = chat["messages"][first:]
        messages = [*said, *answering.gathered.rows()[:1]]
        await self._desk.egress.in_thread(self._kept.keep, Kept(done, messages, answering.ask.conversation))


async def before_of(body: dict[str, Any], desk: Desk, kept: Responses) -> tuple[list[Json], str | None]:
    """Messages and conversation of the response that this one goes on from. Raises Refused."""
    previous = body.get("previous_response_id")
    if previous is None:
        return [], None
    found = await desk.egress.in_thread(kept.find, previous) if isinstance(previous, str) else None
    if found is None:
        raise refuse(404, "previous_response_not_found", "this device keeps no response with that previous_response_id")
    return list(found.messages), found.conversation


class OneResponse:
    """GET and DELETE of one response."""

    def __init__(self, desk: Desk, kept: Responses) -> None:
        self._desk, self._kept = desk, kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        identifier = scope["path_params"]["identifier"]
        if scope["method"] == "DELETE":
            if not await self._desk.egress.in_thread(self._kept.delete, identifier):
                raise refuse(404, "not_found", "this device keeps no such response")
            await send_json(send, {"id": identifier, "object": "response", "deleted": True}, [])
            return
        found = await self._desk.egress.in_thread(self._kept.find, identifier)
        if found is None:
            raise refuse(404, "not_found", "this device keeps no such response")
        await send_json(send, found.row, [])
