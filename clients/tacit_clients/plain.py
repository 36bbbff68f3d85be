"""A device under Flower's own runtimes (``flwr run``, SuperNode): everything it needs from Flower's configuration.

From the app's configuration (``context.run_config``): ``model``, ``data``, ``data-settings`` (JSON), ``seed``,
``devices``, ``adapter-method``, ``adapter-rank``, ``adapter-alpha``, ``adapter-seed``, ``adapter-targets`` (names with
commas). From the node's own (``context.node_config``), which no server can set: ``partition-id``, ``rank``,
``server-key`` (the pinned key, hexadecimal), ``device-key`` (path of a key file), ``identity``, ``personal-rank``,
``least-noise``, ``largest-clip``, ``most-participations`` (the owner's own conditions), ``simulated-seed``.

The app's ``seed`` orders examples. Noise and coins of example-level DP-SGD guard the device against its server, so they
come from the operating system unless the node itself says that it is simulated.
"""

import json
import math
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flwr.app import Context

from tacit_clients.app import Device, Personal
from tacit_clients.guard import Floor
from tacit_clients.slm.adapters import AdaptedModel, build_spec
from tacit_clients.slm.models import NANO, load, single_thread
from tacit_clients.training.examples import ExampleSource
from tacit_privacy.contract import LocalTraining
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.noise import NoiseSource, SeededNoise, SystemNoise
from tacit_privacy.randomness import stream

DATASETS = "tacit.datasets"  # entry points: functions (settings, seed, devices) -> ExampleSource
_NO_SEED = -1
_LEAST_NOISE = 1e-3  # what a device insists on where its owner says nothing: some noise


def device_of(context: Context) -> Device:
    """The device that this process is in this message. The model stays resident between messages."""
    run, node = dict(context.run_config), dict(context.node_config)
    seed, index = int(run.get("seed", _NO_SEED)), int(node.get("partition-id", 0))
    source = _source(str(run.get("data", "home")), str(run.get("data-settings", "{}")), seed, _devices(run, node))
    adapted = _adapted(
        str(run.get("model", NANO)),
        _method(str(run.get("adapter-method", "ffa"))),
        int(run.get("adapter-rank", 8)),
        float(run.get("adapter-alpha", 16.0)),
        int(run.get("adapter-seed", 0)),
        tuple(name.strip() for name in str(run.get("adapter-targets", "")).split(",") if name.strip()),
        len(source.labels),
    )

    own_rank = int(node.get("personal-rank", 0))

    def rng(number: int) -> np.random.Generator:
        return np.random.default_rng() if seed == _NO_SEED else stream(seed, "device", index, "round", number)

    def noise(number: int) -> NoiseSource:
        own = node.get("simulated-seed")
        return SystemNoise() if own is None else SeededNoise(int(own), "device", index, "round", number)

    return Device(
        identity=str(node.get("identity", f"device-{index}")),
        data=source.device(index),
        task=source.task,
        adapted=adapted,
        rng=rng,
        key=SigningKey.load(Path(str(node["device-key"]))) if "device-key" in node else None,
        server_key=str(node["server-key"]) if "server-key" in node else None,
        rank=int(node.get("rank", 0)),
        noise=noise,
        floor=_floor(node),
        personal=Personal(own_rank, LocalTraining()) if own_rank else None,
    )


def _floor(node: dict[str, Any]) -> Floor:
    """The owner's conditions. Raises BadInput where one is no number that makes sense."""
    found: dict[str, float] = {}
    for name in ("least-noise", "largest-clip", "most-participations"):
        if name in node:
            try:
                found[name] = float(node[name])
            except (TypeError, ValueError):
                found[name] = math.nan
            if not 0 <= found[name] < math.inf:
                raise BadInput(f"{name} is {node[name]!r}; give a number of 0 or more, or leave it out")
    most = found.get("most-participations")
    return Floor(found.get("least-noise", _LEAST_NOISE), found.get("largest-clip"), None if most is None else int(most))


def _devices(run: dict[str, Any], node: dict[str, Any]) -> int:
    return int(run.get("devices", node.get("num-partitions", 1)))


def _method(name: str) -> Literal["ffa", "lora"]:
    if name == "ffa":
        return "ffa"
    if name == "lora":
        return "lora"
    raise BadInput(f"adapter-method is {name!r}; choose ffa or lora")


@lru_cache(maxsize=1)
def _adapted(
    model: str,
    method: Literal["ffa", "lora"],
    rank: int,
    alpha: float,
    seed: int,
    targets: tuple[str, ...],
    labels: int,
) -> AdaptedModel:
    single_thread()
    resident = load(model)
    return AdaptedModel(resident, build_spec(resident, method, rank, alpha, seed, targets, labels), labels)


@lru_cache(maxsize=1)
def _source(name: str, settings: str, seed: int, devices: int) -> ExampleSource:
    """The data set ``name``, by the entry point of that name. Raises BadInput when there is none."""
    found = entry_points(group=DATASETS)
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none"
        raise BadInput(f"no data set is called {name}; installed under {DATASETS}: {known}")
    try:
        parsed = json.loads(settings)
    except json.JSONDecodeError as error:
        raise BadInput(f"data-settings is not JSON ({error}); write an object such as {{}}") from error
    source: ExampleSource = found[name].load()(parsed, max(seed, 0), devices)
    return source
