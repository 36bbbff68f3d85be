"""From a trained tagger to the files that ship: an ONNX graph with fused attention in eight bits, and a tokenizer."""

import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from tacit_privacy.pii.detection.recogniser.features import LABELS
from tacit_simulations.pretraining.recogniser.tagger import Tagger

OPSET = 17


class _Attention(torch.autograd.Function):
    """Attention over one row as one operator of ONNX Runtime's; in torch the same in its own words."""

    @staticmethod
    def forward(context: Any, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """Shapes (rows, pieces, width), all three and what comes."""
        query, key, value = (each.view(*each.shape[:2], heads, -1).transpose(1, 2) for each in (query, key, value))
        return nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)

    @staticmethod
    def symbolic(graph: Any, query: Any, key: Any, value: Any, heads: int) -> Any:
        mixed = graph.op("com.microsoft::MultiHeadAttention", query, key, value, num_heads_i=heads)
        mixed.setType(query.type())
        return mixed


_attend: Callable[..., Tensor] = _Attention.apply


class _Graph(nn.Module):
    """The tagger as plain arithmetic, so that the graph is short and the same on every version of a library.

    It reads rows of one length: there is no padding to look away from.
    """

    def __init__(self, tagger: Tagger) -> None:
        super().__init__()
        self.tagger = tagger
        self.heads = tagger.bert.config.num_attention_heads

    def forward(self, ids: Tensor, shapes: Tensor) -> Tensor:
        bert: Any = self.tagger.bert
        emb = bert.embeddings
        places = torch.arange(ids.shape[1])
        x = emb.word_embeddings(ids) + self.tagger.shapes(shapes)
        x = x + emb.token_type_embeddings.weight[0] + emb.position_embeddings(places)
        x = emb.LayerNorm(x)
        for layer in bert.encoder.layer:
            x = self._layer(layer, x)
        scores: Tensor = self.tagger.head(x)
        return scores

    def _layer(self, layer: Any, x: Tensor) -> Tensor:
        own = layer.attention.self
        mixed = _attend(own.query(x), own.key(x), own.value(x), self.heads)
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
            op_types_to_quantize=["MatMul", "Gather"],
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # fused operators hide theirs
        )
    _bare_tokenizer(encoder / "tokenizer.json", out / "tokenizer.json")
    (out / "labels.json").write_text(json.dumps(list(LABELS)) + "\n", encoding="utf-8")
    return out / "model.onnx"


def _trace(tagger: Tagger, path: Path) -> None:
    rows = torch.zeros((2, 16), dtype=torch.long)
    names = ["ids", "shapes"]
    axes = {name: {0: "rows", 1: "pieces"} for name in [*names, "scores"]}
    with warnings.catch_warnings():
        # torch is pinned; its newer exporter needs a compiler of graphs for what is a chain of plain operators
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Graph(tagger.float()).eval(),
            (rows, rows),
            str(path),
            input_names=names,
            output_names=["scores"],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


def _fuse(plain: Path, fused: Path, tagger: Tagger) -> None:
    """GELU with its bias as one operator of ONNX Runtime's.

    Layer norms stay apart from the sums before them: ONNX Runtime's operator for both together is the slower one.
    """
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    config, options = tagger.bert.config, FusionOptions("bert")
    options.enable_skip_layer_norm = False
    model = optimize_model(
        str(plain),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        optimization_options=options,
        opt_level=0,
    )
    model.save_model_to_file(str(fused))


def _bare_tokenizer(source: Path, target: Path) -> None:
    """The encoder's tokenizer without padding, truncation and templates: windows are cut elsewhere."""
    tokenizer = json.loads(source.read_text(encoding="utf-8"))
    tokenizer.update(padding=None, truncation=None, post_processor=None)
    target.write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
