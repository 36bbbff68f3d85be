"""What the same work would take on another device, over another connection: a model, not a measurement.

A small model of P parameters reads a token with 2 P floating-point operations (Kaplan et al. 2020, section 2.1, without
attention) and writes one with as many, or in the time that its weights take through memory, whichever is longer:
writing is bound by memory on most devices. A profile's ``gflops`` is its speed at training, which is near that of
reading and cautious for it. Its bandwidth is what its ``tokens_per_s`` says: each token of the reference model moves
its file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.modes.measures import F64, Pool
from tacit_simulations.fleet.catalogue import Profile, profile
from tacit_simulations.fleet.hashing import key_of
from tacit_simulations.fleet.links import LINK_INDEX, LINKS, Link
from tacit_simulations.fleet.network import MeanNetwork, Network, TraceNetwork

REFERENCE_BYTES: Final = 2.0e9  # of the catalogue's reference model, Llama 3.2 3B as Q4_K_M
BYTES_PER_PARAMETER: Final = 4.0  # torch on a CPU, single precision
DEFAULTS: Final = ("phone-sd730@cellular-4g", "laptop-mainstream@wifi-fibre", "pi-5-8gb@wifi-dsl")
# Seconds there and back to a data centre on the same continent. Estimates.
ROUND_TRIP_S: Final = {
    "ethernet": 0.015,
    "wifi-fibre": 0.02,
    "wifi-dsl": 0.04,
    "cellular-5g": 0.035,
    "cellular-4g": 0.06,
    "cellular-3g": 0.15,
}
"""By name of the link. A connection is open already: each call costs one."""
_USUAL: Final = {"phone": "cellular-4g", "tablet": "wifi-fibre", "laptop": "wifi-fibre", "stationary": "ethernet"}


@dataclass(frozen=True, slots=True)
class Place:
    """A device and how it is connected."""

    device: Profile
    link: Link

    def __str__(self) -> str:
        return f"{self.device.name}@{self.link.name}"


@dataclass(frozen=True, slots=True)
class Remote:
    """How long the large model takes. ``tokens_per_s`` None: as long as it took here; else a stated rate."""

    tokens_per_s: float | None = None
    first_s: float = 0.3  # with a stated rate: from a request to its first token


@dataclass(frozen=True, eq=False)
class Emulated:
    """One figure an answer, shapes ``(m,)``: seconds, and joules beyond what the device draws when idle."""

    compute_s: F64
    network_s: F64
    llm_s: F64
    gate_s: F64
    device_j: F64
    network_j: F64

    @property
    def seconds(self) -> F64:
        """One after another: too much for a mode that has both models work at once."""
        return self.compute_s + self.network_s + self.llm_s + self.gate_s


def place(name: str) -> Place:
    """``DEVICE`` over its usual connection, or ``DEVICE@LINK``. Raises BadInput."""
    device_name, _, link_name = name.partition("@")
    device = profile(device_name)
    link_name = link_name or _USUAL[device.habit]
    if link_name not in ROUND_TRIP_S:
        raise BadInput(f"no connection {link_name}; choose from {', '.join(ROUND_TRIP_S)}")
    return Place(device, LINKS[LINK_INDEX[link_name]])


def network_of(traces: Path | None, seed: int) -> Network:
    """Mean bandwidths; mobile links replay recorded throughput where there is a folder of traces. Raises BadInput."""
    return MeanNetwork() if traces is None else TraceNetwork.load(traces, key_of(seed, "modes-network"))


def seconds_to_read(device: Profile, parameters: float, tokens: F64) -> F64:
    return np.asarray(2 * parameters * tokens / (device.gflops * 1e9))


def seconds_to_write(device: Profile, parameters: float, tokens: F64) -> F64:
    """Bound by arithmetic or by memory. A device that does not fit the reference model has no known bandwidth."""
    arithmetic = 2 * parameters / (device.gflops * 1e9)
    bandwidth = device.tokens_per_s * REFERENCE_BYTES
    memory = BYTES_PER_PARAMETER * parameters / bandwidth if bandwidth else 0.0
    return np.asarray(max(arithmetic, memory) * tokens)


def emulate(
    pool: Pool, at: Place, parameters: float, network: Network, remote: Remote, first: bool = False
) -> Emulated:
    """The answers' work, whole or up to the first text, on device and connection ``at``."""
    work = [outcome.first if first else outcome.whole for outcome in pool.outcomes]
    column = {
        name: np.array([getattr(each, name) for each in work], dtype=np.float64)
        for name in ("local_in", "local_out", "calls", "llm_out", "llm_ms", "bytes_up", "bytes_down", "gate_ms")
    }
    compute = seconds_to_read(at.device, parameters, column["local_in"])
    compute = compute + seconds_to_write(at.device, parameters, column["local_out"])
    moving = _transfer(pool, at.link, network, column["bytes_up"], column["bytes_down"])
    llm = column["llm_ms"] / 1e3
    if remote.tokens_per_s is not None:
        llm = column["calls"] * remote.first_s + column["llm_out"] / remote.tokens_per_s
    return Emulated(
        compute_s=compute,
        network_s=moving + column["calls"] * ROUND_TRIP_S[at.link.name],
        llm_s=llm,
        gate_s=column["gate_ms"] / 1e3,
        device_j=(at.device.active_w - at.device.idle_w) * compute,
        network_j=at.link.watts * moving,
    )


def _transfer(pool: Pool, link: Link, network: Network, up: F64, down: F64) -> F64:
    """Seconds of moving bytes; every question has a moment of its own in a trace."""
    count = len(up)
    index = np.full(count, LINK_INDEX[link.name], dtype=np.uint8)
    devices, begin = pool.question, np.zeros(count)
    going = network.seconds(devices, begin, up, np.full(count, link.up_mbit), index)
    coming = network.seconds(devices, begin + going, down, np.full(count, link.down_mbit), index)
    return np.where(up > 0, going, 0.0) + np.where(down > 0, coming, 0.0)


def parameters_of(model: str) -> int:
    """How many parameters a causal model has. Nothing of its weights is read. Raises BadInput."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tacit_clients.slm.places import model_folder

    try:
        config = AutoConfig.from_pretrained(str(model_folder(model) or model))
        with torch.device("meta"):
            network: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot tell the size of {model}: its config.json names no causal model") from error
    return int(network.num_parameters())
