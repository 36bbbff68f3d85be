"""What pipeline and auxiliary share: the local model's own answer, and the large one's with a local one behind it."""

import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from tacit_clients.egress import Egress
from tacit_clients.modes.asking import delegated, last_of_user, with_messages
from tacit_clients.modes.local import Confidence, LocalMode, events_of, local_request
from tacit_clients.modes.protocol import Ask, Event, Json, Usage
from tacit_clients.modes.trust import flag_of_failure, watched
from tacit_privacy.errors import BadInput, TextRefused, UpstreamFailed


async def alone(local: LocalMode, ask: Ask, messages: Sequence[Json] | None = None) -> AsyncGenerator[Event]:
    """The local model's answer as it comes, to the client's request or to ``messages`` with the client's sampling.

    Its tokens are counted as local ones: ``tokens_up`` and ``tokens_down`` stay the large model's.
    """
    body = ask.body
    if messages is not None:
        body = with_messages(body, messages) | ({"n": body["n"]} if "n" in body else {})
    request, account = local_request(body, local.most_tokens), ask.provenance
    prompt = tokens = 0
    for choice in range(request.choices):
        spoken = Confidence()
        async with aclosing(local.pieces(request, choice, ask.cancelled)) as pieces:
            async for piece in pieces:
                account.answered_by = "local"
                spoken.add(piece)
                for event in events_of(piece, choice):
                    yield event
        prompt, tokens = max(prompt, spoken.prompt), tokens + spoken.tokens
        account.confidence = spoken.value
        account.local_in += spoken.prompt
        account.local_out += spoken.tokens
    yield Usage(prompt, tokens)


async def asked(
    egress: Egress, local: LocalMode | None, ask: Ask, why: str, sent: Mapping[str, Json] | None = None
) -> AsyncGenerator[Event]:
    """The large model's answer as it comes, looked at for flags; the local one where it cannot be had, flagged.

    ``sent``: what the large model is asked in place of the client's own request, which the local one answers. Raises
    TextRefused or UpstreamFailed where ``local`` is None or the answer had begun, and what the local model raises.
    """
    account, begun = ask.provenance, False
    asking = ask if sent is None else dataclasses.replace(ask, body=sent)
    try:
        async with aclosing(watched(delegated(egress, None, asking, why), ask, said(ask))) as events:
            async for event in events:
                begun = True
                yield event
        return
    except (TextRefused, UpstreamFailed) as error:
        if begun or local is None:
            raise
        account.answered_by, account.reason = "", error.reason
    account.flag(flag_of_failure(account.reason))
    async with aclosing(alone(local, ask)) as events:
        async for event in events:
            yield event


def said(ask: Ask) -> str:
    """What the person said last, to compare answers with; nothing where that is not text alone."""
    try:
        return last_of_user(ask.body.get("messages"))
    except BadInput:
        return ""
