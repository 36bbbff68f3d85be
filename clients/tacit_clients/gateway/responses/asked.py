"""A Responses request as the chat request that it means."""

from collections.abc import Mapping
from typing import Any, Final

from tacit_clients.modes.protocol import Json
from tacit_privacy.errors import BadInput, TextRefused

_SAME_WORDS = (
    "model temperature top_p top_logprobs parallel_tool_calls service_tier stream user metadata store "
    "safety_identifier prompt_cache_key prompt_cache_retention seed"
)
_SAME: Final = tuple(_SAME_WORDS.split())
_SERVER_SIDE: Final = ("background", "conversation", "prompt")
_TEXTS: Final = ("input_text", "output_text", "text")


def chat_of(body: Mapping[str, Json], before: list[Json]) -> dict[str, Json]:
    """The chat body. ``before``: messages of the responses that this one goes on from. Raises BadInput, TextRefused."""
    for name in _SERVER_SIDE:
        if body.get(name):
            raise BadInput(f"{name} keeps your data at the provider and is not supported; leave it out")
    chat: dict[str, Json] = {name: body[name] for name in _SAME if body.get(name) is not None}
    messages: list[Json] = []
    if isinstance(body.get("instructions"), str):
        messages.append({"role": "system", "content": body["instructions"]})
    chat["messages"] = [*messages, *before, *messages_of(body.get("input"))]
    if type(body.get("max_output_tokens")) is int:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    reasoning = body.get("reasoning")
    if isinstance(reasoning, dict) and isinstance(reasoning.get("effort"), str):
        chat["reasoning_effort"] = reasoning["effort"]
    text = body.get("text")
    if isinstance(text, dict):
        chat |= _format(text.get("format"))
        if isinstance(text.get("verbosity"), str):
            chat["verbosity"] = text["verbosity"]
    if body.get("tools"):
        chat["tools"] = [_tool(tool) for tool in _list(body["tools"], "tools")]
    if body.get("tool_choice") is not None:
        chat["tool_choice"] = _choice(body["tool_choice"])
    return chat


def messages_of(given: Json) -> list[Json]:
    """Input items as chat messages. Raises BadInput, and TextRefused for sound and files."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if given is None:
        return []
    messages: list[Json] = []
    for item in _list(given, "input"):
        _add(messages, item)
    return messages


def _add(messages: list[Json], item: Json) -> None:
    kind = item.get("type", "message") if isinstance(item, dict) else None
    if kind == "message":
        messages.append({"role": item.get("role"), "content": _content(item.get("content"))})
    elif kind in ("function_call", "custom_tool_call"):
        custom = kind == "custom_tool_call"
        call = _call(item, custom)
        last = messages[-1] if messages else None
        if isinstance(last, dict) and last.get("role") == "assistant":
            last.setdefault("tool_calls", []).append(call)
        else:
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind in ("function_call_output", "custom_tool_call_output"):
        output = item.get("output")
        content = output if isinstance(output, str) else _content(output)
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
    elif kind == "reasoning":
        return  # the model's own notes; a chat has no place for them
    else:
        raise BadInput("an input item must be a message, a function call or its output; others live at the provider")


def _call(item: Mapping[str, Json], custom: bool) -> dict[str, Json]:
    if custom:
        inner = {"name": item.get("name"), "input": item.get("input")}
        return {"id": item.get("call_id"), "type": "custom", "custom": inner}
    inner = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": inner}


def _content(content: Json) -> Json:
    if content is None or isinstance(content, str):
        return content
    parts = [_part(part) for part in _list(content, "content")]
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts) if len(parts) == 1 else parts
    return parts


def _part(part: Json) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXTS and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": "text", "text": part["refusal"]}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    if kind == "input_audio":
        raise TextRefused("audio", "nothing here can mask speech; send its transcript")
    if kind in ("input_file", "input_image"):
        raise TextRefused("file", "nothing here can look into files; send their text")
    raise BadInput("a content part's type must be input_text, output_text, refusal or input_image")


def _format(form: Json) -> dict[str, Json]:
    if not isinstance(form, dict) or form.get("type") in (None, "text"):
        return {}
    if form["type"] == "json_schema":
        schema = {
            name: form[name] for name in ("name", "description", "schema", "strict") if form.get(name) is not None
        }
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"response_format": {"type": form["type"]}}


def _tool(tool: Json) -> Json:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind not in ("function", "custom"):
        raise BadInput("a tool must be of type function or custom: others let the provider itself look at your data")
    return {"type": kind, kind: {name: value for name, value in tool.items() if name != "type" and value is not None}}


def _choice(choice: Json) -> Json:
    if isinstance(choice, dict) and choice.get("type") in ("function", "custom"):
        return {"type": choice["type"], choice["type"]: {"name": choice.get("name")}}
    return choice


def _list(value: Json, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadInput(f"{name} must be a list")
    return value
