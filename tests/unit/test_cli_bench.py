"""`tacit bench simulation`: figures that hang together, for people and for programs."""

import json
from dataclasses import asdict

import pytest

from tacit_privacy import cli
from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation import speed

SMALL = ["bench", "simulation", "--devices=400", "--cohort=30", "--rounds=3"]
TRAINED = speed.TrainingSpeed("pool", 2, "made-up work", 32, 3, 12.5)


def test_json_holds_the_machine_and_the_fleet(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"machine", "fleet", "training"}
    assert found["training"] is None
    assert found["machine"]["cores"] >= 1
    fleet = found["fleet"]
    assert (fleet["devices"], fleet["cohort"], fleet["rounds"]) == (400, 30, 3)
    assert (fleet.pop("mix"), fleet.pop("policy")) == ("household", "sync")
    assert all(value >= 0 for value in fleet.values())


def test_figures_hang_together() -> None:
    found = speed.measure_fleet(400, 30, 3)
    assert 0 < found.completions_per_second <= found.tasks_per_second
    assert found.seconds_per_round > 0
    assert 0 <= found.lost_share < 1
    assert found.peak_rss_bytes > 10_000_000  # an interpreter with NumPy
    again = speed.measure_fleet(400, 30, 3)  # the fleet is seeded: only times differ
    for name in ("lost_share", "virtual_seconds_per_round"):
        assert getattr(found, name) == getattr(again, name)


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(SMALL) == 0
    printed = capsys.readouterr().out
    assert "400 devices, 3 rounds of 30" in printed
    for row in ("device completions", "a dispatch to 30", "peak memory"):
        assert row in printed
    assert "client trainings" not in printed


def test_training_is_measured_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int]] = []

    def measure(engine: str, workers: int) -> speed.TrainingSpeed:
        asked.append((engine, workers))
        return TRAINED

    monkeypatch.setattr(speed, "measure_training", measure)
    assert cli.main([*SMALL, "--json"]) == 0
    assert asked == []
    capsys.readouterr()
    assert cli.main([*SMALL, "--training", "--workers=2", "--json"]) == 0
    assert asked == [("pool", 2)]
    assert json.loads(capsys.readouterr().out)["training"] == asdict(TRAINED)
    assert cli.main([*SMALL, "--training"]) == 0
    printed = capsys.readouterr().out
    assert "12.5 /s" in printed
    assert "made-up work" in printed


def test_one_real_engine_trains_at_some_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "TRAINING_COHORT", 3)
    monkeypatch.setattr(speed, "TRAINING_ROUNDS", 1)
    found = speed.measure_training("inline", 0)
    assert (found.engine, found.workers, found.cohort) == ("inline", 1, 3)
    assert found.trainings_per_second > 0


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(BadInput, match=r"runtime\.engine"):
        speed.measure_training("abacus", 1)


@pytest.mark.parametrize(
    "words", [["--cohort=500"], ["--devices=0"], ["--rounds=-1"], ["--training", "--engine=abacus"]]
)
def test_what_cannot_be_measured_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SMALL, *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


def test_the_fixed_run_is_small_and_promises_nothing_it_cannot_keep() -> None:
    from tacit_simulations.scenario import Scenario

    scenario = Scenario.model_validate(speed._training_job())
    assert scenario.federation.rounds == speed.TRAINING_ROUNDS + 1
    assert scenario.privacy.participations >= scenario.federation.rounds
    assert scenario.evaluation.devices == 0
