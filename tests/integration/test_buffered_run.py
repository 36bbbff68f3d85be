"""Buffered rounds through the code of ``tacit simulate``: how old updates were is in the result, and drawn."""

from pathlib import Path

from tiny import TINY

from tacit_privacy.ledger.verify import verify
from tacit_simulations.progress import Silent
from tacit_simulations.run import simulate
from tacit_simulations.scenario import load_scenario

BUFFERED = [
    *TINY,
    "fleet.devices=60",
    "federation.rounds=4",
    "federation.policy=buffered",
    "federation.concurrency=20",
    "privacy.participations=2",
]


def test_a_training_run_says_how_old_its_updates_were(tmp_path: Path) -> None:
    result = simulate(load_scenario("home-quick", BUFFERED), tmp_path / "run", resume=False, watch=Silent())
    means = [row["staleness"] for row in result["rounds"]]
    assert means[0] == 0 and means[-1] > 0
    assert all(row["staleness"] <= row["staleness_max"] < row["round"] for row in result["rounds"])
    ledger, receipts = (
        (tmp_path / "run" / f"{name}.jsonl").read_text().splitlines() for name in ("ledger", "receipts")
    )
    found = verify(ledger, (tmp_path / "run" / "ledger.pub").read_text().strip(), None, receipts)
    assert found.problems == [] and found.receipts == sum(row["completed"] for row in result["rounds"])
    assert "How old the updates were" in (tmp_path / "run" / "report.html").read_text()
