"""Flower's Grid over an emulated fleet, in virtual time: to simulated devices what a SuperLink is to real ones."""

import heapq
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from tacit_clients.flower_seam import adopt_identity
from tacit_privacy.errors import BadInput
from tacit_simulations import grid_state
from tacit_simulations.clock import VirtualClock
from tacit_simulations.engines import Engine, Failed, Job
from tacit_simulations.fleet.emulator import Dispatch, Emulator

RUN_ID = 1
SERVER_NODE = 0
CLIENT_FAILED = 3  # Flower's error code for an exception in a ClientApp


@dataclass(frozen=True, slots=True)
class Call:
    """One message for one device, with the state that Flower keeps between its messages."""

    device: int
    message: Message
    state: RecordDict


@dataclass(frozen=True, slots=True)
class Answer:
    """What the device's ClientApp made of a call."""

    reply: Message
    state: RecordDict


class OneRunGrid(Grid):
    """A Grid of one run, within this process: what is left is to carry messages."""

    def __init__(self) -> None:
        adopt_identity(RUN_ID, SERVER_NODE)
        self._run = Run.create_empty(RUN_ID)

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)


class FleetGrid(OneRunGrid):
    """Nodes are devices: node id = device index + 1. Nothing waits: a reply lies ready at its virtual time.

    ``emulator`` says who finishes when, or why not; ``job`` (run by ``engine``) is the device's own ClientApp. Devices
    that cannot finish within a message's time to live are not run at all: nobody would see their reply.
    """

    def __init__(self, emulator: Emulator, clock: VirtualClock, engine: Engine, job: Job) -> None:
        super().__init__()
        self._emulator, self._clock, self._engine, self._job = emulator, clock, engine, job
        self._due: list[tuple[float, str]] = []  # heap of (virtual time, message id)
        self._replies: dict[str, Message] = {}  # by id of the message they answer
        self._states: dict[int, RecordDict] = {}
        self._sent = 0
        self.on_dispatch: Callable[[str, Dispatch], None] = lambda group, dispatch: None

    @property
    def states(self) -> Mapping[int, RecordDict]:
        """What devices keep to themselves, by device: a simulator owns them all. No server ever sees it."""
        return self._states

    def get_node_ids(self) -> Iterable[int]:
        """Nodes that can be reached now."""
        return [int(device) + 1 for device in self._emulator.reachable(self._clock.now())]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Dispatch: decide in virtual time who finishes when, run those who do, keep the replies for later."""
        batch = [self._numbered(message) for message in messages]
        self._forget_expired()
        if batch:
            devices = [self._device(message) for message in batch]
            ends = [self._clock.now() + message.metadata.ttl for message in batch]
            dispatch = self._emulator.dispatch(devices, self._clock.now(), ends)
            self.on_dispatch(batch[0].metadata.group_id, dispatch)
            self._execute(batch, devices, dispatch)
        return [message.metadata.message_id for message in batch]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that have arrived by now, in order of arrival."""
        wanted = set(message_ids)
        ready = sorted(entry for entry in self._due if entry[0] <= self._clock.now() and entry[1] in wanted)
        if ready:
            taken = {name for _, name in ready}
            self._due = [entry for entry in self._due if entry[1] not in taken]
            heapq.heapify(self._due)
        return [self._replies.pop(name) for _, name in ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push, let virtual time pass until all have answered or ``timeout`` is over, and pull."""
        outstanding = set(self.push_messages(messages))
        deadline = self._clock.now() + (timeout if timeout is not None else float("inf"))
        replies: list[Message] = []
        while outstanding:
            arrived = list(self.pull_messages(outstanding))
            replies += arrived
            outstanding -= {reply.metadata.reply_to_message_id for reply in arrived}
            coming = min((at for at, name in self._due if name in outstanding), default=float("inf"))
            if not outstanding or min(coming, deadline) == float("inf") or self._clock.now() >= deadline:
                break
            self._clock.advance_to(min(coming, deadline))
        return replies

    def snapshot(self) -> bytes:
        """Everything a resumed run needs to go on as if it had never stopped."""
        self._forget_expired()
        due = {name: at for at, name in self._due}
        pending = [(due[name], reply) for name, reply in self._replies.items()]
        return grid_state.pack(self._sent, pending, self._states, self._emulator.snapshot())

    def restore(self, data: bytes, now: float) -> None:
        """Go on from a snapshot taken at virtual time ``now``."""
        self._clock.advance_to(now)
        restored = grid_state.unpack(data)
        self._sent, self._states = restored.sent, restored.states
        self._due, self._replies = [], {}
        for at, reply in restored.pending:
            self._expect(at, reply)
        self._emulator.restore(restored.emulator)

    def _numbered(self, message: Message) -> Message:
        self._sent += 1
        message.metadata.__dict__["_message_id"] = f"m{self._sent}"  # a SuperLink numbers messages as they arrive
        return message

    def _device(self, message: Message) -> int:
        device = message.metadata.dst_node_id - 1
        if not 0 <= device < self._emulator.devices:
            raise BadInput(f"no node {message.metadata.dst_node_id} in a fleet of {self._emulator.devices} devices")
        return device

    def _execute(self, batch: Sequence[Message], devices: Sequence[int], dispatch: Dispatch) -> None:
        finishing = [row for row in range(len(batch)) if dispatch.completes[row]]
        calls = [Call(devices[row], batch[row], self._states.get(devices[row]) or RecordDict()) for row in finishing]
        for row, call, answer in zip(finishing, calls, self._engine.map(self._job, calls), strict=True):
            at = float(dispatch.finish[row])
            if isinstance(answer, Failed):
                if answer.reason != "hung":  # a device that hangs says nothing at all
                    self._expect(at, Message(Error(CLIENT_FAILED, answer.reason), reply_to=call.message))
                continue
            self._states[call.device] = answer.state
            self._expect(at, answer.reply)

    def _expect(self, at: float, reply: Message) -> None:
        name = reply.metadata.reply_to_message_id
        self._replies[name] = reply
        heapq.heappush(self._due, (at, name))
        self._clock.schedule_event(at)

    def _forget_expired(self) -> None:
        """Replies that nobody pulled before their message's time to live ran out are gone, as on a SuperLink."""
        now = self._clock.now()
        alive = [(at, name) for at, name in self._due if at >= now]
        if len(alive) < len(self._due):
            self._replies = {name: self._replies[name] for _, name in alive}
            self._due = alive
            heapq.heapify(self._due)
