"""Lets the gateway of a device have its personal adapter, where it makes answers no worse over the shared one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flwr.app import RecordDict

from tacit_clients.app import STATE_PERSONAL
from tacit_clients.device.folders import AdapterFolders, Vector
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.journal import Journal
from tacit_clients.device.personal import judge
from tacit_clients.slm.places import HeldAdapter
from tacit_clients.training.personal import personal_spec
from tacit_privacy.contract import AdapterSpec


@dataclass(frozen=True)
class PersonalJudge:
    """``rank`` 0: the owner wants none. ``loss`` scores the shared adapter with a personal one, or alone."""

    home: DeviceHome
    journal: Journal
    spec: AdapterSpec  # of the shared adapter
    rank: int
    worse_by: float
    loss: Callable[[Vector, HeldAdapter | None], float | None]

    def consider(self, state: RecordDict) -> bool | None:
        """Whether a personal adapter is used from now on; None where nothing has changed. ``state``: the device's.

        Raises BadInput where it cannot be judged: the one in use stays, over the shared adapter that it belongs to.
        """
        known = self.journal.personal()
        if not self.rank:
            if known is None:
                return None
            self.journal.forget_personal()
            return False
        trained = self._trained(state)
        if trained is None:
            return None
        in_use = self.journal.adapter().in_use.vector
        found = judge(known, trained, in_use, lambda personal: self.loss(self._shared(in_use), personal), self.worse_by)
        if found is known:
            return None
        self.journal.keep_personal(found)
        return found.adapter is not None

    def _trained(self, state: RecordDict) -> HeldAdapter | None:
        """What the newest round left; None before the first, and where the owner has changed the rank since."""
        if STATE_PERSONAL not in state:
            return None
        (vector,) = state.array_records[STATE_PERSONAL].to_numpy_ndarrays()
        spec = personal_spec(self.spec, self.rank)
        return HeldAdapter(spec, vector) if vector.shape == (spec.dimension,) else None

    def _shared(self, vector: str) -> Vector:
        """The shared adapter in use; zeros, which change nothing, where there is none."""
        if not vector:
            return np.zeros(self.spec.dimension, dtype=np.float32)
        return AdapterFolders(self.home).read(vector).vector
