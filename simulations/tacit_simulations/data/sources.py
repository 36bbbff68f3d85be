"""From configuration to an ExampleSource: small to pickle, loaded once a process."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tacit_clients.training.examples import DeviceData, Example, ExampleSource, Task
from tacit_privacy.errors import BadInput
from tacit_privacy.randomness import stream
from tacit_simulations.data import partition
from tacit_simulations.data.config import DataConfig
from tacit_simulations.data.home import HomeSource
from tacit_simulations.data.loaders import Columns, load


def build_source(config: DataConfig, seed: int, devices: int) -> ExampleSource:
    """The data of a fleet of at most ``devices`` devices; natural partitions may hold fewer."""
    if config.kind == "home":
        return HomeSource(seed, devices, config.train_per_device, config.test_per_device)
    return PartitionedSource(config, seed, devices)


@dataclass(frozen=True, slots=True)
class PartitionedSource:
    """A set that is cut into devices by its configuration and a seed."""

    config: DataConfig
    seed: int
    wanted: int

    @property
    def task(self) -> Task:
        return self._loaded.columns.task

    @property
    def labels(self) -> Sequence[str]:
        return self._loaded.names

    @property
    def devices(self) -> int:
        return len(self._loaded.parts)

    def device(self, index: int) -> DeviceData:
        rows = self._loaded.parts[index]
        order = stream(self.seed, "test-split", index).permutation(len(rows))
        tests = min(round(self.config.test_fraction * len(rows)), len(rows) - 1)  # one at least is left to learn from
        split = rows[order]
        return DeviceData(self._loaded.examples(split[tests:]), self._loaded.examples(split[:tests]))

    def held_out(self) -> Sequence[Example]:
        return self._loaded.held_out

    @property
    def _loaded(self) -> "_Loaded":
        return _load(self.config, self.seed, self.wanted)


@dataclass(frozen=True)
class _Loaded:
    columns: Columns
    names: tuple[str, ...]
    parts: list[partition.Indices]
    held_out: tuple[Example, ...]

    def examples(self, rows: partition.Indices) -> tuple[Example, ...]:
        return _examples(self.columns, self.names, rows)


@lru_cache(maxsize=2)
def _load(config: DataConfig, seed: int, wanted: int) -> _Loaded:
    columns = load(config)
    names = tuple(sorted(set(columns.labels)))
    rng = stream(seed, "partition", config.kind)
    if columns.test is not None:
        held_out = _examples(columns.test, names, np.arange(len(columns.test.texts)))
        kept = np.arange(len(columns.texts))
    else:
        order = rng.permutation(len(columns.texts))
        apart = 0 if config.partition == "natural" else min(config.held_out, len(order) // 5)
        held_out, kept = _examples(columns, names, order[:apart]), np.sort(order[apart:])
    return _Loaded(columns, names, _parts(config, columns, names, kept, rng, wanted), held_out)


def _parts(
    config: DataConfig,
    columns: Columns,
    names: Sequence[str],
    kept: partition.Indices,
    rng: np.random.Generator,
    wanted: int,
) -> list[partition.Indices]:
    if config.partition == "natural":
        if not columns.users:
            raise BadInput(f"data.kind {config.kind} does not tell whose its examples are; use iid or dirichlet")
        found = partition.natural([columns.users[i] for i in kept], config.minimum, config.maximum)[:wanted]
        if not found:
            raise BadInput(f"no user of {config.kind} has {config.minimum} examples; lower data.minimum")
    elif config.partition == "dirichlet" and columns.labels:
        number = {name: i for i, name in enumerate(names)}
        truth = [number[columns.labels[i]] for i in kept]
        found = partition.dirichlet(rng, truth, wanted, config.alpha, config.quantity_sigma)
    else:
        found = partition.iid(rng, len(kept), wanted, config.quantity_sigma)
    return [kept[rows] for rows in found]


def _examples(columns: Columns, names: Sequence[str], rows: partition.Indices) -> tuple[Example, ...]:
    number = {name: i for i, name in enumerate(names)}
    found = []
    for row in rows:
        label = -1
        if columns.labels:
            if columns.labels[row] not in number:
                raise BadInput(f"the test set has a label {columns.labels[row]!r} that no training example has")
            label = number[columns.labels[row]]
        found.append(Example(columns.texts[row], columns.targets[row] if columns.targets else "", label))
    return tuple(found)
