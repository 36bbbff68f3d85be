"""From a trained tagger to the files that ship: an ONNX graph with fused attention in eight bits, and a tokenizer."""

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from tacit_privacy.pii.detection.recogniser.features import LABELS
from tacit_simulations.pretraining.recogniser.tagger import Tagger

OPSET = 17


class _Graph(nn.Module):
    """The tagger as plain arithmetic, so that the graph is short and the same on every version of a library."""

    def __init__(self, tagger: Tagger) -> None:
        super().__init__()
        self.tagger = tagger
        self.heads = tagger.bert.config.num_attention_heads

    def forward(self, ids: Tensor, shapes: Tensor, mask: Tensor) -> Tensor:
        bert: Any = self.tagger.bert
        emb = bert.embeddings
        places = torch.arange(ids.shape[1])
        x = emb.word_embeddings(ids) + self.tagger.shapes(shapes)
        x = x + emb.token_type_embeddings.weight[0] + emb.position_embeddings(places)
        x = emb.LayerNorm(x)
        bias = (1.0 - mask.to(x.dtype))[:, None, None, :] * -1e4
        for layer in bert.encoder.layer:
            x = self._layer(layer, x, bias)
        scores: Tensor = self.tagger.head(x)
        return scores

    def _layer(self, layer: Any, x: Tensor, bias: Tensor) -> Tensor:
        own, rows, size = layer.attention.self, x.shape[0], x.shape[1]

        def split(y: Tensor) -> Tensor:  # (rows, pieces, width) to (rows, heads, pieces, width / heads)
            return y.view(rows, size, self.heads, -1).transpose(1, 2)

        query, key, value = split(own.query(x)), split(own.key(x)), split(own.value(x))
        weights = (query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5) + bias).softmax(-1)
        mixed = (weights @ value).transpose(1, 2).reshape(rows, size, -1)
        x = layer.attention.output.LayerNorm(layer.attention.output.dense(mixed) + x)
        x = layer.output.LayerNorm(layer.output.dense(nn.functional.gelu(layer.intermediate.dense(x))) + x)
        return x


def export(tagger: Tagger, encoder: Path, out: Path) -> Path:
    """Write model.onnx, tokenizer.json and labels.json into ``out``; returns the graph's path."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        plain, fused = Path(folder) / "plain.onnx", Path(folder) / "fused.onnx"
        _trace(tagger, plain)
        _fuse(plain, fused, tagger)
        quantize_dynamic(
            fused,
            out / "model.onnx",
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # seven bits: processors without VNNI add products of eight in sixteen and overflow
            op_types_to_quantize=["MatMul", "Gather", "Attention"],
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # fused operators hide theirs
        )
    _bare_tokenizer(encoder / "tokenizer.json", out / "tokenizer.json")
    (out / "labels.json").write_text(json.dumps(list(LABELS)) + "\n", encoding="utf-8")
    return out / "model.onnx"


def _trace(tagger: Tagger, path: Path) -> None:
    rows = torch.zeros((2, 16), dtype=torch.long)
    names = ["ids", "shapes", "mask"]
    axes = {name: {0: "rows", 1: "pieces"} for name in [*names, "scores"]}
    with warnings.catch_warnings():
        # torch is pinned; its newer exporter needs a compiler of graphs for what is a chain of plain operators
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Graph(tagger.float()).eval(),
            (rows, rows, torch.ones_like(rows)),
            str(path),
            input_names=names,
            output_names=["scores"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


def _fuse(plain: Path, fused: Path, tagger: Tagger) -> None:
    """Attention, layer norms and GELU as one operator each: ONNX Runtime's own, on every processor."""
    from onnxruntime.transformers.optimizer import optimize_model

    config = tagger.bert.config
    model = optimize_model(
        str(plain), model_type="bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size, opt_level=0
    )
    model.save_model_to_file(str(fused))


def _bare_tokenizer(source: Path, target: Path) -> None:
    """The encoder's tokenizer without padding, truncation and templates: windows are cut elsewhere."""
    tokenizer = json.loads(source.read_text(encoding="utf-8"))
    tokenizer.update(padding=None, truncation=None, post_processor=None)
    target.write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
