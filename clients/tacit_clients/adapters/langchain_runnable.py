"""A LangChain runnable around a chat model: messages reach the model redacted, its answer comes back restored.

``redacted(model)`` stands wherever ``model`` stood: in chains, agents, ``stream`` and ``astream``. The conversation is
``config["configurable"]["session_id"]``, as message histories have it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tacit_clients.adapters._answers import Answer, structural
from tacit_privacy.errors import MissingExtra
from tacit_privacy.pii.api import CONVERSATION, TextRedactor

try:
    from langchain_core.language_models import BaseChatModel  # type: ignore[import-not-found]
    from langchain_core.messages import (  # type: ignore[import-not-found]
        AIMessage,
        AIMessageChunk,
        BaseMessage,
        convert_to_messages,
        message_to_dict,
        messages_from_dict,
    )
    from langchain_core.prompt_values import PromptValue  # type: ignore[import-not-found]
    from langchain_core.runnables import Runnable, RunnableConfig  # type: ignore[import-not-found]
except ImportError as error:
    raise MissingExtra("the runnable needs LangChain: pip install langchain-core") from error


def redacted(model: "BaseChatModel | Runnable[Any, Any]", redactor: TextRedactor) -> "RedactedModel":
    """``model`` behind ``redactor``, which stays the caller's to close."""
    return RedactedModel(model, redactor)


class RedactedModel(Runnable[Any, Any]):  # type: ignore[misc]  # LangChain is not here when this is checked
    """Raises TextRefused where the policy lets a text not leave; the model is not asked then."""

    def __init__(self, model: Any, redactor: TextRedactor) -> None:
        self._model, self._redactor = model, redactor

    def bind_tools(self, tools: Any, **kwargs: Any) -> "RedactedModel":
        """The same with tools. Their schemas are the program's own words: they go as they are."""
        return RedactedModel(self._model.bind_tools(tools, **kwargs), self._redactor)

    def invoke(self, input: Any, config: "RunnableConfig | None" = None, **kwargs: Any) -> Any:
        talk = _conversation(config)
        return self._restored(self._model.invoke(self._messages(input, talk), config, **kwargs), talk)

    async def ainvoke(self, input: Any, config: "RunnableConfig | None" = None, **kwargs: Any) -> Any:
        talk = _conversation(config)
        messages = await asyncio.to_thread(self._messages, input, talk)
        return self._restored(await self._model.ainvoke(messages, config, **kwargs), talk)

    def stream(self, input: Any, config: "RunnableConfig | None" = None, **kwargs: Any) -> Iterator[Any]:
        talk = _conversation(config)
        answer = Answer(self._redactor, talk)
        for chunk in self._model.stream(self._messages(input, talk), config, **kwargs):
            yield _piece(chunk, answer)
        yield from _last(answer)

    async def astream(self, input: Any, config: "RunnableConfig | None" = None, **kwargs: Any) -> AsyncIterator[Any]:
        talk = _conversation(config)
        answer = Answer(self._redactor, talk)
        messages = await asyncio.to_thread(self._messages, input, talk)
        async for chunk in self._model.astream(messages, config, **kwargs):
            yield _piece(chunk, answer)
        for chunk in _last(answer):
            yield chunk

    def _messages(self, input: Any, conversation: str) -> "list[BaseMessage]":
        given = input.to_messages() if isinstance(input, PromptValue) else input
        messages = convert_to_messages([given] if isinstance(given, str | BaseMessage) else given)
        body = [message_to_dict(message) for message in messages]
        for message in body:  # what the provider told about its own earlier answers need not go back
            message["data"].pop("response_metadata", None)
        return list(messages_from_dict(self._redactor.redact_body(body, structural, conversation)))

    def _restored(self, message: Any, conversation: str) -> Any:
        if not isinstance(message, AIMessage):
            raise TypeError(f"the model gave a {type(message).__name__}; wrap a chat model, before any parser")
        answer = Answer(self._redactor, conversation)
        whole = _piece(message, answer)
        rest = "".join(answer.rest(field) for field in answer.open_fields() if field == "content")
        content = whole.content + rest if isinstance(whole.content, str) else whole.content
        calls = [call | {"args": self._arguments(call, conversation)} for call in message.tool_calls]
        return whole.model_copy(update={"content": content, "tool_calls": calls})

    def _arguments(self, call: Any, conversation: str) -> Any:
        if not self._redactor.policy.restore.tool(call["name"]):
            return call["args"]
        return _mapped(call["args"], lambda text: self._redactor.restore(text, conversation))


def _conversation(config: "RunnableConfig | None") -> str:
    return str(((config or {}).get("configurable") or {}).get("session_id", CONVERSATION))


def _piece(message: Any, answer: Answer) -> Any:
    """A message, or a chunk of one, with what can be shown of it."""
    changes: dict[str, Any] = {}
    if isinstance(message.content, str):
        changes["content"] = answer.text("content", message.content)
    else:
        changes["content"] = [_block(block, number, answer) for number, block in enumerate(message.content)]
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        changes["tool_call_chunks"] = [
            chunk | {"args": answer.arguments(("tool", chunk["index"]), chunk["name"] or "", chunk["args"] or "")}
            for chunk in message.tool_call_chunks
        ]
        return AIMessageChunk(**{**dict(message), **changes, "tool_calls": [], "invalid_tool_calls": []})
    return message.model_copy(update=changes)


def _block(block: Any, number: int, answer: Answer) -> Any:
    if not isinstance(block, dict) or not isinstance(block.get("text"), str):
        return block
    field = ("block", block.get("index", number))
    return block | {"text": answer.text(field, block["text"])}


def _last(answer: Answer) -> "Iterator[AIMessageChunk]":
    """What was held back when the stream ended."""
    for field in answer.open_fields():
        rest = answer.rest(field)
        match field:
            case "content" if rest:
                yield AIMessageChunk(content=rest)
            case ("block", index) if rest:
                yield AIMessageChunk(content=[{"type": "text", "text": rest, "index": index}])
            case ("tool", index) if rest:
                yield AIMessageChunk(
                    content="",
                    tool_call_chunks=[
                        {"name": None, "args": rest, "id": None, "index": index, "type": "tool_call_chunk"}
                    ],
                )


def _mapped(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return change(value) if isinstance(value, str) else value
