"""Emulated devices inside a worker: one resident model, everybody's data on demand, the deployed ClientApp."""

from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp

from tacit_clients.app import Device, make_client_app
from tacit_clients.flower_seam import adopt_identity
from tacit_clients.slm.adapters import AdaptedModel
from tacit_clients.slm.models import load
from tacit_clients.training.examples import ExampleSource
from tacit_privacy.contract import AdapterSpec, RoundTerms
from tacit_privacy.mechanisms.noise import NoiseSource, SeededNoise
from tacit_privacy.randomness import stream
from tacit_simulations.canaries import Canaries
from tacit_simulations.data.config import DataConfig
from tacit_simulations.data.sources import build_source
from tacit_simulations.fleet.roster import device_key, device_name
from tacit_simulations.grid import RUN_ID, SERVER_NODE, Answer, Call


@dataclass(frozen=True)
class DeviceSetup:
    """All that a worker needs to become any device of the fleet. Small, hashable, picklable."""

    spec: AdapterSpec
    data: DataConfig
    devices: int
    seed: int
    server_key: str
    canaries: int = 0

    def __hash__(self) -> int:
        return hash((self.spec.digest, self.data, self.devices, self.seed, self.server_key, self.canaries))

    @cached_property
    def watched(self) -> Canaries:
        """The devices that are canaries."""
        return Canaries(self.seed, self.devices, self.canaries)

    def source(self) -> ExampleSource:
        return build_source(self.data, self.seed, self.devices)


@dataclass(frozen=True)
class Resident:
    """What stays in a process between calls."""

    adapted: AdaptedModel
    source: ExampleSource
    app: ClientApp


@lru_cache(maxsize=1)
def resident(setup: DeviceSetup) -> Resident:
    """Load the model once a process; later calls swap adapters in."""
    adopt_identity(RUN_ID, SERVER_NODE)
    source = setup.source()
    adapted = AdaptedModel(load(setup.spec.model), setup.spec, labels=len(source.labels))

    def virtual(terms: RoundTerms) -> float:
        return terms.deadline

    def device_of(context: Context) -> Device:
        index = context.node_id - 1

        def rng(number: int) -> np.random.Generator:
            return stream(setup.seed, "device", index, "round", number)

        def noise(number: int) -> NoiseSource:
            return SeededNoise(setup.seed, "device", index, "round", number)

        data, pinned = source.device(index), setup.server_key
        sends = partial(setup.watched.contribution, index) if index in setup.watched else None
        name, key = device_name(index), device_key(setup.seed, index)
        return Device(
            name, data, source.task, adapted, rng, key, server_key=pinned, noise=noise, now=virtual, contribution=sends
        )

    return Resident(adapted, source, make_client_app(device_of))


def run_device(setup: DeviceSetup, call: Call) -> Answer:
    """The engine's job: hand one message to the ClientApp as the device it is for."""
    context = Context(run_id=RUN_ID, node_id=call.device + 1, node_config={}, state=_copy(call.state), run_config={})
    reply = resident(setup).app(call.message, context)
    return Answer(reply, context.state)


def _copy(state: RecordDict) -> RecordDict:
    """A crash must leave the state as it was before the message."""
    copied = RecordDict()
    for name, record in state.items():
        copied[name] = record
    return copied
