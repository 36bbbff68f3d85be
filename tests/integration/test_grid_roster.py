"""The roster that a server learns from Flower: stable numbers; nodes that say nothing, nonsense or another's name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from local_grid import LocalGrid, Node

from tacit_privacy.contract import QUERY_DESCRIBE, RECORD_DESCRIPTION, AdapterSpec, LinearSpec
from tacit_privacy.errors import BadInput, FleetExhausted
from tacit_server.deployment.roster import EnrolledRoster
from tacit_server.grid_roster import GridRoster, JoiningConfig
from tacit_server.store import Store
from tacit_server.store.tables import DeviceRow
from tacit_simulations.clock import VirtualClock
from tacit_simulations.engines import RuntimeConfig, make_engine
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.grid import Answer, Call, FleetGrid

SPEC = AdapterSpec(model="m", method="ffa", rank=2, alpha=2, seed=1, linear=(LinearSpec(name="w", rows=8, columns=4),))
OTHER = SPEC.model_copy(update={"seed": 2})
KEYS = {name: f"{number:064x}" for number, name in enumerate(("a", "b", "c", "new"))}
FLEET = FleetConfig(devices=12, mix={"mini-pc-n150": 1.0}, crash_rate=0.0, require_idle=False, require_charging=False)


@dataclass
class Steps:
    """A clock that moves a second with every wait, and lets the test change the world meanwhile."""

    time: float = 0.0
    events: dict[float, Callable[[], object]] = field(default_factory=dict)

    def now(self) -> float:
        return self.time

    def wait(self, deadline: float) -> None:
        self.time = min(deadline, self.time + 1.0)
        self.events.pop(self.time, lambda: None)()


def record(identity: Any = "a", rank: Any = 2, spec: Any = SPEC, key: str = "") -> RecordDict:
    text = spec.to_bytes().decode() if isinstance(spec, AdapterSpec) else spec
    said = {"identity": identity, "rank": rank, "spec": text, "public-key": key}
    return RecordDict({RECORD_DESCRIPTION: ConfigRecord(said)})


def says(*said: Any, **named: Any) -> Node:
    """A node that describes itself, and can do nothing else."""

    def node(message: Message) -> Message:
        assert message.metadata.message_type == QUERY_DESCRIBE
        return Message(record(*said, **named), reply_to=message)

    return node


def silent(message: Message) -> None:
    return None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'run.db'}")
    yield store
    store.close()


def roster_of(grid: LocalGrid, store: Store, clock: Steps | None = None, cohort: int = 2, **joining: Any) -> GridRoster:
    return GridRoster(grid, clock or Steps(), store, JoiningConfig(**joining), cohort)


def nodes_of(roster: GridRoster, now: float = 1e6) -> dict[int, int]:
    """Device number to node, of those that can be asked."""
    everybody = np.arange(roster.population)
    return {int(number): roster.node_id(int(number)) for number in everybody[roster.eligible(everybody, now)]}


def test_devices_are_numbered_by_identity_whatever_their_nodes(store: Store) -> None:
    roster = roster_of(LocalGrid({9: says("a", 1), 4: says("c"), 7: says("b")}), store)
    assert roster.gather() == SPEC
    assert (roster.population, nodes_of(roster)) == (3, {0: 9, 1: 7, 2: 4})
    assert [roster.rank(number) for number in range(3)] == [1, 2, 2]


def test_nodes_that_register_late_are_waited_for(store: Store) -> None:
    grid = LocalGrid({})
    clock = Steps(
        events={5.0: lambda: grid.nodes.update({1: says("a")}), 7.0: lambda: grid.nodes.update({2: says("b")})}
    )
    roster = roster_of(grid, store, clock, nodes=2)
    roster.gather()
    assert (roster.population, clock.time) == (2, 7.0)


@pytest.mark.parametrize(
    "bad",
    [
        silent,
        lambda message: Message(Error(1, "its own trouble"), reply_to=message),
        lambda message: Message(RecordDict(), reply_to=message),
        says(identity=""),
        says(identity=7),
        says(identity="x" * 201),
        says(rank=0),
        says(rank=True),
        says(spec="{}"),
        says(spec=b"not text"),
    ],
)
def test_a_node_that_says_nothing_of_use_is_left_out(store: Store, bad: Node) -> None:
    clock = Steps()
    roster = roster_of(LocalGrid({1: says("a"), 2: bad, 3: says("b")}), store, clock, answer_s=50.0, patience_s=100.0)
    roster.gather()
    assert nodes_of(roster) == {0: 1, 1: 3}
    assert clock.time <= 51.0  # it is given up after its time, not waited for


def test_too_few_devices_are_one_sentence(store: Store) -> None:
    roster = roster_of(LocalGrid({1: says("a"), 2: silent}), store, patience_s=20.0)
    with pytest.raises(FleetExhausted, match="1 devices said who they are within 20 s but a cohort is 2"):
        roster.gather()


def test_devices_that_are_ready_for_different_adapters_are_one_sentence(store: Store) -> None:
    grid = LocalGrid({1: says("a"), 2: says("b"), 3: says("c", spec=OTHER)})
    with pytest.raises(BadInput, match=r"2 different adapters \(2 and 1 devices\); give all of them the same"):
        roster_of(grid, store).gather()


def test_of_two_nodes_that_claim_one_identity_the_first_is_asked(store: Store) -> None:
    grid = LocalGrid({5: says("a"), 6: says("a", 1), 7: says("b")})
    roster = roster_of(grid, store)
    roster.gather()
    assert (roster.population, nodes_of(roster), roster.rank(0)) == (2, {0: 5, 1: 7}, 2)
    del grid.nodes[5]
    assert nodes_of(roster, 2e6) == {0: 6, 1: 7}  # then the other speaks for the device, under the same number
    grid.nodes[5] = says("a")
    assert nodes_of(roster, 3e6) == {0: 6, 1: 7}


def test_a_device_that_comes_back_as_another_node_keeps_its_number(store: Store) -> None:
    grid = LocalGrid({1: says("a"), 2: says("b"), 3: says("c")})
    roster = roster_of(grid, store)
    roster.gather()
    del grid.nodes[2]
    assert nodes_of(roster, 1e6) == {0: 1, 2: 3}
    grid.nodes |= {8: says("b"), 9: says("a stranger"), 10: says("b", spec=OTHER)}
    assert nodes_of(roster, 2e6) == {0: 1, 1: 8, 2: 3}
    assert roster.population == 3


def test_numbers_outlive_the_server(store: Store) -> None:
    """Participations are counted by number: a resumed run must not count them for somebody else."""
    roster_of(LocalGrid({1: says("b"), 2: says("c"), 3: says("d")}), store).gather()
    roster = roster_of(LocalGrid({7: says("a", spec=OTHER), 8: says("c"), 9: says("d")}), store)
    assert roster.gather() == SPEC
    assert (roster.population, nodes_of(roster)) == (3, {1: 8, 2: 9})


def enrolled(store: Store, nodes: dict[str, int]) -> None:
    """Devices of these names, admitted as these nodes."""
    with store.begin() as session:
        for number, (name, node) in enumerate(nodes.items()):
            session.add(DeviceRow(number=number, identity=name, public_key=KEYS[name], node_id=str(node)))


def enrolled_roster(grid: LocalGrid, store: Store, devices: int) -> EnrolledRoster:
    return EnrolledRoster(grid, Steps(), store, JoiningConfig(), 2, devices, None, lambda waiting: "run")


def test_an_enrolled_device_is_asked_as_the_node_that_it_was_admitted_as(store: Store) -> None:
    """Name and key of a device are in the receipts of an open roster: whoever was admitted could say them."""
    enrolled(store, {"a": 2**63 + 7, "b": 8, "c": 3})
    thief = says("a", key=KEYS["a"])
    grid = LocalGrid({3: thief, 8: says("b", key=KEYS["b"]), 2**63 + 7: says("a", key=KEYS["a"])})
    roster = enrolled_roster(grid, store, 3)
    roster.gather()
    assert nodes_of(roster) == {0: 2**63 + 7, 1: 8}
    del grid.nodes[2**63 + 7]
    assert nodes_of(roster, 2e6) == {1: 8}


def test_a_device_that_comes_back_under_new_keys_is_asked_under_those_while_a_run_goes_on(store: Store) -> None:
    enrolled(store, {"a": 7, "b": 8})
    grid = LocalGrid({7: says("a", key=KEYS["a"]), 8: says("b", key=KEYS["b"])})
    roster = enrolled_roster(grid, store, 2)
    roster.gather()
    with store.begin() as session:
        row = session.get_one(DeviceRow, 0)
        row.public_key, row.node_id = KEYS["new"], "9"
    assert nodes_of(roster, 1e6) == {1: 8}  # whoever found the lost one is not asked
    grid.nodes[9] = says("a", key=KEYS["new"])
    assert nodes_of(roster, 2e6) == {0: 9, 1: 8}
    assert roster.identity(0).public_key == KEYS["new"]


def describe(call: Call) -> Answer:
    """An emulated device's ClientApp that only says who it is."""
    return Answer(Message(record(f"device-{call.device:02}"), reply_to=call.message), call.state)


def test_an_emulated_fleet_can_be_gathered_like_any_other(store: Store) -> None:
    clock = VirtualClock(FLEET.start)
    emulator = Emulator.of(1, FLEET, Work(64.0, 64.0, 1e6, np.full(12, 8.0), 1e6))
    with make_engine(RuntimeConfig(engine="inline")) as engine:
        grid = FleetGrid(emulator, clock, engine, partial(describe))
        roster = GridRoster(grid, clock, store, JoiningConfig(patience_s=3600.0, answer_s=1800.0), 2)
        roster.gather()
        found = nodes_of(roster, clock.now())
    assert 2 <= roster.population <= 12
    assert set(found.values()) <= set(grid.get_node_ids())
    assert all(message_node == roster.node_id(number) for number, message_node in found.items())
