"""Loads a small language model: the packaged one, a local folder, or a Hugging Face id; causal or encoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tacit_clients.slm.places import NANO as NANO
from tacit_clients.slm.places import NANO_FOLDER as NANO_FOLDER
from tacit_clients.slm.places import model_folder, offline
from tacit_privacy.errors import BadInput

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_CAUSAL_ENDINGS = ("ForCausalLM", "LMHeadModel")


class Kind(StrEnum):
    """What a model can be asked: the next token, or only a representation of a text."""

    CAUSAL = "causal"
    ENCODER = "encoder"


@dataclass(frozen=True, slots=True)
class Projection:
    """Hidden state to logits: ``weight`` (vocabulary, hidden) and ``bias`` (vocabulary,) or None."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class LanguageModel:
    """A frozen network in float32, always in evaluation mode (no dropout), and its tokenizer."""

    name: str
    network: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    kind: Kind

    @property
    def hidden_size(self) -> int:
        return int(self._text_config.hidden_size)

    @property
    def layers(self) -> int:
        return int(self._text_config.num_hidden_layers)

    @property
    def vocabulary(self) -> int:
        return int(self._text_config.vocab_size)

    @property
    def max_length(self) -> int:
        """The longest input in tokens that the architecture allows."""
        return int(getattr(self._text_config, "max_position_embeddings", 0) or 2**20)

    @property
    def _text_config(self) -> "PretrainedConfig":
        return self.network.config.get_text_config()

    @cached_property
    def parameters(self) -> int:
        """How many numbers the network holds, tied ones once; adapters do not count."""
        return sum(p.numel() for name, p in self.network.named_parameters() if ".lora_" not in name)

    @cached_property
    def _embedding_parameters(self) -> int:
        embeddings = self.network.get_input_embeddings()
        return sum(p.numel() for p in embeddings.parameters())

    def hidden(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Last hidden states: ``ids`` (batch, length) int64, right-padded, to (batch, length, hidden) float32.

        A causal model needs no ``mask``: what stands to the right of a token cannot reach it. An encoder does, unless
        nothing is padded.
        """
        if self.kind is Kind.CAUSAL:
            return _tensor(self.network.base_model(input_ids=ids, use_cache=False).last_hidden_state)
        return _tensor(self.network(input_ids=ids, attention_mask=mask).last_hidden_state)

    def logits(self, ids: Tensor) -> Tensor:
        """Next-token logits (batch, length, vocabulary) by the network's own road: the slow, certain one."""
        return _tensor(self.network(input_ids=ids, use_cache=False).logits)

    @cached_property
    def projection(self) -> Projection | None:
        """The output layer, if logits are that layer alone of the last hidden state; None where they are not.

        Some architectures scale or cap their logits. Rather than to know them all, one forward pass compares.
        """
        layer = self.network.get_output_embeddings() if self.kind is Kind.CAUSAL else None  # type: ignore[no-untyped-call]
        if not isinstance(layer, nn.Linear):
            return None
        probe = torch.arange(min(8, self.vocabulary))[None]
        with torch.no_grad():
            same = torch.allclose(layer(self.hidden(probe)), self.logits(probe), rtol=1e-4, atol=1e-4)
        return Projection(layer.weight, layer.bias) if same else None

    def training_bytes(self, adapter: int, batch_size: int = 8, length: int = 48) -> int:
        """Memory in bytes that LoRA training needs, an estimate from above for one process without its interpreter.

        Weights once; per adapter float the value, its gradient and AdamW's two moments; activations of every layer by
        equation 2 of Korthikanti et al. 2022 (arXiv 2205.05198), doubled for float32; logits and their gradient.
        """
        heads = int(self._text_config.num_attention_heads)
        tokens = batch_size * length
        per_layer = tokens * self.hidden_size * (68 + 10 * heads * length / self.hidden_size)
        logits = 8 * tokens * self.vocabulary if self.kind is Kind.CAUSAL else 0
        return int(4 * self.parameters + 16 * adapter + self.layers * per_layer + logits)

    def training_flops(self, length: int = 48) -> float:
        """Floating-point operations per trained token: forward 2N, backward 2N since the weights are frozen.

        N counts every weight a token is multiplied with (Kaplan et al. 2020, arXiv 2001.08361, without the weight
        gradients); attention adds 4 * length * hidden per layer and direction. The adapter's own share is below 1 %.
        """
        multiplied = self.parameters - self._embedding_parameters
        if self.kind is Kind.CAUSAL and bool(getattr(self._text_config, "tie_word_embeddings", False)):
            multiplied += self._embedding_parameters
        return 4.0 * multiplied + 8.0 * length * self.hidden_size * self.layers


def single_thread() -> None:
    """Hold torch to one thread in this process: with more, sums change their order and results their last bits."""
    torch.set_num_threads(1)


def load(name: str) -> LanguageModel:
    """Load ``tacit-nano`` (packaged), a local folder, or a Hugging Face id, in float32.

    The local cache is asked first, the hub only where that fails and ``HF_HUB_OFFLINE`` is not set. Code that a model
    brings along is never run. Raises BadInput when there is no such model or it is neither causal nor an encoder.
    """
    folder = model_folder(name)
    if folder is not None:
        return _load(name, str(folder), local=True)
    try:
        return _load(name, name, local=True)
    except BadInput:
        if offline():
            raise
        return _load(name, name, local=False)


def _load(name: str, place: str, local: bool) -> LanguageModel:
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(place, **options)
        kind = _kind(name, config)
        factory = AutoModelForCausalLM if kind is Kind.CAUSAL else AutoModel
        with _quiet():
            network = factory.from_pretrained(place, dtype=torch.float32, **options)
            tokenizer = AutoTokenizer.from_pretrained(place, **options)
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        where = "in the local cache" if local and not Path(place).is_dir() else f"at {place}"
        raise BadInput(
            f"no usable model {name} {where} ({first}); name {NANO}, a folder with config.json, weights and tokenizer, "
            "or a Hugging Face id that can be reached"
        ) from error
    network.requires_grad_(False)
    network.eval()
    return LanguageModel(name, network, tokenizer, kind)


def _kind(name: str, config: "PretrainedConfig") -> Kind:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    if getattr(config, "is_encoder_decoder", False):
        raise BadInput(f"model {name} is an encoder-decoder ({config.model_type}); name a causal model or an encoder")
    architectures = getattr(config, "architectures", None) or []
    if architectures:
        return Kind.CAUSAL if any(a.endswith(_CAUSAL_ENDINGS) for a in architectures) else Kind.ENCODER
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES or (
        config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    ):
        return Kind.ENCODER
    return Kind.CAUSAL


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no reports of unused heads while loading."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _tensor(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise BadInput(f"the model answered with {type(value).__name__} where a tensor was due; it is not supported")
    return value
