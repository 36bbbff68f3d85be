"""Converts llama2.c checkpoints (github.com/karpathy/llama2.c, format v0) to a Hugging Face Llama folder."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import BadInput

Matrix = NDArray[np.float32]
UNKNOWN, BEGIN, END = 0, 1, 2  # token ids that SentencePiece reserves
SPACE = "\u2581"  # how SentencePiece writes a space inside a piece


@dataclass(frozen=True, slots=True)
class Shape:
    """The seven integers a v0 checkpoint opens with; a negative vocabulary means an output layer of its own."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    length: int
    tied: bool

    @classmethod
    def parse(cls, header: bytes) -> Self:
        hidden, intermediate, layers, heads, key_value_heads, vocabulary, length = struct.unpack("<7i", header)
        return cls(hidden, intermediate, layers, heads, key_value_heads, abs(vocabulary), length, tied=vocabulary > 0)

    def plausible(self) -> bool:
        positive = min(self.hidden, self.intermediate, self.layers, self.key_value_heads, self.vocabulary) > 0
        return positive and self.heads > 0 and self.hidden % self.heads == 0 and self.heads % self.key_value_heads == 0


class _Reader:
    """Takes float32 tensors from a buffer in order."""

    def __init__(self, floats: Matrix) -> None:
        self._floats, self._next = floats, 0

    def take(self, *shape: int) -> Matrix:
        size = int(np.prod(shape))
        part = self._floats[self._next : self._next + size]
        if len(part) < size:
            raise BadInput(
                f"the checkpoint ends after {len(self._floats)} floats but its header promises at least "
                f"{self._next + size}; download it again"
            )
        self._next += size
        return part.reshape(shape)

    @property
    def unread(self) -> int:
        return len(self._floats) - self._next


def convert(checkpoint: Path, vocabulary: Path, out: Path) -> Path:
    """Write ``config.json``, ``model.safetensors`` and a tokenizer into the folder ``out`` and return it.

    ``checkpoint`` is a llama2.c v0 float32 file (``stories260K.bin``), ``vocabulary`` the tokenizer file that llama2.c
    exports beside it (``tok512.bin``). Raises BadInput when a file is missing or is not of that format.
    """
    from safetensors.numpy import save_file

    shape, tensors = read_checkpoint(checkpoint)
    pieces = read_vocabulary(vocabulary, shape.vocabulary)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(_config(shape), indent=2) + "\n", encoding="utf-8")
    save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, out / "model.safetensors", {"format": "pt"})
    _save_tokenizer(pieces, shape.length, out)
    return out


def read_checkpoint(path: Path) -> tuple[Shape, dict[str, Matrix]]:
    """The shape and the tensors, by their Hugging Face names; each ``weight`` is (outputs, inputs) float32."""
    data = _read(path)
    shape = Shape.parse(data[:28]) if len(data) > 28 else None
    if shape is None or not shape.plausible() or (len(data) - 28) % 4:
        raise BadInput(f"{path} is not a llama2.c v0 checkpoint; export one with llama2.c's export.py --version 0")
    reader = _Reader(np.frombuffer(data, dtype="<f4", offset=28))
    tensors = _tensors(reader, shape)
    if reader.unread:
        raise BadInput(f"{path} holds {reader.unread} floats more than its header promises; it is not format v0")
    return shape, tensors


def _tensors(reader: _Reader, shape: Shape) -> dict[str, Matrix]:
    layers, hidden, inner = shape.layers, shape.hidden, shape.intermediate
    head = hidden // shape.heads
    narrow = head * shape.key_value_heads
    stacks = {"embed": reader.take(shape.vocabulary, hidden)}
    for name, sizes in {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (narrow, hidden),
        "self_attn.v_proj": (narrow, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "mlp.up_proj": (inner, hidden),
    }.items():
        stacks[name] = reader.take(layers, *sizes)
    norm = reader.take(hidden)
    reader.take(2, shape.length, head // 2)  # tables of rotary angles, which the architecture computes itself
    tensors = {"model.embed_tokens.weight": stacks.pop("embed"), "model.norm.weight": norm}
    if not shape.tied:
        tensors["lm_head.weight"] = reader.take(shape.vocabulary, hidden)
    for name, stack in stacks.items():
        for layer in range(layers):
            tensor = stack[layer]
            if name.endswith(("q_proj", "k_proj")):
                tensor = _half_split(tensor, head)
            tensors[f"model.layers.{layer}.{name}.weight"] = tensor
    return tensors


def _half_split(weight: Matrix, head: int) -> Matrix:
    """Reorder rows of every head: llama2.c rotates neighbours (2i, 2i+1), Hugging Face rotates (i, i + head/2)."""
    rows, columns = weight.shape
    pairs = weight.reshape(rows // head, head // 2, 2, columns)
    return pairs.transpose(0, 2, 1, 3).reshape(rows, columns)


def _config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.length,
        "rms_norm_eps": 1e-5,  # llama2.c adds this constant in rmsnorm()
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": shape.tied,
        "bos_token_id": BEGIN,
        "eos_token_id": END,
        "torch_dtype": "float32",
    }


def read_vocabulary(path: Path, size: int) -> list[tuple[bytes, float]]:
    """The ``size`` pieces and their scores, in order of token id; a piece is UTF-8, a space a plain space."""
    data = _read(path)
    pieces, offset = [], 4  # the first integer is the longest piece, which only C needs
    for token in range(size):
        if offset + 8 > len(data):
            raise BadInput(f"{path} holds {token} tokens but the checkpoint has {size}; they do not belong together")
        score, length = struct.unpack_from("<fi", data, offset)
        pieces.append((data[offset + 8 : offset + 8 + length], score))
        offset += 8 + length
    return pieces


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; name an existing file") from error


def _names(pieces: list[tuple[bytes, float]]) -> list[str]:
    reserved = {UNKNOWN: "<unk>", BEGIN: "<s>", END: "</s>"}
    return [
        reserved.get(token, piece.decode("utf-8", errors="replace").replace(" ", SPACE))
        for token, (piece, _) in enumerate(pieces)
    ]


def _merges(names: list[str], scores: list[float]) -> list[tuple[str, str]]:
    """SentencePiece's BPE joins the neighbours whose union scores best: that order, as a list of merges."""
    known = {name: token for token, name in enumerate(names)}
    found = [
        (-scores[token], token, name[:cut], name[cut:])
        for name, token in known.items()
        for cut in range(1, len(name))
        if token > END and name[:cut] in known and name[cut:] in known
    ]
    return [(left, right) for _, _, left, right in sorted(found)]


def _save_tokenizer(pieces: list[tuple[bytes, float]], length: int, out: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    names = _names(pieces)
    bpe = models.BPE(
        vocab={name: token for token, name in enumerate(names)},
        merges=_merges(names, [score for _, score in pieces]),
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names[: END + 1]])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BEGIN)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        model_max_length=length,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(out)
