"""What a run carries from one round to the next, and how it lies in a checkpoint."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.mechanisms.correlated import Rows
from tacit_server.optimizers import ServerState
from tacit_server.store import Checkpoint

Rounds = NDArray[np.int32]


@dataclass
class State:
    """After ``round`` rounds. By device, (population,): releases it contributed to, and the newest round it was in.

    ``last`` 0 is never. A device that was asked counts as in a round, answered or not: by its own count it may have
    taken part, and it would refuse to come back too soon.
    """

    round: int
    server: ServerState
    participations: NDArray[np.uint16]
    last: Rounds
    clip: float  # the clip norm of the next round
    # What the noise of earlier rounds was, (bands - 1, dimension) int64; no rows where noise is independent. It is kept
    # in the checkpoint and nowhere else: with it, noise can be taken off a release.
    rows: Rows

    @classmethod
    def start(cls, adapter: NDArray[np.float32], population: int, clip: float, rows: Rows) -> Self:
        """Before the first round."""
        counts, last = np.zeros(population, dtype=np.uint16), np.zeros(population, dtype=np.int32)
        return cls(0, ServerState.start(adapter.astype(np.float64)), counts, last, clip, rows)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """As ``arrays`` left it."""
        arrays = checkpoint.arrays
        adapter = arrays["adapter"]
        first, second = (arrays.get(name, np.zeros_like(adapter)) for name in ("first", "second"))
        server = ServerState(adapter, first, second, checkpoint.steps)
        counts, last = arrays["participations"], arrays["last"]
        return cls(checkpoint.round, server, counts, last, float(arrays["clip"]), arrays["rows"])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint holds of it, beside round and steps, but for moments that the optimizer does not use."""
        moments = {"first": self.server.first, "second": self.server.second}
        return {
            "adapter": self.server.adapter,
            **{name: moment for name, moment in moments.items() if moment.any()},
            "participations": self.participations,
            "last": self.last,
            "clip": np.array(self.clip),
            "rows": self.rows,
        }
