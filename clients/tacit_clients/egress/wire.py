"""The outbound chat request: what of a client's body goes on, field by field. What is not named here never leaves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tacit_clients.egress.views import Path
from tacit_clients.modes.protocol import Json
from tacit_privacy.errors import BadInput, TextRefused
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.trees import is_wire_key

HINT: Final = (
    "Some names and numbers are written as placeholders such as PERSON_k3f9q. Treat each as the name it stands for and "
    "repeat it exactly as it is written."
)

_NUMBER_WORDS = (
    "frequency_penalty max_completion_tokens max_tokens min_p n presence_penalty repetition_penalty seed temperature "
    "top_k top_logprobs top_p"
)
_NUMBERS: Final = tuple(_NUMBER_WORDS.split())
_FLAGS: Final = ("logprobs", "parallel_tool_calls")
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "reasoning_effort": frozenset(("none", "minimal", "low", "medium", "high", "xhigh")),
    "service_tier": frozenset(("auto", "default", "flex", "scale", "priority")),
    "verbosity": frozenset(("low", "medium", "high")),
}
_TREES: Final = ("functions", "prediction", "response_format", "stop")
_STAYING_WORDS = (
    "audio conversation cache_control metadata moderation prompt_cache_key prompt_cache_options prompt_cache_retention "
    "safety_identifier store user web_search_options"
)
STAYING: Final = frozenset(_STAYING_WORDS.split())
"""Known fields that identify the user or make the provider keep or look up things. They never leave; that is said."""

ROLES: Final = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
_TOOL_CHOICES: Final = frozenset(("none", "auto", "required"))


@dataclass(frozen=True)
class Outbound:
    """A request as it would leave were nothing masked; ``dropped`` names known fields, never unknown ones."""

    body: dict[str, Json] = field(repr=False)
    dropped: tuple[str, ...]
    images: bool


def compose(asked: Mapping[str, Json], policy: RedactionPolicy, model: str, stream: bool, usage: bool) -> Outbound:
    """The outbound body. Raises BadInput for a body that is no chat request, TextRefused for audio and files.

    Unknown fields are dropped: clients add their own, and a provider has no use for them.
    """
    ids = _Identifiers()
    found = _Seen()
    body: dict[str, Json] = {"model": model}
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadInput("messages must be a list with at least one message")
    body["messages"] = [_message(message, ids, found) for message in messages]
    if policy.placeholder_hint:
        body["messages"].insert(0, {"role": "system", "content": HINT})
    modalities = asked.get("modalities")
    if asked.get("audio") is not None or (isinstance(modalities, list) and "audio" in modalities):
        raise TextRefused("audio", "nothing here can mask speech; ask for text")
    for name in (*_NUMBERS, *_FLAGS):
        if isinstance(asked.get(name), int | float):
            body[name] = asked[name]
    body |= {name: asked[name] for name, words in _WORDS.items() if _is_word(asked.get(name), words)}
    body |= {name: asked[name] for name in _TREES if asked.get(name) is not None}
    body |= _logit_bias(asked.get("logit_bias"))
    if asked.get("tools") is not None:
        body["tools"] = _tools(asked["tools"])
    for name in ("tool_choice", "function_call"):
        if asked.get(name) is not None:
            body[name] = _choice(asked[name])
    if stream:
        body["stream"] = True
        if usage:
            body["stream_options"] = {"include_usage": True}
    dropped = tuple(sorted(name for name in STAYING if asked.get(name) is not None))
    return Outbound(body, dropped, found.images)


def structural(path: Path) -> bool:
    """Whether the string at ``path`` of a composed body is one of the protocol's own words, checked by ``compose``."""
    match path:
        case ("model",) | ("reasoning_effort",) | ("service_tier",) | ("verbosity",) | ("seed",):
            return True
        case ("messages", int(), "role") | ("messages", int(), "tool_call_id"):
            return True
        case ("messages", int(), "content", int(), "type") | ("tools", int(), "type") | ("tool_choice", "type"):
            return True
        case ("messages", int(), "tool_calls", int(), "type" | "id"):
            return True
        case ("logit_bias", _):
            return True
    return len(path) == 1 and path[0] in _NUMBERS


def structural_key(path: Path) -> bool:
    """Whether the key that ends ``path`` is one of the protocol's own words."""
    return is_wire_key(path) or path[0] == "logit_bias" or len(path) == 1


@dataclass
class _Seen:
    images: bool = False


class _Identifiers:
    """Tool calls' identifiers come from elsewhere; all that matters is that they agree, so they get numbers."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __call__(self, identifier: Json) -> str:
        if not isinstance(identifier, str):
            raise BadInput("a tool call's identifier must be a string")
        return self._names.setdefault(identifier, f"call_{len(self._names) + 1}")


def _is_word(value: Json, words: frozenset[str]) -> bool:
    return isinstance(value, str) and value in words


def _message(message: Json, ids: _Identifiers, found: _Seen) -> dict[str, Json]:
    if not isinstance(message, dict) or not _is_word(message.get("role"), ROLES):
        raise BadInput(f"every message needs a role, one of: {', '.join(sorted(ROLES))}")
    kept: dict[str, Json] = {"role": message["role"]}
    content = message.get("content")
    if isinstance(content, list):
        kept["content"] = [_part(part, found) for part in content]
    elif content is None or isinstance(content, str):
        kept["content"] = content
    else:
        raise BadInput("a message's content must be a string or a list of parts")
    for name in ("name", "refusal", "reasoning_content"):
        if isinstance(message.get(name), str):
            kept[name] = message[name]
    if message.get("audio") is not None:
        raise TextRefused("audio", "nothing here can mask speech; send its transcript")
    if message.get("tool_calls"):
        kept["tool_calls"] = [_call(call, ids) for call in _list(message["tool_calls"], "tool_calls")]
    if message.get("tool_call_id") is not None:
        kept["tool_call_id"] = ids(message["tool_call_id"])
    if message.get("function_call") is not None:
        kept["function_call"] = _named(message["function_call"], "arguments")
    return kept


def _part(part: Json, found: _Seen) -> dict[str, Json]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        return {"type": kind, kind: part[kind]}
    if kind == "image_url":
        found.images = True
        image = part.get("image_url")
        address = image.get("url") if isinstance(image, dict) else image
        if not isinstance(address, str):
            raise BadInput("an image_url part needs a url")
        return {"type": "image_url", "image_url": {"url": address}}
    if kind == "input_audio":
        raise TextRefused("audio", "nothing here can mask speech; send its transcript")
    if kind in ("file", "input_file"):
        raise TextRefused("file", "nothing here can look into files; send their text")
    raise BadInput("a content part's type must be text, refusal or image_url")


def _call(call: Json, ids: _Identifiers) -> dict[str, Json]:
    if not isinstance(call, dict):
        raise BadInput("a tool call must be an object")
    if call.get("type") == "custom":
        return {"id": ids(call.get("id")), "type": "custom", "custom": _named(call.get("custom"), "input")}
    return {"id": ids(call.get("id")), "type": "function", "function": _named(call.get("function"), "arguments")}


def _named(value: Json, text: str) -> dict[str, Json]:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not isinstance(value.get(text), str):
        raise BadInput(f"a call needs name and {text}, both strings")
    return {"name": value["name"], text: value[text]}


def _tools(tools: Json) -> list[Json]:
    return [_tool(tool) for tool in _list(tools, "tools")]


def _tool(tool: Json) -> dict[str, Json]:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind not in ("function", "custom") or not isinstance(tool.get(kind), dict):
        raise BadInput("a tool must be of type function or custom: others let the provider itself look at your data")
    given = tool[kind]
    if not isinstance(given.get("name"), str):
        raise BadInput("a tool needs a name")
    fields = (
        ("name", "description", "parameters", "strict") if kind == "function" else ("name", "description", "format")
    )
    return {"type": kind, kind: {name: given[name] for name in fields if given.get(name) is not None}}


def _choice(choice: Json) -> Json:
    if _is_word(choice, _TOOL_CHOICES):
        return choice
    if isinstance(choice, dict) and isinstance(choice.get("name"), str) and len(choice) == 1:
        return dict(choice)
    kind = choice.get("type") if isinstance(choice, dict) else None
    if (
        kind in ("function", "custom")
        and isinstance(choice.get(kind), dict)
        and isinstance(choice[kind].get("name"), str)
    ):
        return {"type": kind, kind: {"name": choice[kind]["name"]}}
    raise BadInput("tool_choice must be none, auto, required or name a function")


def _logit_bias(bias: Json) -> dict[str, Json]:
    if not isinstance(bias, dict) or not bias:
        return {}
    if not all(re.fullmatch(r"\d{1,7}", key) and isinstance(value, int | float) for key, value in bias.items()):
        raise BadInput("logit_bias must map tokens' numbers to numbers")
    return {"logit_bias": bias}


def _list(value: Json, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadInput(f"{name} must be a list")
    return value
