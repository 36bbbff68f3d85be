"""A model in memory that several threads may ask: one set of weights, adapters stacked on it, a prompt's ids."""

import copy
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tacit_clients.slm import prompting
from tacit_clients.slm.adapter_files import factors_of, stack
from tacit_clients.slm.adapters import AdaptedModel
from tacit_clients.slm.decoding import decode
from tacit_clients.slm.models import Kind, LanguageModel, load
from tacit_clients.slm.places import Adapter
from tacit_clients.slm.sampling import Sampling
from tacit_clients.slm.text_stream import BROKEN, Detokeniser, StopStrings, TextStream
from tacit_privacy.errors import BadInput, PromptTooLong

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Form = Literal["auto", "chat", "plain"]
_PARTS = {"text", "input_text", "output_text"}


@dataclass(frozen=True)
class Variant:
    """The model with one set of adapters, fixed for good: a request keeps the one that it began with.

    There is a copy of the module objects for every thread, since some architectures write to themselves while they
    compute; all of them look at the same weights.
    """

    _idle: deque["PreTrainedModel"] = field(repr=False)

    @contextmanager
    def network(self) -> Iterator["PreTrainedModel"]:
        """A network that is nobody else's inside; there is one for each of the model's threads."""
        network = self._idle.pop()
        try:
            yield network
        finally:
            self._idle.append(network)


@dataclass(frozen=True)
class Variants:
    """What the adapters of one moment mean: with the personal one, and without."""

    shared: Variant
    personal: Variant | None

    def choose(self, personal: bool) -> Variant:
        return self.personal if personal and self.personal else self.shared


class Resident:
    """The loaded model. Raises BadInput where it cannot write (an encoder) or, with form ``chat``, has no template."""

    def __init__(self, name: str, form: Form, threads: int) -> None:
        model = load(name)
        if model.kind is not Kind.CAUSAL:
            raise BadInput(f"{name} is an encoder and cannot write; name a causal model for local answers")
        has_template = bool(getattr(model.tokenizer, "chat_template", None))
        if form == "chat" and not has_template:
            raise BadInput(f"the tokenizer of {name} has no chat template; leave the form `auto` or say `plain`")
        self._model, self._threads = model, threads
        self._tokenizer: Any = model.tokenizer
        self.context = model.max_length
        self.chat = has_template and form != "plain"
        self._special = sorted(_special_tokens(self._tokenizer), key=len, reverse=True)
        self.ends = self._ends()
        self._warm()

    def variants(self, adapter: Adapter | None, personal: Adapter | None) -> Variants:
        """The model with the shared adapter, and with a personal one on top of it, if there is one."""
        both = [one for one in (adapter, personal) if one is not None]
        shared = self._variant([] if adapter is None else [adapter])
        return Variants(shared, None if personal is None else self._variant(both))

    def _variant(self, adapters: Sequence[Adapter]) -> Variant:
        network = _twin(self._model.network)
        if adapters:
            adapt(LanguageModel(self._model.name, network, self._tokenizer, Kind.CAUSAL), adapters)
        return Variant(deque([network, *(_twin(network) for _ in range(self._threads - 1))]))

    def _warm(self) -> None:
        """What torch and the tokenizer set up at their first use happens now, and in one thread.

        Later calls find the tokenizer's settings as they need them and never write to it while others read. A model
        that cannot be decoded is refused here.
        """
        ids = self._tokens("warm") if self.chat else prompting.encode_question(self._tokenizer, "warm")
        for token in decode(self._model.network, ids, Sampling(), 1, lambda: False):
            self._decode([token.id])

    def _ends(self) -> frozenset[int]:
        """Ids that end an answer."""
        found: set[int] = {prompting.end_of_answer(self._tokenizer)}
        for source in (self._model.network.generation_config, self._model.network.config):
            ids = getattr(source, "eos_token_id", None)
            found |= set(ids if isinstance(ids, list | tuple) else [] if ids is None else [ids])
        return frozenset(found)

    def encode(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """A conversation's ids. Raises BadInput on an unreadable one, PromptTooLong where no token could follow."""
        ids = self._encode_chat(messages) if self.chat else self._encode_plain(messages)
        if not ids:
            raise BadInput("the conversation holds no text; the local model needs a message with some")
        if len(ids) >= self.context:
            raise PromptTooLong(len(ids), self.context)
        return ids

    def _encode_plain(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        return prompting.encode_question(self._tokenizer, _last_of_user(messages))

    def encode_answer(self, text: str) -> list[int]:
        """Ids of an answer as the model itself would write it, without its end; a special token in it is text."""
        if self.chat:
            return self._tokens(self._broken_up(_encodable(text)))
        return prompting.encode_answer(self._tokenizer, _encodable(text))

    def token_of(self, text: str, first: bool = False) -> int | None:
        """The token that spells ``text``, special ones apart; ``first``: at the beginning of an answer."""
        if first and not self.chat:
            return self._spelled.get(" " + text, self._spelled.get(text))
        return self._spelled.get(text)

    def known_tokens(self, texts: Sequence[str]) -> list[int]:
        """Ids of the texts up to the first that is no token of this model."""
        known: list[int] = []
        for number, text in enumerate(texts):
            token = self.token_of(text, first=number == 0)
            if token is None:
                break
            known.append(token)
        return known

    @cached_property
    def _spelled(self) -> dict[str, int]:
        """Tokens by what they spell inside a text. Parts of characters spell nothing; the smaller id wins.

        Made at the first use, since it decodes the whole vocabulary.
        """
        anchor = self.encode_answer("a")[-1]  # some decoders take the space from a first token
        before = self._decode([anchor])
        found: dict[str, int] = {}
        for token in range(min(len(self._tokenizer), self._model.vocabulary)):
            text = self._decode([anchor, token]).removeprefix(before)
            if text and BROKEN not in text:
                found.setdefault(text, token)
        return found

    def _tokens(self, text: str) -> list[int]:
        """Ids of a text whose special tokens are meant."""
        encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=False, verbose=False)
        return list(encoded["input_ids"])

    def _encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        from jinja2.exceptions import TemplateError

        plain = [self._harmless(message) for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(plain, add_generation_prompt=True, tokenize=False)
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            # The template's own words may quote the conversation: they must not reach a log by way of the chain.
            kind = type(error).__name__
        else:
            return self._tokens(text)
        raise BadInput(f"the model's chat template refuses this order of roles ({kind}); begin with user and alternate")

    def _harmless(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message whose text cannot end its turn: special tokens in it are broken up by a space."""
        role = message.get("role")
        return {"role": "system" if role == "developer" else role, "content": self._broken_up(text_of(message))}

    def _broken_up(self, text: str) -> str:
        for token in self._special:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def text_stream(self, stop: Sequence[str]) -> TextStream:
        """For one answer. An answer in the plain form begins after a space, as it was trained."""
        return TextStream(Detokeniser(self._decode), StopStrings(stop), leading_space=not self.chat)

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message whose content is a string, nothing, or a list of text parts. Raises BadInput."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return _encodable(content or "")
    parts = content if isinstance(content, list) else [None]
    read = (part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") in _PARTS)
    texts = [text for text in read if isinstance(text, str)]
    if len(texts) < len(parts):
        raise BadInput("the local model reads text only; leave images, audio and files out")
    return _encodable("\n".join(texts))


def _encodable(text: str) -> str:
    """Halves of surrogate pairs, which JSON can carry and no tokenizer reads, as replacement marks."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _last_of_user(messages: Sequence[Mapping[str, Any]]) -> str:
    """Plain models have learnt single requests: they hear what the person said last."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return text_of(message)
    raise BadInput("there is no message of role user; the local model answers the last one")


def _special_tokens(tokenizer: Any) -> set[str]:
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    named = {str(token) for token in added if getattr(token, "special", False)} | set(tokenizer.all_special_tokens)
    return {token for token in named if len(token) > 1}


def _twin(network: "PreTrainedModel") -> "PreTrainedModel":
    """Another set of module objects and buffers over the very same weights."""
    return copy.deepcopy(network, {id(weight): weight for weight in network.parameters()})


def adapt(model: LanguageModel, adapters: Sequence[Adapter]) -> None:
    """Put adapters on a model for good: one that is the sum of them all."""
    spec, vector = stack(model, [factors_of(adapter, model) for adapter in adapters])
    AdaptedModel(model, spec).load_vector(vector, spec.rank)
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
