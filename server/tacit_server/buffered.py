"""Buffered asynchronous rounds: a server step whenever enough updates are in, however old.

FedBuff (Nguyen et al. 2022, arXiv 2106.06639). Closing by count displaces other devices, so nothing is claimed from
sampling; a device has at most one update in a buffer; weights follow from version numbers alone and are at most 1, so
one device still moves the sum by the clip.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import FleetExhausted
from tacit_privacy.ledger.receipts import SignedReceipt
from tacit_server.aggregation.joint import RoundSum
from tacit_server.clock import PATIENCE_S, RETRY_S
from tacit_server.coordinator import Coordinator
from tacit_server.rounds import RoundRecord, Sent
from tacit_server.sampling import fixed_cohort, rested
from tacit_server.state import State


@dataclass
class _Buffer:
    """What a step waits for."""

    record: RoundRecord
    total: RoundSum
    receipts: list[SignedReceipt] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)  # devices that ran out of time
    ages: list[int] = field(default_factory=list)  # of the updates in the sum, in server steps

    def away(self, outstanding: Iterable[Sent]) -> list[int]:
        """Devices that are not asked before the next step."""
        return [*self.total.devices, *self.silent, *(sent.device for sent in outstanding)]


class BufferedCoordinator(Coordinator):
    """Keeps devices at work all the time. Messages outlive the round they were sent in."""

    _outstanding: dict[str, Sent]

    def _round(self, state: State) -> State:
        number = state.round + 1
        buffer = _Buffer(RoundRecord(number, self._clock.now()), self._empty_sum(state))
        record, total = buffer.record, buffer.total
        until = self._clock.now() + PATIENCE_S
        for wave in count():
            self._refill(state, wave, buffer)  # 1 ask whoever is free
            if self._fill(state, buffer):  # 2 sum what comes, however old
                break
            if self._clock.now() >= until:
                raise FleetExhausted(
                    f"round {number}: a buffer of {self._job.federation.cohort} replies did not fill within two days; "
                    "enlarge the fleet, raise privacy.participations, lower privacy.separation or relax what fleet "
                    "requires of a device"
                )
        record.sampled = record.completed + sum(record.dropped.values())
        record.staleness, record.staleness_max = sum(buffer.ages) / len(buffer.ages), max(buffer.ages)
        with self._store.begin() as session:  # 3 pay before anything is released
            devices = np.array(total.devices, dtype=np.intp)
            reservation = self._charging.reserve(session, number, devices, self._event())
        return self._release(state, total, reservation, record, buffer.receipts)

    def _refill(self, state: State, wave: int, buffer: _Buffer) -> None:
        wanted = self._job.federation.at_work - len(self._outstanding)
        if wanted <= 0:
            return
        number, used = buffer.record.round, self._used(state)
        used[buffer.away(self._outstanding.values())] = np.iinfo(used.dtype).max
        rng, privacy = self._rng("cohort", number, wave), self._job.privacy
        free = rested(state.last, number, privacy.separation)
        asked = fixed_cohort(rng, self._roster, used, privacy.participations, wanted, self._clock.now(), free)
        if len(asked):
            with self._store.begin() as session:
                head, length = self._charging.head(session, settled=True)  # a resumed run may hold one open
            terms = self._terms(state, number, head, length)
            self._outstanding |= self._push(asked, terms, state, f"{number}.{wave}", buffer.record)

    def _fill(self, state: State, buffer: _Buffer) -> bool:
        """Take replies until the buffer is full (True), or there is reason to ask more devices (False).

        A slot that a reply gives back is filled after the next step: a device that started earlier would only train on
        an older adapter. A slot that a silent device held is filled at once.
        """
        until, silent = self._clock.now() + RETRY_S, len(buffer.silent)
        while len(buffer.silent) == silent and self._clock.now() < until:
            self._clock.wait(min([until, *(sent.deadline for sent in self._outstanding.values())]))
            self._take(state, buffer)
            if buffer.record.completed >= self._job.federation.cohort:
                return True
        return False

    def _take(self, state: State, buffer: _Buffer) -> None:
        for reply in self._grid.pull_messages(list(self._outstanding)):
            sent = self._outstanding.pop(reply.metadata.reply_to_message_id, None)
            if sent is None:
                buffer.record.drop("duplicate")
                continue
            staleness = state.server.steps - sent.version
            weight = (1.0 + staleness) ** -self._job.federation.staleness_exponent
            if self._accept(reply, sent, buffer.total, buffer.record, buffer.receipts, weight):
                buffer.ages.append(staleness)
        late = [name for name, sent in self._outstanding.items() if sent.deadline <= self._clock.now()]
        buffer.silent += [self._outstanding.pop(name).device for name in late]
        buffer.record.drop("missing", len(late))

    def _in_flight(self) -> dict[str, NDArray[Any]]:
        rows = {name: asdict(sent) for name, sent in self._outstanding.items()}
        return {"outstanding": np.frombuffer(json.dumps(rows).encode(), dtype=np.uint8)}

    def _resume(self) -> State:
        found = self._store.newest()
        rows = json.loads(found.arrays["outstanding"].tobytes()) if found else {}
        self._outstanding = {name: Sent(**row) for name, row in rows.items()}
        return super()._resume()
