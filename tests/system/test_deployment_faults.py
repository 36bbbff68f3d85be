"""Processes of a deployment are killed at random moments: what was charged stays charged, and nothing counts twice."""

import os
from pathlib import Path

import pytest
from schedules import live_through

SCHEDULES = int(os.environ.get("TACIT_SCHEDULES", "2"))  # make soak: 20


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_a_run_lives_through_kills(tmp_path: Path, seed: int) -> None:
    print(live_through(tmp_path, seed))
