"""The fleet of a run of a deployment: devices that were enrolled when it began."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from flwr.serverapp import Grid
from sqlalchemy import select
from sqlalchemy.orm import Session

from tacit_privacy.contract import AdapterSpec
from tacit_privacy.errors import FleetExhausted
from tacit_server.clock import Clock
from tacit_server.coordinator import Pace
from tacit_server.grid_roster import GridRoster, JoiningConfig
from tacit_server.roster import Identity
from tacit_server.store import Store
from tacit_server.store.tables import DeviceRow

_SETTLE_S = 1.0
_log = logging.getLogger("flwr")


class EnrolledRoster(GridRoster):
    """Nobody joins by being there. Who was enrolled later waits for the next run: the population is promised.

    ``agreed``: the adapter that the run learns already; None: it has not begun, and learns what most devices are ready
    for, so that no single device can keep a run from beginning.
    """

    def __init__(
        self,
        grid: Grid,
        clock: Clock,
        store: Store,
        joining: JoiningConfig,
        cohort: int,
        population: int,
        agreed: AdapterSpec | None,
        pace: Callable[[str], Pace],
    ) -> None:
        super().__init__(grid, clock, store, joining, cohort)
        self._enrolled, self._agreed, self._pace = population, agreed, pace
        self._places: dict[int, str] = {}  # by number: the node that the device was admitted as

    def _complete(self, quiet_s: float) -> bool:
        """Enough to begin: who is enrolled is known, and who is late is asked in a later round.

        Raises FleetExhausted where the run is not to go on.
        """
        wanted = min(max(self._joining.nodes, self._cohort), self.population)
        complete = len(self._identities()) >= wanted and quiet_s >= _SETTLE_S
        if not complete and self._pace("waits for devices: fewer than a cohort are there so far") != "run":
            raise FleetExhausted("as asked")
        return complete

    def _rows(self, session: Session) -> Sequence[DeviceRow]:
        return session.scalars(select(DeviceRow).where(DeviceRow.number < self._enrolled)).all()

    def _seat(self) -> None:
        """As devices are enrolled by now: what a node says of itself is no proof, since an open roster shows
        everybody's key. A device that came back under new keys is asked under those alone.
        """
        with self._store.begin() as session:
            rows = sorted(self._rows(session), key=lambda row: row.number)
            self._known = [Identity(row.identity, row.public_key) for row in rows]
            self._places = {row.number: row.node_id for row in rows}
        self._nodes = {number: node for number, node in self._nodes.items() if self._places[number] == str(node)}
        super()._seat()

    def _unfit(self, node: int, number: int) -> str:
        if self._places[number] != str(node):
            return "it was not admitted as the device it claims to be"
        return super()._unfit(node, number)

    def _number(self) -> None:
        raise FleetExhausted("no device is enrolled; tacit server token makes a token that one enrols with")

    def _one_spec(self) -> AdapterSpec:
        if self._agreed is not None:
            return self._agreed
        known = self._identities()
        told = [said.spec for said in self._said.values() if said.identity in known]
        votes = Counter(spec.digest for spec in told)
        (chosen, most), *others = votes.most_common()
        if others:
            _log.warning("Tacit: %s devices are ready for another adapter and are not asked", len(told) - most)
        return next(spec for spec in told if spec.digest == chosen)
