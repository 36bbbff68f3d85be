"""Buffered rounds through the code of ``tacit simulate``: how old updates were is in the result, and drawn."""

from pathlib import Path

from tacit_simulations.progress import Silent
from tacit_simulations.run import simulate
from tacit_simulations.scenario import load_scenario

TINY = [
    "fleet.devices=60",
    "federation.cohort=6",
    "federation.rounds=4",
    "federation.policy=buffered",
    "federation.concurrency=20",
    "privacy.participations=2",
    "data.train_per_device=6",
    "data.test_per_device=2",
    "training.max_steps=1",
    "adapter.rank=1",
    "evaluation.devices=0",
    "evaluation.compare=[]",
    "runtime.engine=inline",
]


def test_a_training_run_says_how_old_its_updates_were(tmp_path: Path) -> None:
    result = simulate(load_scenario("home-quick", TINY), tmp_path / "run", resume=False, watch=Silent())
    means = [row["staleness"] for row in result["rounds"]]
    assert means[0] == 0 and means[-1] > 0
    assert all(row["staleness"] <= row["staleness_max"] < row["round"] for row in result["rounds"])
    assert "How old the updates were" in (tmp_path / "run" / "report.html").read_text()
