"""One resident model, adapters swapped in by copy: a flat vector whose parts peft's LoRA layers look into."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig
from peft.tuners.lora import LoraLayer, LoraModel
from torch import Tensor, nn

from tacit_clients.slm.models import LanguageModel
from tacit_privacy.adapters import initial_vector as initial_vector
from tacit_privacy.adapters import offsets
from tacit_privacy.contract import AdapterSpec, DenseSpec, LinearSpec
from tacit_privacy.errors import BadInput
from tacit_privacy.randomness import frozen_factor

Vector = NDArray[np.float32]
Which = Literal["shared", "personal"]
HEAD_WEIGHT, HEAD_BIAS = "head.weight", "head.bias"


def build_spec(
    model: LanguageModel,
    method: Literal["ffa", "lora"],
    rank: int,
    alpha: float,
    seed: int,
    targets: Sequence[str] = (),
    labels: int = 0,
) -> AdapterSpec:
    """The adapter that ``targets`` mean on this model, in the order of its modules.

    A target is the end of a module's dotted name (``q_proj``), its full name, or a pattern (``*layers.[23].*_proj``);
    none means what peft adapts in this architecture. ``labels`` above 0 adds a classification head, trained whole.
    Raises BadInput when nothing matches, or when a match is no linear layer.
    """
    chosen = tuple(targets) or _default_targets(model)
    linear = []
    for name, module in model.network.named_modules():
        if _matches(name, chosen) and ".lora_" not in name and not name.endswith(".base_layer"):
            rows, columns = _sizes(name, module)
            linear.append(LinearSpec(name=name, rows=rows, columns=columns))
    if not linear:
        known = sorted({name.rsplit(".", 1)[-1] for name, m in model.network.named_modules() if _is_linear(m)})
        raise BadInput(f"no module of {model.name} matches {', '.join(chosen)}; its linear modules end in {known}")
    dense: tuple[DenseSpec, ...] = ()
    if labels > 0:
        shape = (labels, model.hidden_size)
        dense = (DenseSpec(name=HEAD_WEIGHT, shape=shape), DenseSpec(name=HEAD_BIAS, shape=(labels,)))
    return AdapterSpec(
        model=model.name, method=method, rank=rank, alpha=alpha, seed=seed, linear=tuple(linear), dense=dense
    )


def _default_targets(model: LanguageModel) -> tuple[str, ...]:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    found = KNOWN.get(model.network.config.model_type)
    if found is None:
        raise BadInput(f"no default adapter targets for {model.network.config.model_type}; set adapter.targets")
    return tuple(found)


def _matches(name: str, targets: Sequence[str]) -> bool:
    return any(name == t or name.endswith(f".{t}") or fnmatchcase(name, t) for t in targets)


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    base = module.get_base_layer() if isinstance(module, LoraLayer) else module
    return isinstance(base, nn.Linear | Conv1D)


def _sizes(name: str, module: nn.Module) -> tuple[int, int]:
    """(outputs, inputs) of a linear module, whichever way round it stores its weight."""
    base = module.get_base_layer() if isinstance(module, LoraLayer) else module
    if not _is_linear(base):
        raise BadInput(f"adapter target {name} is a {type(base).__name__}, not a linear layer; name linear modules")
    if isinstance(base, nn.Linear):
        return int(base.out_features), int(base.in_features)
    weight = base.weight  # Conv1D stores its weight the other way round
    return (int(weight.shape[1]), int(weight.shape[0])) if isinstance(weight, Tensor) else (0, 0)


@dataclass
class FlatAdapter:
    """One adapter: a flat vector and its gradient, with a view for every factor that the current rank owns.

    ``vector`` and ``gradient`` have shape ``(dimension,)`` and never move; parameters are views into ``vector`` and
    gradients accumulate into views of ``gradient``, so an optimizer sees one tensor and a swap is one copy.
    """

    spec: AdapterSpec
    vector: Tensor = field(init=False)
    gradient: Tensor = field(init=False)
    rank: int = field(init=False, default=0)
    parameters: list[nn.Parameter] = field(init=False, default_factory=list)
    modules: list[nn.Module] = field(init=False, default_factory=list)  # who holds the parameters
    _factors: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.vector = torch.from_numpy(initial_vector(self.spec))
        self.gradient = torch.zeros_like(self.vector)
        self._factors = []
        if self.spec.method == "ffa":
            drawn = (frozen_factor(self.spec.seed, m.name, self.spec.rank, m.columns) for m in self.spec.linear)
            self._factors = [torch.from_numpy(factor) for factor in drawn]

    @property
    def prefix(self) -> int:
        """How many floats of the vector the current rank owns."""
        return self.spec.prefix(self.rank)

    def load(self, start: Vector, rank: int) -> None:
        """Copy ``start`` (prefix,) into place; what lies beyond the rank becomes zero and is out of reach."""
        expected = self.spec.prefix(rank)
        if not 1 <= rank <= self.spec.rank or start.shape != (expected,):
            raise BadInput(
                f"a vector of shape {start.shape} does not fit rank {rank} of {self.spec.rank}; "
                f"expected ({expected},), see AdapterSpec.prefix"
            )
        self.vector[:expected] = torch.from_numpy(np.ascontiguousarray(start, dtype=np.float32))
        self.vector[expected:] = 0

    def read(self, rank: int) -> Vector:
        """A copy of the first ``prefix(rank)`` floats."""
        return self.vector[: self.spec.prefix(rank)].numpy().copy()

    def dense(self) -> dict[str, nn.Parameter]:
        """Views of the tensors that are trained whole, by name."""
        found, start = {}, 0
        for tensor in self.spec.dense:
            part = slice(start, start + tensor.size)
            found[tensor.name] = self._view(
                self.vector[part].view(tensor.shape), self.gradient[part].view(tensor.shape)
            )
            start += tensor.size
        return found

    def factors(self, index: int) -> tuple[nn.Parameter, nn.Parameter]:
        """A (rank, columns) and B (rows, rank) of linear module ``index``, as views at the current rank."""
        module, start = self.spec.linear[index], offsets(self.spec)[index]
        value, slope = self._block(self.vector), self._block(self.gradient)
        rows = slice(start, start + module.rows)
        down = self._view(value[:, rows].t(), slope[:, rows].t())
        if self.spec.method == "ffa":
            return nn.Parameter(self._factors[index][: self.rank], requires_grad=False), down
        columns = slice(rows.stop, rows.stop + module.columns)
        return self._view(value[:, columns], slope[:, columns]), down

    def _block(self, flat: Tensor) -> Tensor:
        """The linear part at the current rank, (rank, width)."""
        return flat[self.spec.dense_size : self.prefix].view(self.rank, self.spec.width)

    def _view(self, value: Tensor, slope: Tensor) -> nn.Parameter:
        parameter = nn.Parameter(value)
        parameter.grad = slope
        self.parameters.append(parameter)
        return parameter


class AdaptedModel(nn.Module):
    """A resident model with a shared adapter and, where asked for, a personal one stacked on it.

    The personal adapter can be switched on and off and has a rank of its own; while it trains, the shared one is
    frozen. Both are loaded and read as flat vectors in the layout of ``AdapterSpec``; the weights of the model itself
    never change, and ``remove`` gives them back without a trace.
    """

    def __init__(self, model: LanguageModel, spec: AdapterSpec, labels: int = 0) -> None:
        super().__init__()
        check_fits(model, spec, labels)
        if any(isinstance(module, LoraLayer) for module in model.network.modules()):
            raise BadInput(f"{model.name} already carries an adapter; call remove() on it first, or load another copy")
        self.model, self.spec, self.labels = model, spec, labels
        self.network = model.network
        self._flat: dict[Which, FlatAdapter] = {}
        self._heads = nn.ModuleDict()
        self._learns: Which = "shared"
        with torch.random.fork_rng(devices=[]):  # peft draws factors that are replaced at once
            self._tuner = LoraModel(self.network, {"shared": _peft_config(model, spec)}, "shared")
        self._layers = list(self._lora_layers(spec))
        self._attach("shared", spec)

    def _lora_layers(self, spec: AdapterSpec) -> Iterator[LoraLayer]:
        for module in spec.linear:
            layer = self.network.get_submodule(module.name)
            if isinstance(layer, LoraLayer):
                yield layer

    def _attach(self, which: Which, spec: AdapterSpec) -> None:
        self._flat[which] = FlatAdapter(spec)
        if spec.dense:
            self._heads[which] = nn.Linear(self.model.hidden_size, self.labels, device="meta")  # views come next
        self._set_rank(which, spec.rank)
        self.train_only("shared")

    def add_personal(self, spec: AdapterSpec) -> None:
        """Stack a personal adapter of shape ``spec`` on the shared one, switched off and changing nothing yet.

        It adapts the same modules (and the head, where there is one) with its own rank, seed and method. Calling again
        with the same spec keeps it; with another one replaces it.
        """
        if "personal" in self._flat:
            if self._flat["personal"].spec == spec:
                return
            self.drop_personal()
        check_fits(self.model, spec, self.labels)
        if [m.name for m in spec.linear] != [m.name for m in self.spec.linear]:
            raise BadInput("the personal adapter must adapt the modules of the shared one; build it from that spec")
        self._tuner.peft_config["personal"] = _peft_config(self.model, spec)
        with torch.random.fork_rng(devices=[]):
            self._tuner.inject_adapter(self.network, "personal")
        self._attach("personal", spec)

    def drop_personal(self) -> None:
        """Take the personal adapter away, if there is one."""
        if self._flat.pop("personal", None) is None:
            return
        self._tuner.delete_adapter("personal")
        if "personal" in self._heads:
            self._heads.pop("personal")
        self.train_only("shared")

    @property
    def personal_spec(self) -> AdapterSpec | None:
        flat = self._flat.get("personal")
        return flat.spec if flat else None

    def flat(self, which: Which = "shared") -> FlatAdapter:
        """The adapter itself, for an optimizer. Raises BadInput where there is no personal one."""
        if which not in self._flat:
            raise BadInput("this model has no personal adapter; call add_personal first")
        return self._flat[which]

    def load_vector(self, vector: Vector, rank: int, which: Which = "shared") -> None:
        """Swap an adapter in: ``vector`` (prefix of ``rank``,) float32 by copy; columns beyond the rank become zero."""
        self.flat(which).load(vector, rank)
        self._set_rank(which, rank)

    def read_vector(self, rank: int, which: Which = "shared") -> Vector:
        """A copy of the first ``prefix(rank)`` floats of the adapter as it stands."""
        return self.flat(which).read(rank)

    def clear(self) -> None:
        """Load the adapter that changes nothing: the model answers as it was shipped."""
        self.load_vector(initial_vector(self.spec), self.spec.rank)

    def _set_rank(self, which: Which, rank: int) -> None:
        flat = self._flat[which]
        if flat.rank == rank:
            return
        flat.rank = rank
        flat.parameters.clear()
        flat.modules.clear()
        if flat.spec.dense:
            head, views = self._heads[which], flat.dense()
            head.weight, head.bias = views[HEAD_WEIGHT], views[HEAD_BIAS]
            flat.modules.append(head)
        for index, layer in enumerate(self._layers):
            factor_a, factor_b = flat.factors(index)
            layer.lora_A[which].weight, layer.lora_B[which].weight = factor_a, factor_b
            flat.modules += [layer.lora_A[which], layer.lora_B[which]][flat.spec.method == "ffa" :]
        self._grant()

    def train_only(self, which: Which) -> None:
        """Let gradients reach this adapter alone. ``personal`` also switches it on, ``shared`` switches it off."""
        self.flat(which)
        self._learns = which
        self._activate(personal=which == "personal")
        self._grant()

    def _grant(self) -> None:
        for name, flat in self._flat.items():
            for parameter in flat.parameters:
                parameter.requires_grad_(name == self._learns)

    @contextmanager
    def personal_on(self) -> Iterator[None]:
        """Inside, the model answers with both adapters; afterwards with the shared one alone."""
        self.flat("personal")
        self._activate(personal=True)
        try:
            yield
        finally:
            self.train_only("shared")

    def _activate(self, personal: bool) -> None:
        self._personal = personal
        names = ["shared", "personal"] if personal else ["shared"]
        for layer in self._layers:
            layer.set_adapter(names, inference_mode=True)  # who may learn is train_only's business

    def hidden(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Last hidden states of the adapted model, (batch, length, hidden)."""
        return self.model.hidden(ids, mask)

    def classify(self, pooled: Tensor) -> Tensor:
        """Class scores (batch, labels) of pooled hidden states (batch, hidden): the sum of the heads that are on."""
        if not self.labels:
            raise BadInput("this adapter has no classification head; build its spec with labels")
        scores: Tensor = self._heads["shared"](pooled)
        return scores + self._heads["personal"](pooled) if self._personal else scores

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same as ``hidden``; torch's name for it."""
        return self.hidden(ids, mask)

    def remove(self) -> None:
        """Give the model back as it was loaded. This object is of no use afterwards."""
        self._tuner.unload()
        if hasattr(self.network, "peft_config"):
            del self.network.peft_config
        self._flat.clear()


def _peft_config(model: LanguageModel, spec: AdapterSpec) -> LoraConfig:
    from transformers.pytorch_utils import Conv1D

    first = model.network.get_submodule(spec.linear[0].name)
    base = first.get_base_layer() if isinstance(first, LoraLayer) else first
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]  # peft takes any number and says int
        target_modules=[module.name for module in spec.linear],
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=isinstance(base, Conv1D),
    )


def check_fits(model: LanguageModel, spec: AdapterSpec, labels: int = 0) -> None:
    """Raise BadInput, naming the first difference, unless ``spec`` describes an adapter of this very model."""
    if spec.model != model.name:
        raise BadInput(f"the adapter is for model {spec.model} but {model.name} is resident; name the same model")
    if not spec.linear:
        raise BadInput("the adapter adapts no module; set adapter.targets")
    modules = dict(model.network.named_modules())
    for linear in spec.linear:
        if linear.name not in modules:
            raise BadInput(f"model {model.name} has no module {linear.name}; build the adapter from this model")
        sizes = _sizes(linear.name, modules[linear.name])
        if sizes != (linear.rows, linear.columns):
            raise BadInput(
                f"module {linear.name} of {model.name} has shape {sizes} but the adapter says "
                f"({linear.rows}, {linear.columns}); build the adapter from this model"
            )
    head = {HEAD_WEIGHT: (labels, model.hidden_size), HEAD_BIAS: (labels,)} if labels else {}
    if {tensor.name: tensor.shape for tensor in spec.dense} != head:
        raise BadInput(
            f"the adapter's dense tensors {[t.name for t in spec.dense]} do not match a task of {labels} labels on "
            f"hidden size {model.hidden_size}; build the adapter for this task"
        )
