"""Who is in the fleet, learnt from Flower: every node says which device it is, and numbers stay with devices."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from tacit_privacy.contract import QUERY_DESCRIBE, RECORD_DESCRIPTION, AdapterSpec
from tacit_privacy.errors import BadInput, FleetExhausted
from tacit_server.clock import Clock
from tacit_server.config import JoiningConfig as JoiningConfig
from tacit_server.roster import Bools, Devices, Identity
from tacit_server.store import Store
from tacit_server.store.tables import DeviceRow

_log = logging.getLogger("flwr")  # what Flower's runtimes show and stream
_SETTLE_S, _REFRESH_S = 3.0, 2.0
_LONGEST_IDENTITY = 200


@dataclass(frozen=True, slots=True)
class Description:
    """What a node says of itself."""

    identity: str
    rank: int
    spec: AdapterSpec
    public_key: str


class GridRoster:
    """Satisfies the server's ``Roster`` over any Flower Grid.

    Devices are numbered by sorted identity when a run first sees them, and the numbers are stored: participations are
    counted by number. The fleet of a run is fixed once gathered, since its population is part of what was promised;
    who comes later waits for the next run. A known device that comes back as another node is taken in while rounds run.
    """

    def __init__(self, grid: Grid, clock: Clock, store: Store, joining: JoiningConfig, cohort: int) -> None:
        self._grid, self._clock, self._store, self._joining, self._cohort = grid, clock, store, joining, cohort
        self._asked: dict[int, str] = {}  # online nodes that were asked; the message's id, "" once it is settled
        self._until: dict[str, float] = {}  # message id: when its node is given up
        self._said: dict[int, Description] = {}  # by node
        self._online: frozenset[int] = frozenset()
        self._stale_at = -np.inf
        self._numbers: dict[str, int] = {}
        self._known: list[Identity] = []  # by number
        self._nodes: dict[int, int] = {}  # device number: the node it is now
        self._spec: AdapterSpec | None = None
        self._warned: set[int] = set()

    def gather(self) -> AdapterSpec:
        """Wait for the fleet, number it, and return the adapter that all of it is ready for.

        Raises FleetExhausted when fewer devices than a cohort said who they are, BadInput when they are ready for
        different adapters. A node that does not answer is left out.
        """
        with self._store.begin() as session:
            rows = self._rows(session)
            self._numbers = {row.identity: row.number for row in rows}
            self._known = [Identity(row.identity, row.public_key) for row in sorted(rows, key=lambda row: row.number)]
        self._await_fleet()
        self._spec = self._one_spec()
        if not self._numbers:
            self._number()
        self._seat()
        silent = len(self._asked.keys() - self._said.keys())
        _log.info("Tacit: %s devices, %s nodes that did not say which device they are", self.population, silent)
        return self._spec

    def _rows(self, session: Session) -> Sequence[DeviceRow]:
        """Devices that the run knows before anybody has spoken."""
        return session.scalars(select(DeviceRow)).all()

    def _number(self) -> None:
        """Number the devices that have spoken, by name, and pin their keys."""
        keys: dict[str, str] = {}
        for node in sorted(self._said):
            keys.setdefault(self._said[node].identity, self._said[node].public_key)
        self._known = [Identity(name, keys[name]) for name in sorted(keys)]
        self._numbers = {identity.name: number for number, identity in enumerate(self._known)}
        with self._store.begin() as session:
            rows = enumerate(self._known)
            session.add_all(DeviceRow(number=n, identity=who.name, public_key=who.public_key) for n, who in rows)

    @property
    def population(self) -> int:
        return len(self._numbers)

    def eligible(self, devices: Devices, now: float) -> Bools:
        """Who of ``devices`` (n,) is online, as of the last seconds."""
        if now >= self._stale_at:
            self._stale_at = now + _REFRESH_S
            self._look()
            self._listen()
            self._seat()
        return np.array([self._nodes.get(int(device), -1) in self._online for device in devices], dtype=np.bool_)

    def node_id(self, device: int) -> int:
        return self._nodes[device]

    def identity(self, device: int) -> Identity:
        """The name and the key that the device first came with: another key later is another device."""
        return self._known[device]

    def rank(self, device: int) -> int:
        """As the device said; it may be above the adapter's own."""
        return self._said[self._nodes[device]].rank

    def _await_fleet(self) -> None:
        start = self._clock.now()
        end, newest = start + self._joining.patience_s, start
        while self._clock.now() < end:
            if self._look():
                newest = self._clock.now()
            self._listen()
            if self._complete(self._clock.now() - newest):
                return
            self._clock.wait(end)
        if len(self._identities()) < self._cohort:
            raise FleetExhausted(
                f"{len(self._identities())} devices said who they are within {self._joining.patience_s:g} s but a "
                f"cohort is {self._cohort}; start more nodes, lower federation.cohort or see the nodes' own logs"
            )

    def _complete(self, quiet_s: float) -> bool:
        devices = len(self._identities())
        if self._joining.nodes:
            wanted = max(self._joining.nodes, self._cohort)
            return devices >= (min(wanted, self.population) if self._numbers else wanted)
        return devices >= self._cohort and not self._until and quiet_s >= _SETTLE_S

    def _identities(self) -> set[str]:
        """Devices of this run that have spoken: all, or those that it was gathered from before it was resumed."""
        said = {description.identity for description in self._said.values()}
        return said & set(self._numbers) if self._numbers else said

    def _one_spec(self) -> AdapterSpec:
        known = self._identities()
        told = [said.spec for said in self._said.values() if said.identity in known]
        specs = {spec.digest: spec for spec in told}
        if len(specs) > 1:
            counts = [sum(spec.digest == name for spec in told) for name in specs]
            raise BadInput(
                f"the fleet's devices are ready for {len(specs)} different adapters ({' and '.join(map(str, counts))} "
                "devices); give all of them the same model and adapter settings"
            )
        return next(iter(specs.values()))

    def _look(self) -> bool:
        """Ask nodes that were not there before who they are; whether there were any. A node that left is forgotten."""
        self._online = frozenset(self._grid.get_node_ids())
        for node in self._asked.keys() - self._online:
            self._until.pop(self._asked.pop(node), None)
        fresh = sorted(self._online - self._asked.keys())
        if not fresh:
            return False
        now, ttl = self._clock.now(), self._joining.answer_s
        messages = [Message(RecordDict(), node, QUERY_DESCRIBE, ttl=ttl) for node in fresh]
        pushed: list[str | None] = list(self._grid.push_messages(messages))
        if len(pushed) == len(fresh):  # else a node left in this very moment; who is still there is asked next time
            self._asked |= {node: name or "" for node, name in zip(fresh, pushed, strict=True)}
            self._until |= {name: now + ttl for name in pushed if name}
        return True

    def _listen(self) -> None:
        """Take what has been said since."""
        if self._until:
            for reply in self._grid.pull_messages(list(self._until)):
                said = _read(reply)
                if self._until.pop(reply.metadata.reply_to_message_id, None) and said is not None:
                    self._said[reply.metadata.src_node_id] = said
        self._until = {name: until for name, until in self._until.items() if until > self._clock.now()}

    def _seat(self) -> None:
        """Let every online node speak for its device. Of two that claim one identity, the first keeps it while online:
        a device is asked once, and counted once, whoever speaks for it.
        """
        for node in sorted(self._said.keys() & self._online):
            said = self._said[node]
            number = self._numbers.get(said.identity)
            if number is None or said.spec != self._spec:
                self._warn(node, "it is of no device of this run")
            elif why := self._unfit(node, number):
                self._warn(node, why)
            else:
                self._nodes[number] = node

    def _unfit(self, node: int, number: int) -> str:
        """Why a node may not speak for the device ``number`` that it claims to be; empty where it may."""
        if self._said[node].public_key != self._known[number].public_key:
            return "it has another key than the device it claims to be"
        if self._nodes.get(number, node) != node and self._nodes[number] in self._online:
            return f"it claims the identity of node {self._nodes[number]}"
        return ""

    def _warn(self, node: int, why: str) -> None:
        if node not in self._warned:
            self._warned.add(node)
            _log.warning("Tacit: node %s is not asked: %s", node, why)


def _read(reply: Message) -> Description | None:
    """A description that makes sense, or None: whatever else a node says is as good as silence."""
    if reply.has_error():
        return None
    try:
        record = reply.content.config_records[RECORD_DESCRIPTION]
        identity, rank, spec = record["identity"], record["rank"], record["spec"]
        if not isinstance(identity, str) or not isinstance(spec, str) or type(rank) is not int:
            return None
        key = record.get("public-key", "")
        if not 1 <= len(identity) <= _LONGEST_IDENTITY or rank < 1:
            return None
        if not isinstance(key, str) or not re.fullmatch(r"([0-9a-f]{64})?", key):
            return None
        return Description(identity, rank, AdapterSpec.from_bytes(spec.encode()), key)
    except (KeyError, ValidationError):
        return None
