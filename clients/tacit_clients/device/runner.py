"""``tacit device run``: one resident process that waits for mail, learns, answers, and keeps what it owes until it is
delivered.
"""

import os
import signal
import threading
import time
import traceback
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np
import structlog
from flwr.app import ConfigRecord, Context, Message, RecordDict

from tacit_clients.answering import refusal
from tacit_clients.app import STATE_GUARD, Device, Personal, make_client_app
from tacit_clients.device.data import device_data, task_of
from tacit_clients.device.enrolling import fingerprint_of
from tacit_clients.device.fleet_link import FleetLink
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.installing import Installer, settle
from tacit_clients.device.journal import Journal, Turn
from tacit_clients.device.judging import PersonalJudge
from tacit_clients.device.ledger_watch import compared, seen_of
from tacit_clients.device.limits import is_out_of_memory
from tacit_clients.device.policy import Surroundings, obstacle
from tacit_clients.device.scoring import Scorer
from tacit_clients.device.server import Server
from tacit_clients.flower_seam import Parcel, adopt_identity
from tacit_clients.guard import Floor, Memory
from tacit_clients.slm.adapters import AdaptedModel, build_spec
from tacit_clients.slm.models import load, single_thread
from tacit_privacy.contract import RECORD_RECEIPT, RECORD_REFUSAL, LocalTraining, Receipt
from tacit_privacy.enrolment import AdapterManifest, DeviceReport, Notice, Placement
from tacit_privacy.errors import (
    BadInput,
    LedgerBroken,
    NodeUnknown,
    RequestRefused,
    RunOver,
    ServerUnreachable,
    TacitError,
)
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.rotations import followed
from tacit_privacy.provenance import code_digest

_MAIL_S: Final = 25.0  # how long the server may keep the device waiting
_REPORT_S: Final = 60.0
_POLICY_S: Final = 15.0  # between looks while policy keeps the device from training
_MOST_BEGINNINGS: Final = 3  # of one message, by processes that ended over it, as for want of memory
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_LEDGER_DOUBTS: Final = frozenset({"rollback", "fork", "ledger"})
_TOO_LITTLE: Final = "out of memory; see limits.memory_mb, or keep shorter examples"
_log = structlog.get_logger("tacit.device")


@dataclass
class _Pause:
    """Longer and longer while the server cannot be reached; never all devices at once."""

    seconds: float = _FIRST_PAUSE_S

    def worked(self) -> None:
        self.seconds = _FIRST_PAUSE_S

    def next(self) -> float:
        pause, self.seconds = self.seconds, min(2 * self.seconds, _LONGEST_PAUSE_S)
        return pause * (0.5 + int.from_bytes(os.urandom(2), "big") / 65536)


class _Ended(Exception):
    """Told to end while nothing was under way."""


@dataclass
class DeviceRunner:
    """One device. ``run`` returns when it is told to end; whatever it ends by, nothing that was owed is lost."""

    home: DeviceHome
    journal: Journal
    around: Surroundings = field(default_factory=Surroundings.real)
    _ending: threading.Event = field(default_factory=threading.Event)
    _pause: _Pause = field(default_factory=_Pause)
    _seen: int = -1  # the server's count of mail
    _reported: float = -_REPORT_S
    _activity: str = "starting"
    _since: float = field(default_factory=time.time)
    _refusal: str = ""
    _counted: int = 0
    _waiting: bool = False
    _rolled_back: bool = False  # whether the server's ledger lacks what was seen of it
    _unknown: bool = False  # whether the server said that it does not know the node
    _bundles: set[int] = field(default_factory=set)  # runs whose bundle was looked at

    def __post_init__(self) -> None:
        keys, placement = self.journal.keys(), self.journal.placement()
        if keys is None or placement is None:
            raise BadInput(f"the device in {self.home.path} is not admitted yet; type tacit device enroll again")
        self._signing: SigningKey = keys[0]
        self._placement: Placement = placement
        authority = self.home.authority.read_text(encoding="ascii")
        address = self.home.settings.server.address
        self._server = Server(address, authority, fingerprint_of(authority), self._signing)
        self._adapted = self._model()
        self._scorer = Scorer(self._adapted, self.home.settings.data)
        settle(self.home, self.journal)
        self._app = make_client_app(lambda context: self._device())
        self._turn = self._taken_up()
        self._fleet = FleetLink(address, authority, keys[1], placement.node_id)

    @property
    def identity(self) -> str:
        """What the device is called in receipts."""
        return self._placement.identity

    def _taken_up(self) -> Turn:
        """Where the device stood when its process ended; what it was asked is begun once more."""
        turn = self.journal.turn()
        if turn.asked is not None:
            turn = replace(turn, begun=turn.begun + 1)
            self.journal.keep(turn)
        return turn

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        _log.info("device", identity=self._placement.identity, server=self.home.settings.server.url)
        try:
            while not self._ending.is_set():
                try:
                    if self._unknown:
                        self._register_again()
                    else:
                        self._step()
                        self._pause.worked()
                except ServerUnreachable as error:
                    self._say("unreachable")
                    _log.warning("the server cannot be reached", why=str(error))
                    self._ending.wait(self._pause.next())
                except RequestRefused as refused:  # as where the clocks are apart: somebody has to look, and may later
                    self._say(f"refused: {refused.reason}")
                    _log.error("the server refused a request", reason=refused.reason)
                    self._ending.wait(self._pause.next())
                except NodeUnknown:
                    self._unknown = True
                except _Ended:
                    break
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    self._out_of_memory()
        finally:
            self._fleet.close()
            self._server.close()
            self._say("ended")

    def _end(self, number: int, frame: FrameType | None) -> None:
        """At once where the device only waits for mail; else once its step is over."""
        self._ending.set()
        if self._waiting:
            raise _Ended

    def _out_of_memory(self) -> None:
        """The step left everything as it was before, so that it can be taken again once there is more."""
        with suppress(MemoryError):
            self._say("out of memory")
            _log.error("a step is taken again later", why=_TOO_LITTLE)
        self._ending.wait(self._pause.next())

    def _keep(self, turn: Turn) -> None:
        """On disk first: what the process goes on from is never more than what is kept."""
        self.journal.keep(turn)
        self._turn = turn

    def _step(self) -> None:
        """One turn of the loop: deliver what is owed, finish what was asked, else see what there is."""
        if self._turn.owed is not None:
            self._deliver()
            return
        if self._turn.asked is not None:
            self._answer(self._turn.asked)
            return
        self._judge_personal()
        self._report_if_due()
        why_not = "rollback" if self._rolled_back else obstacle(self.home.settings.policy, self.around)
        if why_not:
            self._fleet.offline()
            self._say(f"waiting: {why_not}")
            self._ending.wait(_POLICY_S)
            return
        self._fleet.online()
        asked = self._received()
        if asked is None:
            self._say("waiting for rounds")
            self._wait_for_mail()
            return
        self._keep(Turn(self._turn.state, asked=asked))

    def _received(self) -> Parcel | None:
        try:
            return self._fleet.messages.receive()
        except RunOver:
            return None  # while its parts were on their way

    def _wait_for_mail(self) -> None:
        self._waiting = True
        try:
            if not self._ending.is_set():
                self._seen = self._server.mail(self._seen, _MAIL_S)
        finally:
            self._waiting = False

    def _answer(self, asked: Parcel) -> None:
        """Let the installed app answer. What it remembers afterwards and what it owes are kept as one."""
        self._say("working")
        try:
            reply, state = self._given_up(asked) if self._turn.begun > _MOST_BEGINNINGS else self._reply(asked)
        except RunOver:
            self._keep(Turn(self._turn.state))
            return
        except BadInput as refused:
            _log.warning("a message was refused", why=str(refused))
            self._keep(Turn(self._turn.state))
            return
        self._keep(Turn(state, owed=Parcel.of(reply)))
        with suppress(RunOver):
            self._fleet.messages.confirm(asked)

    def _given_up(self, asked: Parcel) -> tuple[Message, RecordDict]:
        """Without a look at what it holds."""
        _log.error("a message is given up, since the process ended over it", times=_MOST_BEGINNINGS)
        adopt_identity(asked.run_id, int(self._placement.node_id))
        return Message(refusal("failed"), reply_to=asked.envelope()), self._turn.state

    def _reply(self, asked: Parcel) -> tuple[Message, RecordDict]:
        """The answer, and what the device remembers after it. Raises RunOver, or BadInput on what is no message."""
        self._check_bundle(asked.run_id)
        message = (self._fleet.messages.whole(asked) if asked.is_bare else asked).message()
        adopt_identity(asked.run_id, int(self._placement.node_id))
        state = deepcopy(self._turn.state)  # an answer that fails changes nothing
        context = Context(run_id=asked.run_id, node_id=0, node_config={}, state=state, run_config={})
        try:
            reply = self._app(message, context)
        except Exception as error:  # whoever waits gets an answer, not what it failed of; this process goes on
            _log.error("a message could not be answered", **_why(error))
            return Message(refusal("failed"), reply_to=message), self._turn.state
        if reply.has_content() and RECORD_RECEIPT in reply.content.config_records:
            self._refusal = ""
        if reply.has_content() and RECORD_REFUSAL in reply.content.config_records:
            self._refusal = str(reply.content.config_records[RECORD_REFUSAL]["reason"])
            _log.warning("a round was refused", reason=self._refusal)
            if self._refusal in _LEDGER_DOUBTS:
                self._reported = -_REPORT_S  # the server's operator should hear of it soon
        return reply, context.state

    def _deliver(self) -> None:
        owed = self._turn.owed
        if owed is None:
            return
        self._say("delivering")
        try:
            size = self._fleet.messages.send(owed)
            _log.info("delivered", bytes=size, round=_round_of(owed))
        except RunOver:
            _log.info("what was owed is of no use any more: its run is over")
        self._keep(replace(self._turn, owed=None))

    def _check_bundle(self, run_id: int) -> None:
        if run_id not in self._bundles:
            self._fleet.messages.check_bundle(run_id)
            self._bundles.add(run_id)

    def _device(self) -> Device:
        settings = self.home.settings
        owner, rank = settings.owner, settings.owner.personal_rank
        return Device(
            identity=self._placement.identity,
            data=device_data(settings.data),
            task=task_of(settings.data),
            adapted=self._adapted,
            rng=lambda number: np.random.default_rng(),
            key=self._signing,
            server_key=self._placement.server_key,
            one_ledger=True,
            personal=Personal(rank, LocalTraining()) if rank else None,
            floor=Floor(owner.least_noise, owner.largest_clip, owner.most_participations),
        )

    def _model(self) -> AdaptedModel:
        """Loaded once, and resident as long as the device runs."""
        told: dict[str, Any] = self._placement.adapter
        single_thread()
        model = load(self._placement.model)
        targets = tuple(told.get("targets", ()))
        spec = build_spec(model, told["method"], int(told["rank"]), float(told["alpha"]), int(told["seed"]), targets, 0)
        return AdaptedModel(model, spec, 0)

    def _register_again(self) -> None:
        """The server knows the node no more: it began anew and says the number, or it says that the device is out."""
        self._fleet.close()
        before = self._placement.node_id
        try:
            self._report()
        except NodeUnknown:
            self._say("revoked")
            _log.error("the server knows this device no more; an operator revoked it, or it left")
            self._ending.wait(_REPORT_S)
            return
        self._unknown = False
        if self._placement.node_id == before:  # it knows the device, and takes no proof of its node, which is dated
            _log.warning("the server does not take what the node sends; this machine's clock may be wrong")
            self._ending.wait(self._pause.next())

    def _report_if_due(self) -> None:
        """More often while the server's ledger is doubted: its operator may have settled it."""
        if time.monotonic() - self._reported >= (_POLICY_S if self._rolled_back else _REPORT_S):
            self._report()

    def _report(self) -> None:
        """Say how the device is, and hear of new adapters and of its number."""
        notice = self._server.report(self._told())
        self._reported, self._counted = time.monotonic(), notice.counted
        self._follow(notice)
        self._compare_ledger(notice)
        if notice.node_id and notice.node_id != self._placement.node_id:
            self._placement = self._placement.model_copy(update={"node_id": notice.node_id})
            self.journal.place(self._placement)
            self._fleet.renew(notice.node_id)
        if notice.newest and self.home.settings.adapter.install:
            self._consider(notice.newest.encode(), notice.newest_signature)

    def _follow(self, notice: Notice) -> None:
        """Pin the key that the server's ledger was handed over to, where the pinned one says so."""
        try:
            key = followed(self._placement.server_key, notice.rotations)
        except LedgerBroken as error:
            _log.error("another key of the server was refused", why=str(error))
            return
        if key != self._placement.server_key:
            first = self._placement.first_key or self._placement.server_key
            self._placement = self._placement.model_copy(update={"server_key": key, "first_key": first})
            self.journal.place(self._placement)
            _log.warning("the server's key was rotated, and is followed", key=key)

    def _consider(self, payload: bytes, signature: str) -> None:
        try:
            manifest = AdapterManifest.verified(payload, bytes.fromhex(signature), self._placement.server_key)
            worse_by = self.home.settings.adapter.worse_by
            installer = Installer(self.home, self.journal, self._adapted.spec, self._scorer.loss, worse_by)
            outcome = installer.consider(manifest, self._server.adapter)
        except (BadInput, ValueError) as error:  # ValueError: signed, or said to be, and in no form that is known
            _log.error("an adapter was refused", why=str(error))
            return
        if outcome != "known":
            _log.info("adapter", outcome=outcome, run=manifest.run, round=manifest.round)
            self._judge_personal()
            self._tell()

    def _judge_personal(self) -> None:
        settings = self.home.settings
        rank, worse_by = settings.owner.personal_rank, settings.adapter.worse_by
        judge = PersonalJudge(self.home, self.journal, self._adapted.spec, rank, worse_by, self._scorer.loss)
        try:
            used = judge.consider(self._turn.state)
        except BadInput as error:
            _log.warning("the personal adapter cannot be judged", why=str(error))
            return
        if used is not None:
            _log.info("personal adapter", used=used)

    def _compare_ledger(self, notice: Notice) -> None:
        """Take part in nothing while the server's ledger does not hold what was seen of it."""
        memory, before = self._memory(), self._rolled_back
        standing = compared(memory, notice, self._placement)
        self._rolled_back = bool(standing.doubt)
        if self._rolled_back:
            self._refusal = "rollback"
            if not before:
                _log.error("the server was put back to an older copy; no round is taken part in", why=standing.doubt)
            return
        if self._refusal == "rollback":
            self._refusal = ""
        if standing.memory != memory:
            state = deepcopy(self._turn.state)
            state[STATE_GUARD] = ConfigRecord(dict(standing.memory.as_values(self._signing)))
            self._keep(replace(self._turn, state=state))
            _log.warning("the server owned up to a restored ledger", entries=seen_of(standing.memory).length)

    def _memory(self) -> Memory:
        state = self._turn.state
        if STATE_GUARD not in state:
            return Memory()
        return Memory.from_values(dict(state.config_records[STATE_GUARD]), self._signing.public)

    def _told(self) -> DeviceReport:
        memory = self._memory()
        seen = seen_of(memory)
        return DeviceReport(
            version=version("tacit"),
            code=code_digest("tacit_privacy", "tacit_clients")[:100],
            activity=self._activity,
            spec=self._adapted.spec.digest,
            installed=self.journal.adapter().in_use.vector,
            outbox=int(self._turn.owed is not None),
            rounds=memory.participations,
            refusal=self._refusal,
            ledger_length=seen.length,
            ledger_head=seen.head,
        )

    def _say(self, activity: str) -> None:
        """Leave word for the owner; the same word is not written twice."""
        if activity != self._activity:
            self._activity, self._since = activity, time.time()
            self._tell()

    def _tell(self) -> None:
        told = {
            "identity": self._placement.identity,
            "server": self.home.settings.server.url,
            "activity": self._activity,
            "since": self._since,
            "rounds": self._told().rounds,
            "counted": self._counted,
            "owes": self._turn.owed is not None,
            "refusal": self._refusal,
            "adapter": self.journal.adapter().told(),
            "pid": os.getpid(),
        }
        try:
            self.home.tell(told)
        except BadInput as error:  # a full disk: word for the owner is no reason to end
            _log.warning("the status cannot be written", why=str(error))


def _why(error: Exception) -> dict[str, str]:
    """For the device's own log. What an unforeseen error says may quote an example: only its place is told."""
    under = (
        error.__context__ if isinstance(error.__context__, Exception) else error
    )  # the app tells no more than a name
    if is_out_of_memory(under):
        return {"why": _TOO_LITTLE}
    if isinstance(under, TacitError):
        return {"why": str(under)}
    frames = traceback.extract_tb(under.__traceback__)
    return {"why": type(under).__name__, "place": f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"}


def _round_of(owed: Parcel) -> int:
    """The round that a reply is an update of; 0 for any other reply."""
    message = owed.message()
    if not message.has_content() or RECORD_RECEIPT not in message.content.config_records:
        return 0
    payload = message.content.config_records[RECORD_RECEIPT]["payload"]
    return Receipt.from_bytes(payload).round if isinstance(payload, bytes) else 0
