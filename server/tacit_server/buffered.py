"""Buffered asynchronous rounds: a server step whenever enough updates are in, however old.

FedBuff (Nguyen et al. 2022, arXiv 2106.06639). Closing by count displaces other devices, so nothing is claimed from
sampling; a device has at most one update in a buffer; weights follow from version numbers alone and are at most 1, so
one device still moves the sum by the clip.
"""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_server.aggregation.sums import CohortSum
from tacit_server.coordinator import RETRIES, RETRY_S, Coordinator, FleetExhausted, State
from tacit_server.rounds import RoundRecord, Sent
from tacit_server.sampling import fixed_cohort


class BufferedCoordinator(Coordinator):
    """Keeps devices at work all the time. Messages outlive the round they were sent in."""

    _outstanding: dict[str, Sent]

    def _round(self, state: State) -> State:
        number = state.round + 1
        record = RoundRecord(number, self._clock.now())
        total = CohortSum(self._job.spec, self._mechanism)
        receipts: list[bytes] = []
        empty = 0
        for wave in range(1_000_000):
            self._refill(state, number, wave, total, record)  # 1 ask whoever is free
            if not self._outstanding:
                empty = self._pause(number, empty)
                continue
            self._clock.wait(min(sent.deadline for sent in self._outstanding.values()))
            self._take(state, total, record, receipts)  # 2 sum what came, however old
            if record.completed >= self._job.federation.cohort:
                break
        record.sampled = record.completed + sum(record.dropped.values())
        with self._store.begin() as session:  # 3 pay before anything is released
            devices = np.array(total.devices, dtype=np.intp)
            reservation = self._charging.reserve(session, number, devices, self._sampling())
        return self._release(state, total, reservation, record, receipts)

    def _refill(self, state: State, number: int, wave: int, total: CohortSum, record: RoundRecord) -> None:
        wanted = self._job.federation.at_work - len(self._outstanding)
        if wanted <= 0:
            return
        used = state.participations.copy()
        away = [sent.device for sent in self._outstanding.values()] + total.devices
        used[away] = np.iinfo(used.dtype).max  # at work, or in the buffer already
        rng, cap = self._rng("cohort", number, wave), self._job.privacy.participations
        asked = fixed_cohort(rng, self._roster, used, cap, wanted, self._clock.now())
        if len(asked):
            with self._store.begin() as session:
                head, length = self._charging.head(session, settled=True)  # a resumed run may hold one open
            terms = self._terms(state, number, head, length)
            self._outstanding |= self._push(asked, terms, state.server, f"{number}.{wave}", record)

    def _take(self, state: State, total: CohortSum, record: RoundRecord, receipts: list[bytes]) -> None:
        for reply in self._grid.pull_messages(list(self._outstanding)):
            sent = self._outstanding.pop(reply.metadata.reply_to_message_id)
            staleness = state.server.steps - sent.version
            weight = (1.0 + staleness) ** -self._job.federation.staleness_exponent
            self._accept(reply, sent, total, record, receipts, weight)
        late = [name for name, sent in self._outstanding.items() if sent.deadline <= self._clock.now()]
        for name in late:
            del self._outstanding[name]
        record.drop("missing", len(late))

    def _pause(self, number: int, empty: int) -> int:
        if empty >= RETRIES:
            raise FleetExhausted(
                f"round {number}: for two days no device that may still take part could be asked; enlarge the fleet, "
                "raise privacy.participations or relax what fleet requires of a device"
            )
        self._clock.wait(self._clock.now() + RETRY_S)
        return empty + 1

    def _in_flight(self) -> dict[str, NDArray[Any]]:
        rows = {name: asdict(sent) for name, sent in self._outstanding.items()}
        return {"outstanding": np.frombuffer(json.dumps(rows).encode(), dtype=np.uint8)}

    def _resume(self) -> State:
        found = self._store.newest()
        rows = json.loads(found.arrays["outstanding"].tobytes()) if found else {}
        self._outstanding = {name: Sent(**row) for name, row in rows.items()}
        return super()._resume()
