"""What a run carries from round to round comes back from a checkpoint, which takes no more room than it needs."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from tacit_server.config import FederationConfig
from tacit_server.optimizers import step
from tacit_server.state import State
from tacit_server.store import Checkpoint

DIMENSION = 5_000


@pytest.mark.parametrize(("optimizer", "vectors"), [("fedavg", 1), ("fedavgm", 2), ("fedadam", 3)])
def test_a_state_comes_back_whole(optimizer: Literal["fedavg", "fedavgm", "fedadam"], vectors: int) -> None:
    rng = np.random.default_rng(0)
    state = State.start(rng.normal(size=DIMENSION).astype(np.float32), 7, 0.5, np.zeros((0, DIMENSION), dtype=np.int64))
    config = FederationConfig(optimizer=optimizer)
    for number in (0, 1):  # before the first step, too
        packed = Checkpoint(state.round, 1.0, state.arrays(), state.server.steps).pack()
        found = State.of(Checkpoint.unpack(packed))
        for name in ("adapter", "first", "second"):
            np.testing.assert_array_equal(getattr(found.server, name), getattr(state.server, name))
            assert getattr(found.server, name).dtype == np.float64
        assert (found.round, found.server.steps, found.clip) == (number, number, 0.5)
        state = replace(state, round=1, server=step(config, state.server, rng.normal(size=DIMENSION)))
    assert 8 * DIMENSION * vectors < len(packed) < 8 * DIMENSION * vectors + 4_000
