"""Whole answers of either side, for modes that ask more than once: every call is added to the one account."""

import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from tacit_clients.egress import Egress
from tacit_clients.modes import prompts
from tacit_clients.modes.local import Confidence, LocalMode, LocalRequest, local_request
from tacit_clients.modes.protocol import Ask, Delta, Event, Finish, Json, Logprobs, Provenance, Usage
from tacit_privacy.errors import BadInput, TextRefused, UpstreamFailed

_KEPT: Final = ("model", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "user")


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer's first choice. ``confidence``: exp of the mean log-probability of its tokens, where they are told."""

    text: str = field(repr=False)
    finish: str
    confidence: float | None = None
    logprobs: tuple[Json, ...] = field(default=(), repr=False)


def with_messages(body: Mapping[str, Json], messages: Sequence[Json], **more: Json) -> dict[str, Json]:
    """A request of its own with the client's sampling and nothing else of theirs."""
    return {name: body[name] for name in _KEPT if name in body} | {"messages": list(messages)} | more


async def ask_llm(egress: Egress, ask: Ask, body: Mapping[str, Json], why: str, clean: bool = False) -> Whole:
    """The large model's whole answer to ``body``, restored. Raises TextRefused or UpstreamFailed."""
    account = Provenance(ask.provenance.mode)
    part = dataclasses.replace(ask, body=body, stream=False, provenance=account)
    text, finish, logprobs = [], "stop", list[Json]()
    try:
        async with aclosing(egress.chat(part, why, clean)) as events:
            async for event in events:
                if isinstance(event, Delta) and event.choice == 0 and event.field == "content":
                    text.append(event.text)
                elif isinstance(event, Logprobs) and event.choice == 0:
                    logprobs += event.content
                elif isinstance(event, Finish) and event.choice == 0:
                    finish = event.reason
    finally:
        ask.provenance.absorb(account)
    return Whole("".join(text), finish, None, tuple(logprobs))


async def ask_local(
    local: LocalMode,
    ask: Ask,
    messages: Sequence[Json],
    max_tokens: int | None = None,
    temperature: float | None = None,
    seed: int | None = None,
    *,
    personal: bool,
) -> Whole:
    """The local model's whole answer to ``messages``. Raises what the local model raises.

    ``personal`` False: without the owner's personal adapter, which may know by heart what no vault knows. So is every
    text made that may leave.
    """
    limit = local.most_tokens if max_tokens is None else min(max_tokens, local.most_tokens)
    request = LocalRequest([dict(message) for message in messages], 1, limit, temperature, None, (), seed, personal)
    return await _written(local, ask, request)


async def answer_local(local: LocalMode, ask: Ask, messages: Sequence[Json] | None = None) -> Whole:
    """The local model's whole answer to the client's own request, or to ``messages`` with the client's sampling."""
    body = ask.body if messages is None else with_messages(ask.body, messages)
    return await _written(local, ask, local_request(body, local.most_tokens))


async def _written(local: LocalMode, ask: Ask, request: LocalRequest) -> Whole:
    spoken, text, finish = Confidence(), [], "stop"
    async with aclosing(local.pieces(request, 0, ask.cancelled)) as pieces:
        async for piece in pieces:
            spoken.add(piece)
            text.append(piece.text)
            finish = piece.finish or finish
    ask.provenance.local_in += spoken.prompt
    ask.provenance.local_out += spoken.tokens
    return Whole("".join(text), finish, spoken.value)


async def delegated(egress: Egress, local: LocalMode | None, ask: Ask, why: str) -> AsyncGenerator[Event]:
    """The large model's answer to the client's request as it comes, and the local one where it cannot be had.

    Raises TextRefused or UpstreamFailed where ``local`` is None or the answer had begun.
    """
    begun = False
    failure: TextRefused | UpstreamFailed | None = None
    try:
        async with aclosing(egress.chat(ask, why)) as events:
            async for event in events:
                if not begun:
                    begun, ask.provenance.reason = True, why
                yield event
    except (TextRefused, UpstreamFailed) as error:
        failure = type(error)(*error.args)
    if failure is None:
        return
    if begun or local is None:
        raise failure
    ask.provenance.reason = failure.reason
    async with aclosing(local.answer(ask)) as events:
        async for event in events:
            yield event


async def prompts_of(local: LocalMode) -> prompts.Prompts:
    """In which form the local model is asked: as its tokenizer has a chat template or none."""
    form = getattr(local.model, "form", None)
    return prompts.CHAT if form is None else prompts.of_form(await form())


async def told(text: str, finish: str, ask: Ask) -> AsyncGenerator[Event]:
    """A whole answer as the events of one."""
    if text:
        yield Delta(0, "content", text)
    yield Finish(0, finish if finish in ("stop", "length") else "stop")
    yield Usage(ask.provenance.tokens_up, ask.provenance.tokens_down)


def last_of_user(messages: object) -> str:
    """What the person said last, as text. Raises BadInput where there is no such message or it is not text alone."""
    for message in reversed(messages if isinstance(messages, list) else []):
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
        if len(texts) == len(parts) and all(isinstance(text, str) for text in texts):
            return "\n".join(str(text) for text in texts)
        break
    raise BadInput("this mode reads text: end the messages with one of role user that holds text alone")


def with_last_of_user(messages: Sequence[Json], text: str) -> list[Json]:
    """The messages with ``text`` in place of what the person said last."""
    changed = list(messages)
    for position in range(len(changed) - 1, -1, -1):
        if isinstance(changed[position], dict) and changed[position].get("role") == "user":
            changed[position] = {**changed[position], "content": text}
            break
    return changed
