"""Many light devices in one process: each has keys, connections and a thread of its own, and none has a model.

``python -m tacit_simulations.evaluation.deployment.light PLAN``; a measurement starts it and writes the plan.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Final, TypeVar

from flwr.app import Message
from pydantic import BaseModel

from tacit_clients.device.enrolling import fingerprint_of, signed_application
from tacit_clients.device.server import Server
from tacit_clients.flower_seam import HEARTBEAT_S, FleetConnection, NodeKey, Parcel, adopt_identity
from tacit_privacy.contract import AdapterSpec
from tacit_privacy.enrolment import Application, DeviceReport, Token
from tacit_privacy.errors import RunOver, ServerUnreachable, TacitError
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.provenance import code_digest
from tacit_simulations.evaluation.deployment.simulated import SimulatedDevice

_MAIL_S, _REPORT_S, _PAUSE_S = 25.0, 60.0, 1.0  # as a real device's
Answer = TypeVar("Answer")
_STACK_BYTES: Final = 512 * 1024
_MESSAGES = threading.Lock()  # Flower keeps who a process is in one place


class LightPlan(BaseModel, frozen=True, extra="forbid"):
    """What a process of light devices is told: one device for each token."""

    address: str
    authority: str
    tokens: tuple[str, ...]
    spec: AdapterSpec


@dataclass
class LightDevice:
    """A device's loop, without journal, policy and adapters in use."""

    plan: LightPlan
    token: str
    _signing: SigningKey = field(default_factory=SigningKey.generate)
    _node: NodeKey = field(default_factory=NodeKey.generate)

    def live(self) -> None:
        """Enrol, and answer until the process ends."""
        fingerprint = fingerprint_of(self.plan.authority)
        server = Server(self.plan.address, self.plan.authority, fingerprint, self._signing)
        application = signed_application(self._application(fingerprint), self._signing, self._node)
        placed = _reaching(lambda: server.enrol(application))  # which may be asked again
        device = SimulatedDevice(placed.identity, self._signing, placed.server_key, self.plan.spec)
        fleet = FleetConnection(self.plan.address, self.plan.authority, self._node, int(placed.node_id))
        _reaching(fleet.heartbeat)
        next(_HEARTS).add(fleet)
        self._take_part(device, server, fleet, int(placed.node_id))

    def _take_part(self, device: SimulatedDevice, server: Server, fleet: FleetConnection, node: int) -> None:
        seen, reported, owed = -1, -_REPORT_S, None
        while True:
            try:
                if time.monotonic() - reported > _REPORT_S:
                    server.report(self._report())
                    reported = time.monotonic()
                asked = fleet.receive() if owed is None else None
                if asked is not None:
                    owed = _answered(device, asked, node)
                    fleet.confirm(asked)
                if owed is not None:
                    fleet.send(owed)
                    owed = None
                else:
                    seen = server.mail(seen, _MAIL_S)
            except RunOver:
                owed = None
            except ServerUnreachable:
                time.sleep(_PAUSE_S)

    def _application(self, fingerprint: str) -> Application:
        return Application(
            server=fingerprint,
            public_key=self._signing.public,
            node_key=self._node.public,
            name="light",
            token=Token.read(self.token).secret,
        )

    def _report(self) -> DeviceReport:
        return DeviceReport(
            version=version("tacit"), code=_CODE[:100], activity="waiting for rounds", spec=self.plan.spec.digest
        )


def _reaching(call: Callable[[], Answer]) -> Answer:
    """What ``call`` returns, however often it takes: two hundred devices begin at once."""
    while True:
        try:
            return call()
        except ServerUnreachable:
            time.sleep(_PAUSE_S)


def _answered(device: SimulatedDevice, asked: Parcel, node: int) -> Parcel:
    message = asked.message()
    content = device.reply(message)
    with _MESSAGES:
        adopt_identity(asked.run_id, node)
        return Parcel.of(Message(content, reply_to=message))


class _Heart(threading.Thread):
    """Keeps some devices of the process online."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="heart")
        self._connections: list[FleetConnection] = []

    def add(self, connection: FleetConnection) -> None:
        self._connections.append(connection)

    def run(self) -> None:
        while True:
            due = time.monotonic() + 0.8 * HEARTBEAT_S
            for connection in list(self._connections):
                with suppress(TacitError):  # the device's own loop finds out
                    connection.heartbeat()
            time.sleep(max(0.0, due - time.monotonic()))


_ALL_HEARTS, _CODE = [_Heart() for _ in range(8)], code_digest("tacit_privacy", "tacit_clients")
_HEARTS = cycle(_ALL_HEARTS)


def main(path: str) -> None:
    plan = LightPlan.model_validate_json(Path(path).read_bytes())
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ending.set())
    threading.stack_size(_STACK_BYTES)
    for token in plan.tokens:
        threading.Thread(target=LightDevice(plan, token).live, daemon=True).start()
    for heart in _ALL_HEARTS:
        heart.start()
    ending.wait()


if __name__ == "__main__":
    main(sys.argv[1])
