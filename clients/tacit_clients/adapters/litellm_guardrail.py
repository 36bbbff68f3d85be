"""A guardrail for LiteLLM's proxy: requests leave it redacted, answers are restored, streamed or not.

A file beside the proxy's configuration holds ``from tacit_clients.adapters.litellm_guardrail import TacitGuardrail``,
and the configuration names it: ``guardrail: thatfile.TacitGuardrail``, ``mode: [pre_call, post_call]``,
``default_on: true``, and where wanted ``policy``, ``vault`` and ``key``.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from tacit_clients.adapters._answers import TEXTS, Answer, structural
from tacit_privacy.errors import MissingExtra, TacitError, TextRefused
from tacit_privacy.pii.api import open_redactor

try:
    from litellm.exceptions import GuardrailRaisedException  # type: ignore[import-not-found]
    from litellm.integrations.custom_guardrail import CustomGuardrail  # type: ignore[import-not-found]
    from litellm.types.guardrails import GuardrailEventHooks  # type: ignore[import-not-found]
except ImportError as error:
    raise MissingExtra("the guardrail needs LiteLLM's proxy: pip install 'litellm[proxy]'") from error

_WORDS = "model stream metadata litellm_metadata litellm_session_id litellm_call_id guardrails tags cache"
_STAYS = frozenset(_WORDS.split())  # what the proxy keeps to itself, or needs to find the model
_CALLS = frozenset(("completion", "acompletion", "text_completion", "atext_completion", "embedding", "aembedding"))


class TacitGuardrail(CustomGuardrail):  # type: ignore[misc]  # LiteLLM is not here when this is checked
    """Redacts what leaves and restores what comes back.

    A conversation is a client's ``litellm_session_id`` or else one call; another key's client never shares one. Any
    failure refuses the request: nothing leaves unredacted, and errors hold no text.
    """

    def __init__(
        self,
        policy: str | None = None,
        vault: str | None = None,
        key: str = "",
        guardrail_name: str = "tacit",
        **kwargs: Any,
    ) -> None:
        super().__init__(guardrail_name=guardrail_name, **kwargs)
        self._redactor = open_redactor(policy, vault, key=key)

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """LiteLLM calls this before it asks the model."""
        if not self.should_run_guardrail(data=data, event_type=GuardrailEventHooks.pre_call):
            return data
        refusal = None
        try:
            if call_type not in _CALLS:
                raise TextRefused("unknown_call", f"{call_type} is nothing that this guardrail can redact")
            conversation = _conversation(data, user_api_key_dict)
            body = {name: data[name] for name in _given(data) if name not in _STAYS}
            redacted = await asyncio.to_thread(self._redactor.redact_body, body, structural, conversation)
        except TacitError as error:
            refusal = str(error)
        except Exception as error:
            refusal = f"{type(error).__name__} while redacting; nothing left"
        if refusal is not None:  # outside the handler: an error's cause and context could hold text
            raise GuardrailRaisedException(self.guardrail_name, refusal)
        data.update(redacted)
        data["proxy_server_request"]["body"].update(redacted)  # what the proxy's own logs keep
        return data

    async def async_post_call_success_hook(self, data: dict[str, Any], user_api_key_dict: Any, response: Any) -> Any:
        """LiteLLM calls this with a whole answer."""
        answer = Answer(self._redactor, _conversation(data, user_api_key_dict))
        for index, choice in enumerate(getattr(response, "choices", ())):
            message = getattr(choice, "message", None)
            if message is not None:
                _restore(message, answer, index, whole=True)
            elif isinstance(getattr(choice, "text", None), str):
                choice.text = answer.text(index, choice.text) + answer.rest(index)
        self._forget(data, user_api_key_dict)
        return response

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """LiteLLM passes a streamed answer through this. What is held back comes before a choice's end."""
        answer = Answer(self._redactor, _conversation(request_data, user_api_key_dict))
        async for chunk in response:
            for choice in getattr(chunk, "choices", ()):
                _restore(choice.delta, answer, choice.index, whole=bool(choice.finish_reason))
            yield chunk
        self._forget(request_data, user_api_key_dict)

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        *anything: Any,
        **more: Any,
    ) -> None:
        """LiteLLM calls this when there is no answer."""
        self._forget(request_data, user_api_key_dict)

    def _forget(self, data: dict[str, Any], user: Any) -> None:
        """A conversation of one call ends with it."""
        if not data.get("litellm_session_id"):
            self._redactor.forget(_conversation(data, user))


def _given(data: dict[str, Any]) -> list[str]:
    """The fields that the client sent, whatever they are: all of them may reach the model."""
    request = data.get("proxy_server_request")
    sent = request.get("body") if isinstance(request, dict) else None
    if not isinstance(sent, dict):
        raise TextRefused("no_request", "the proxy does not say what the client sent")
    return [name for name in sent if name in data]


def _conversation(data: dict[str, Any], user: Any) -> str:
    named = data.get("litellm_session_id") or data.get("litellm_call_id")
    if not named:
        raise TextRefused("no_call", "the request has no identifier, so nothing could be restored")
    owner = hashlib.sha256(repr((getattr(user, "api_key", None), getattr(user, "user_id", None))).encode()).hexdigest()
    return f"litellm {owner} {named}"


def _restore(message: Any, answer: Answer, choice: int, whole: bool) -> None:
    """Restore a message, or a piece of one; ``whole``: nothing follows it."""
    for name in TEXTS:
        piece = getattr(message, name, None)
        shown = answer.text((choice, name), piece) if isinstance(piece, str) else ""
        if whole:
            shown += answer.rest((choice, name))
        if shown or isinstance(piece, str):
            setattr(message, name, shown)
    for position, call in enumerate(getattr(message, "tool_calls", None) or ()):
        field = (choice, "tool", getattr(call, "index", position))
        function = call.function
        if isinstance(function.arguments, str):
            function.arguments = answer.arguments(field, function.name or "", function.arguments)
            function.arguments += answer.rest(field) if whole else ""
