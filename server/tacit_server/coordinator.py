"""The round loop: who, pay, ask, sum, noise, step, commit. Against Flower's Grid and a Clock, real or virtual."""

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Any, Final, Literal

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from tacit_privacy.accounting.budget import Reservation
from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.contract import RECORD_ADAPTER, RECORD_TERMS, AdapterSpec, LocalTraining, RoundTerms, digest
from tacit_privacy.errors import BudgetExhausted, FleetExhausted, UpdateRefused
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.receipts import SignedReceipt
from tacit_privacy.mechanisms.adaptive import WITHIN_CLIP
from tacit_privacy.mechanisms.coding import Coding
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_privacy.mechanisms.joint import JointSum, Release
from tacit_privacy.mechanisms.noise import NoiseSource
from tacit_privacy.randomness import stream
from tacit_server import optimizers
from tacit_server.aggregation.joint import RoundSum
from tacit_server.charging import Charging
from tacit_server.clock import PATIENCE_S, RETRY_S, Clock
from tacit_server.config import FederationConfig, PrivacyConfig, bits_for
from tacit_server.optimizers import ServerState
from tacit_server.planning import adaptive_clip, sampling_for
from tacit_server.roster import Counts, Devices, Roster
from tacit_server.rounds import RoundRecord, Sent, read_update
from tacit_server.sampling import fixed_cohort, rested, secret_cohort
from tacit_server.state import State
from tacit_server.store import Checkpoint, Store

Observer = Callable[[RoundRecord, NDArray[np.float64]], None]
Pace = Literal["run", "pause", "stop"]
STOPPED: Final = "stopped as asked"
OVER: Final = "the ledger says that the run is over, and no round of it can be charged any more"


class Resting(Exception):
    """The run is to rest; everything is stored."""


class Stopping(Exception):
    """The run is to end for good."""


@dataclass(frozen=True)
class Job:
    """What a run is to learn and to promise. ``seed`` None: deployed, every draw comes from the operating system."""

    run: str
    spec: AdapterSpec
    training: LocalTraining
    federation: FederationConfig
    privacy: PrivacyConfig
    initial: NDArray[np.float32]
    config_digest: str
    seed: int | None


class Coordinator:
    """Runs a job's rounds. Everything it needs to know about the outside comes in through the constructor."""

    def __init__(
        self,
        job: Job,
        grid: Grid,
        clock: Clock,
        roster: Roster,
        mechanism: GaussianSum,
        charging: Charging,
        noise: NoiseSource,
        store: Store,
        key: SigningKey,
        observe: Observer = lambda record, adapter: None,
        pace: Callable[[str], Pace] = lambda waiting: "run",
    ) -> None:
        """``pace`` is asked before every round, and with what is waited for while it is: whether to go on."""
        self._job, self._grid, self._clock, self._roster = job, grid, clock, roster
        self._mechanism, self._charging, self._noise = JointSum.of(mechanism), charging, noise
        self._adaptive = adaptive_clip(job.privacy) if WITHIN_CLIP in self._mechanism.statistics else None
        self._store, self._key, self._observe, self._pace = store, key, observe, pace
        self._bits = bits_for(job.federation, job.privacy)
        self._ledger = ""  # what the ledger is known by
        self.stopped = ""  # why the run ended before its last round
        self.resting = False  # whether it ended only to go on later

    def run(self) -> ServerState:
        """All rounds, or as many as the budget pays for; from the newest checkpoint where there is one.

        A run that found too few devices, or is to rest, leaves its ledger open: it can go on later.
        """
        with self._store.begin() as session:
            self._charging.open(session, self._key.public)
            self._ledger = self._charging.name(session)
            over = self._charging.over(session)
        state = self._resume()
        if over and state.round < self._job.federation.rounds:  # a crash came between that and what a caller says of it
            self.stopped = OVER
            return state.server
        while state.round < self._job.federation.rounds:
            try:
                self._keep_pace()
                state = self._round(state)
            except Resting:
                self.resting = True
                return state.server
            except Stopping:
                self.stopped = STOPPED
                break
            except BudgetExhausted as refused:
                self.stopped = str(refused)
                break
            except FleetExhausted as exhausted:
                if state.round == 0:
                    raise  # nothing was learnt: the settings are wrong, not the run over
                self.stopped, self.resting = str(exhausted), True
                return state.server
        with self._store.begin() as session:
            self._charging.close(session)
        return state.server

    def _round(self, state: State) -> State:
        number = state.round + 1
        record = RoundRecord(number, self._clock.now())
        cohort, asked = self._who(state, number, record)  # 1 who
        with self._store.begin() as session:
            reservation = self._charging.reserve(session, number, asked, self._event())  # 2 pay, or stop here
            head, length = self._charging.head(session)
        terms = self._terms(state, number, head, length)
        outstanding = self._push(asked, terms, state, str(number), record)  # 3 ask
        total = self._empty_sum(state)
        receipts = self._collect(outstanding, terms.deadline, cohort, total, record)  # 4 sum what comes
        return self._release(state, total, reservation, record, receipts)

    def _keep_pace(self, waiting: str = "") -> None:
        """Raises Resting or Stopping where the run is not to go on: between rounds, when nothing is reserved."""
        match self._pace(waiting):
            case "pause":
                raise Resting
            case "stop":
                raise Stopping

    def _release(
        self,
        state: State,
        total: RoundSum,
        reservation: Reservation,
        record: RoundRecord,
        receipts: list[SignedReceipt],
    ) -> State:
        """The second half of a round: what was paid for is noised, learnt from and committed."""
        after, clip, mechanism = state.server, state.clip, total.mechanism
        rows = mechanism.skipped(state.rows)
        record.clip_norm = mechanism.clip_norm
        if record.completed >= self._minimum():
            share = self._denominator(record)
            label = reservation.label
            release = mechanism.release_all(total.total, self._noise, share, label, state.rows)  # 5 noise
            after = optimizers.step(self._job.federation, state.server, release.mean)  # 6 learn
            clip, rows = self._next_clip(clip, release), release.rows
            record.released, record.epsilon = True, _finite(reservation.epsilon)
            record.noise_to_clip = mechanism.noise_to_clip(len(release.mean), share)
            record.tell(release.statistics)
            state.participations[total.devices] += 1
            state.last[total.devices] = record.round
        record.finished, record.accepted = self._clock.now(), tuple(total.devices)
        new = replace(state, round=record.round, server=after, clip=clip, rows=rows)
        self._observe(record, after.adapter)  # before the commit: a round that a crash cuts off is seen again
        self._commit(new, reservation, record, receipts)  # 7 one transaction: the charge's end and the checkpoint
        return new

    def _who(self, state: State, number: int, record: RoundRecord) -> tuple[int, Devices]:
        """How many updates the round waits for, and which devices are asked."""
        federation, privacy = self._job.federation, self._job.privacy
        if privacy.secret:
            population, cap = self._roster.population, privacy.cohort_cap
            tossed = secret_cohort(self._noise, privacy.sampling, population, federation.cohort, cap, number)
            fresh = tossed[self._used(state)[tossed] < privacy.participations]
            free = fresh[rested(state.last, number, privacy.separation)(fresh)]
            asked = free[self._roster.eligible(free, self._clock.now())]
            record.sampled = len(tossed)
            record.drop("exhausted", len(tossed) - len(fresh))
            record.drop("resting", len(fresh) - len(free))
            record.drop("unavailable", len(free) - len(asked))
            return len(asked), asked
        asked = self._fixed(state, number)
        record.sampled = len(asked)
        record.started = self._clock.now()
        return federation.cohort, asked

    def _fixed(self, state: State, number: int) -> Devices:
        until, privacy = self._clock.now() + PATIENCE_S, self._job.privacy
        cap, free, used = privacy.participations, rested(state.last, number, privacy.separation), self._used(state)
        for attempt in count():
            rng, now = self._rng("cohort", number, attempt), self._clock.now()
            found = fixed_cohort(rng, self._roster, used, cap, self._job.federation.asked, now, free)
            if len(found) >= self._minimum():
                return found
            left = np.count_nonzero(used < cap)
            if left < self._minimum() and privacy.period_s is None:
                raise FleetExhausted(
                    f"round {number}: {left} devices may take part once more, and a round needs {self._minimum()}; the "
                    "others have had the participations that they were promised at the most: enlarge the fleet"
                )
            if now >= until:
                break
            self._clock.wait(now + RETRY_S)
            self._keep_pace("waits for devices: fewer than a round needs are there, and may take part in this one")
        raise FleetExhausted(
            f"round {number}: for two days fewer than {self._minimum()} devices that may still take part could be "
            "asked; enlarge the fleet, raise privacy.participations, lower privacy.separation or relax what fleet "
            "requires of a device"
        )

    def _used(self, state: State) -> Counts:
        """Participations by device, of this period where there are any; whom a limit of its own stops has none left."""
        privacy = self._job.privacy
        with self._store.begin() as session:
            stopped = self._charging.beyond_limit(session, self._event())
            if privacy.enabled and privacy.period_s is not None:
                counts = self._charging.participations(session)
                state.participations[:] = 0
                state.participations[list(counts)] = list(counts.values())
        used = state.participations.copy()
        used[stopped] = np.iinfo(used.dtype).max
        return used

    def _terms(self, state: State, number: int, head: str, length: int) -> RoundTerms:
        job = self._job
        return RoundTerms(
            run=job.run,
            round=number,
            version=state.server.steps,
            spec=job.spec,
            rank=job.spec.rank,
            clip_norm=state.clip,
            levels=self._mechanism.levels,
            statistics=self._mechanism.statistics,
            training=job.training,
            noise_multiplier=self._mechanism.noise_multiplier,
            clip_limit=self._adaptive.most if self._adaptive else None,
            participations=job.privacy.participations,
            separation=job.privacy.separation,
            period_s=job.privacy.period_s,
            deadline=self._clock.now() + job.federation.deadline_s,
            ledger=self._ledger,
            ledger_head=head,
            ledger_length=length,
        )

    def _terms_of(self, terms: RoundTerms, rank: int) -> RoundTerms:
        """The terms of the devices of one rank, whose updates are of one length."""
        coding = Coding.of(self._bits, terms.levels, self._job.spec.prefix(rank))
        return terms.model_copy(update={"rank": rank, "bits": coding.bits, "quantum": coding.quantum})

    def _push(
        self, asked: Devices, terms: RoundTerms, state: State, group: str, record: RoundRecord
    ) -> dict[str, Sent]:
        """Send the round to every device asked; what was sent, by message id."""
        adapter = state.server.adapter.astype(np.float32)
        sent: dict[int, tuple[ArrayRecord, ConfigRecord, str]] = {}
        messages: list[Message] = []
        told: list[Sent] = []
        for device in asked.tolist():
            rank = min(self._roster.rank(device), self._job.spec.rank)
            if rank not in sent:  # every message of a tier shares these two records
                own = self._terms_of(terms, rank).to_bytes()
                signed = ConfigRecord({"payload": own, "signature": self._key.sign(own)})
                sent[rank] = (ArrayRecord([adapter[: self._job.spec.prefix(rank)]]), signed, digest(own))
            arrays, signed, name = sent[rank]
            content = RecordDict({RECORD_ADAPTER: arrays, RECORD_TERMS: signed})
            node, ttl = self._roster.node_id(device), self._job.federation.deadline_s
            messages.append(Message(content, node, "train", ttl=ttl, group_id=group))
            shown = terms.ledger_head, terms.ledger_length
            told.append(Sent(device, rank, name, terms.round, terms.version, terms.deadline, *shown))
            record.bytes_down += 4 * self._job.spec.prefix(rank)
        pushed = set(self._grid.push_messages(messages))  # a grid leaves out, or says None for, what it could not send
        pairs = [(message.metadata.message_id, sent) for message, sent in zip(messages, told, strict=True)]
        outstanding = {name: sent for name, sent in pairs if name in pushed}
        record.drop("unreachable", len(told) - len(outstanding))
        state.last[[sent.device for sent in outstanding.values()]] = terms.round
        return outstanding

    def _collect(
        self,
        outstanding: dict[str, Sent],
        deadline: float,
        cohort: int,
        total: RoundSum,
        record: RoundRecord,
    ) -> list[SignedReceipt]:
        """Replies in order of arrival until the cohort is full, all have answered or the deadline has passed.

        A round of a secret cohort lasts until its deadline, whoever is in it: its end would tell who was there. So does
        one that reached nobody: else all rounds of a server without a connection would be over in an instant.
        """
        receipts: list[SignedReceipt] = []
        in_full = not outstanding or self._job.privacy.secret
        while outstanding and record.completed < cohort:
            for reply in self._grid.pull_messages(list(outstanding)):
                sent = outstanding.pop(reply.metadata.reply_to_message_id, None)
                if sent is None:
                    record.drop("duplicate")  # a second answer to one message, or an answer to none
                elif record.completed == cohort:
                    record.drop("displaced")
                else:
                    self._accept(reply, sent, total, record, receipts)
            if not outstanding or record.completed == cohort or self._clock.now() >= deadline:
                break
            self._clock.wait(deadline)
        record.drop("displaced" if record.completed == cohort else "missing", len(outstanding))
        while in_full and self._clock.now() < deadline:
            self._clock.wait(deadline)
        return receipts

    def _accept(
        self,
        reply: Message,
        sent: Sent,
        total: RoundSum,
        record: RoundRecord,
        receipts: list[SignedReceipt],
        weight: float = 1.0,
    ) -> bool:
        """Judge one reply: it joins the sum and leaves its receipt, or costs its sender and nobody else."""
        try:
            vector, receipt = read_update(reply, sent, self._job.run, self._roster.identity(sent.device))
            total.add(sent.device, vector, sent.rank, weight)
        except UpdateRefused as refused:
            record.drop(refused.reason)
            return False
        receipts.append(receipt)
        record.completed += 1
        record.bytes_up += vector.nbytes
        return True

    def _empty_sum(self, state: State) -> RoundSum:
        return RoundSum(self._job.spec, self._mechanism_of(state), self._bits)

    def _mechanism_of(self, state: State) -> JointSum:
        """The mechanism of the next round, which has the clip that the run has come to."""
        return replace(self._mechanism, clip_norm=state.clip)

    def _next_clip(self, clip: float, release: Release) -> float:
        return self._adaptive.after(clip, release.statistics[WITHIN_CLIP.name]) if self._adaptive else clip

    def _in_flight(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint holds of messages that outlive a round: nothing, where rounds close."""
        return {}

    def _commit(
        self, state: State, reservation: Reservation, record: RoundRecord, receipts: list[SignedReceipt]
    ) -> None:
        checkpoint = self._checkpoint(state)
        with self._store.begin() as session:
            if record.released:
                released = digest(state.server.adapter.tobytes())
                self._charging.commit(session, reservation, record.accepted, released, receipts)
            else:
                self._charging.abandon(session, reservation, f"{record.completed} of {self._minimum()} needed")
            self._store.save(session, checkpoint, asdict(record))

    def _resume(self) -> State:
        found = self._store.newest()
        if found is None:
            rows, clip = self._mechanism.start(self._job.spec.dimension), self._mechanism.clip_norm
            return self._counted(State.start(self._job.initial, self._roster.population, clip, rows))
        restore = getattr(self._grid, "restore", None)
        if restore is not None and found.grid:
            restore(found.grid, found.time)
        return self._counted(State.of(found))

    def _counted(self, state: State) -> State:
        """With what is charged beyond the checkpoint: a crash may have cut off a release to these devices.

        That round is over: those who were asked would refuse to be asked for it again. Noise that is correlated begins
        anew, for what that release was noised with is forgotten: rounds after it take back nothing of those before it.
        A device moves less that way, never more.
        """
        with self._store.begin() as session:
            for device, releases in self._charging.participations(session).items():
                state.participations[device] = max(state.participations[device], releases)
            newest = self._charging.last_rounds(session)
            for device, number in newest.items():
                state.last[device] = max(state.last[device], number)
            lost = max(newest.values(), default=0)
            if lost <= state.round:
                return state
            after = replace(state, round=lost, rows=self._mechanism.start(self._job.spec.dimension))
            now, asked = self._clock.now(), sum(number == lost for number in newest.values())
            record = RoundRecord(lost, now, now, sampled=asked, dropped={"lost": asked})
            self._store.save(session, self._checkpoint(after), asdict(record))
        return after

    def _checkpoint(self, state: State) -> Checkpoint:
        snapshot = getattr(self._grid, "snapshot", lambda: b"")
        arrays = {**state.arrays(), **self._in_flight()}
        return Checkpoint(state.round, self._clock.now(), arrays, state.server.steps, snapshot())

    def _rng(self, *path: str | int) -> np.random.Generator:
        return np.random.default_rng() if self._job.seed is None else stream(self._job.seed, *path)

    def _event(self) -> GaussianEvent:
        sampling = sampling_for(self._job.privacy, self._job.federation, self._roster.population)
        return self._mechanism.event(sampling)

    def _minimum(self) -> int:
        if self._job.privacy.secret:
            return 0  # nobody there is a release of noise alone: leaving it out would tell who was not there
        return self._job.federation.minimum

    def _denominator(self, record: RoundRecord) -> float:
        """The planned cohort, a public constant; without privacy, those who came."""
        return float(self._job.federation.cohort if self._job.privacy.enabled else max(1, record.completed))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
