"""Whether the large model's endpoint answers at all, asked before anything is measured with it."""

from contextlib import aclosing
from threading import Event

from tacit_clients.egress.settings import UpstreamSettings
from tacit_clients.gateway.conversations import of_header
from tacit_clients.gateway.settings import GatewaySettings
from tacit_clients.modes.protocol import Ask, Provenance
from tacit_privacy.errors import BadInput, UpstreamFailed
from tacit_simulations.evaluation.modes.asking import KEEP_ALL, Asking, house


async def reach(upstream: UpstreamSettings, asking: Asking) -> None:
    """Put one short question to ``upstream``, as every mode puts its own. Raises BadInput where no answer comes."""
    async with house(GatewaySettings(upstream=upstream), KEEP_ALL, None, asking) as at:
        llm = at.gateway.modes.find("tacit/llm")
        if llm is None:
            raise LookupError("a gateway without tacit/llm")
        question = Ask(asking.body("llm", "hello"), of_header("evaluation"), True, Provenance("llm"), Event())
        try:
            async with aclosing(llm.answer(question)) as events:
                async for _ in events:
                    pass
        except UpstreamFailed as error:
            raise BadInput(_sentence(error, upstream)) from error


def _sentence(error: UpstreamFailed, upstream: UpstreamSettings) -> str:
    at = f"the large model's endpoint {upstream.url}"
    match error.reason, error.status:
        case "status", 401 | 403:
            return f"{at} refuses with status {error.status}; set TACIT_UPSTREAM_KEY to a key that it takes"
        case "status", 404:
            return f"{at} has no such address, or no model {upstream.model}; correct --upstream or --model"
        case "status", _:
            return f"{at} refuses a short question with status {error.status}; check --upstream and --model, or wait"
        case "timeout", _:
            return f"{at} took more than {upstream.first_byte_s:g} s over a short question; wait until it is less busy"
        case "malformed", _:
            return f"{at} answers in another form than OpenAI's chat completions; does its URL end as in /v1?"
    return f"nobody answers at {upstream.url}; start the large model's endpoint there, or correct --upstream"
