"""Meta's Opacus: example-level DP-SGD and its three accountants. Its unit is the example, not the device."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from laws.subject import Floats, NotOffered, Question, Subject
from opacus import PrivacyEngine
from opacus.accountants import GaussianAccountant, PRVAccountant, RDPAccountant
from opacus.accountants.utils import get_noise_multiplier
from opacus.optimizers import AdaClipDPOptimizer, DPOptimizer
from torch.utils.data import DataLoader, TensorDataset

_ACCOUNTANTS = {"PRV": PRVAccountant, "RDP": RDPAccountant, "GDP": GaussianAccountant}


class Opacus(Subject):
    name = "Opacus"

    def __init__(self) -> None:
        self.version = version("opacus")
        torch.set_num_threads(1)

    def mean(
        self, updates: Sequence[Floats | None], weights: Sequence[float], planned: int, clip: float, noise: float
    ) -> Floats | None:
        """`DPOptimizer.pre_step` over per-example gradients, an example for a device, `expected_batch_size` the
        planned number. Examples carry no weights; one that is absent is not in the batch.
        """
        if len(set(weights)) > 1:
            raise NotOffered("examples carry no weights")
        present = [update for update in updates if update is not None]
        parameter = torch.nn.Parameter(torch.zeros(len(present[0]), dtype=torch.float64))
        optimizer = DPOptimizer(
            torch.optim.SGD([parameter], lr=1.0),
            noise_multiplier=noise,
            max_grad_norm=clip,
            expected_batch_size=planned,
        )
        return _stepped(optimizer, parameter, np.array(present))

    def adapted_clip(self, start: float, norm: float, devices: int, rounds: int) -> float:
        """`AdaClipDPOptimizer.pre_step` over per-example gradients, with next to no noise on its count."""
        parameter = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
        optimizer = AdaClipDPOptimizer(
            torch.optim.SGD([parameter], lr=1.0), noise_multiplier=0.0, target_unclipped_quantile=0.5,
            clipbound_learning_rate=0.2, max_clipbound=1e6, min_clipbound=1e-6, unclipped_num_std=1e-9,
            max_grad_norm=start, expected_batch_size=devices,
        )  # fmt: skip
        gradients = np.zeros((devices, 4))
        gradients[:, 0] = norm
        for _ in range(rounds):
            _stepped(optimizer, parameter, gradients)
            optimizer.zero_grad()
        return float(optimizer.max_grad_norm)

    def drawn_noise(self, size: int) -> tuple[Floats, float | None]:
        """`DPOptimizer.pre_step` with zero gradients and torch's default generator. `PrivacyEngine(secure_mode=True)`
        would draw from `torchcsprng`, which cannot be installed beside torch 2.13; noise is a float there, too.
        """
        parameter = torch.nn.Parameter(torch.zeros(size, dtype=torch.float64))
        optimizer = DPOptimizer(
            torch.optim.SGD([parameter], lr=1.0), noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=1
        )
        return _stepped(optimizer, parameter, np.zeros((1, size))), None

    def example_releases(self, examples: int, noise: float, dimension: int, count: int) -> tuple[Floats, float]:
        """`PrivacyEngine().make_private(...)` over a `DataLoader` of batches of two, Poisson sampling, one step each;
        `PrivacyEngine.get_epsilon` after it.
        """
        model = torch.nn.Linear(dimension, 1, bias=False)
        loader = DataLoader(TensorDataset(torch.zeros(examples, dimension)), batch_size=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that noise is not secure, and hooks that torch deprecates
            engine = PrivacyEngine()
            private, optimizer, batches = engine.make_private(
                module=model, optimizer=torch.optim.SGD(model.parameters(), lr=1.0), data_loader=loader,
                noise_multiplier=noise, max_grad_norm=1.0,
            )  # fmt: skip
            torch.manual_seed(1)  # zero gradients: the noise is all that is seen
            steps = [_one_step(private, optimizer, batches) for _ in range(count)]
        return np.array(steps), _epsilon("PRV", noise, 1 / len(batches), 1, 1e-5)

    def epsilon(self, question: Question) -> Mapping[str, float | Exception]:
        """`PRVAccountant` (the default of `PrivacyEngine`), `RDPAccountant` and `GaussianAccountant`, their history set
        to the rounds, `get_epsilon`. All are for Poisson sampling and add/remove. `make_private(...,
        poisson_sampling=False)` attaches the same ones: "technically this doesn't fit the assumptions", says its
        documentation. `GaussianAccountant` warns that it "can underestimate privacy expenditure".
        """
        if question.sampling == "fixed" or (question.adjacency == "replace-one" and question.sampling == "none"):
            raise NotOffered("accounts for add/remove alone")
        rate = question.cohort / question.population if question.sampling != "none" else 1.0
        found = dict[str, float | Exception]()
        for name in _ACCOUNTANTS:
            try:
                found[name] = _epsilon(name, question.noise_multiplier, rate, question.rounds, question.delta)
            except (ArithmeticError, RuntimeError, ValueError) as error:
                found[name] = error
        return found

    def calibrated_noise(self, epsilon: float, delta: float) -> float:
        """`get_noise_multiplier(target_epsilon, target_delta, sample_rate=1, steps=1)`, by its default accountant."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the orders of RDP
            return float(get_noise_multiplier(target_epsilon=epsilon, target_delta=delta, sample_rate=1.0, steps=1))

    def compositions(self, count: int) -> Iterable[tuple[str, float, float]]:
        """`accountant.step` as often as there are releases, and a history that says so at once."""
        for name, kind in _ACCOUNTANTS.items():
            accountant = _made(kind)
            for _ in range(count):
                accountant.step(noise_multiplier=2.0, sample_rate=0.1)
            yield name, _epsilon(name, 2.0, 0.1, count, 1e-6), _epsilon_of(accountant, 1e-6)

    def edited_state(self) -> tuple[float, float]:
        """`PRVAccountant.state_dict`, its count set to 1, `load_state_dict` into a new one."""
        accountant = _spent(50)
        state = accountant.state_dict()
        noise, rate, _ = state["history"][0]
        state["history"] = [(noise, rate, 1)]
        again = PRVAccountant()
        again.load_state_dict(state)
        return _epsilon_of(accountant, 1e-6), _epsilon_of(again, 1e-6)

    def notices_rollback(self) -> bool:
        """`PRVAccountant.load_state_dict` of a state from before the newest 49 steps."""
        saved = _spent(1).state_dict()
        accountant = _spent(50)
        before = _epsilon_of(accountant, 1e-6)
        accountant.load_state_dict(saved)
        return _epsilon_of(accountant, 1e-6) >= before


def _spent(steps: int) -> PRVAccountant:
    accountant = PRVAccountant()
    for _ in range(steps):
        accountant.step(noise_multiplier=4.0, sample_rate=1.0)
    return accountant


def _made(kind: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the GDP accountant's warning, which the page quotes
        return kind()


def _epsilon(name: str, noise: float, rate: float, steps: int, delta: float) -> float:
    accountant = _made(_ACCOUNTANTS[name])
    accountant.history = [(noise, rate, steps)]
    return _epsilon_of(accountant, delta)


def _epsilon_of(accountant: Any, delta: float) -> float:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # on the orders of RDP
        return float(accountant.get_epsilon(delta=delta))


def _stepped(optimizer: DPOptimizer, parameter: torch.nn.Parameter, gradients: Floats) -> Floats:
    setattr(parameter, "grad_sample", torch.from_numpy(gradients))  # noqa: B010 (Opacus adds the attribute)
    optimizer.pre_step()
    if parameter.grad is None:
        raise NotOffered("no gradient")
    return np.array(parameter.grad.numpy(), dtype=np.float64)


def _one_step(model: torch.nn.Module, optimizer: DPOptimizer, batches: Any) -> Floats:
    (batch,) = next(iter(batches))
    optimizer.zero_grad()
    model(batch).sum().backward()
    optimizer.pre_step()
    return np.concatenate([parameter.grad.numpy().ravel() for parameter in optimizer.params])
