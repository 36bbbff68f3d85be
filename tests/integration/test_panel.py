"""A panel device that cannot be scored costs its own figures, in every arm alike, and never the run."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY

from tacit_privacy import cli
from tacit_privacy.errors import EngineFailed
from tacit_server.store import Store
from tacit_simulations.evaluation import study
from tacit_simulations.progress import Silent
from tacit_simulations.run import simulate
from tacit_simulations.scenario import load_scenario

SCORED = [
    *TINY,
    "federation.rounds=1",
    "evaluation.devices=4",
    "evaluation.personal.epochs=1",
    "evaluation.curve_examples=4",
    "evaluation.compare=['untrained', 'local_only', 'personalised']",
]
PANEL = (0, 9, 19, 29)


def run(folder: Path) -> dict[str, Any]:
    return simulate(load_scenario("home-quick", SCORED), folder, resume=False, watch=Silent())


class Faulty:
    """Scoring that fails for some devices, ``times`` times each or always."""

    def __init__(self, inner: Any, devices: tuple[int, ...], times: int = 10**9) -> None:
        self.inner, self.devices, self.times, self.calls = inner, devices, times, Counter[int]()

    def __call__(self, *arguments: Any) -> Any:
        device = arguments[-1]
        self.calls[device] += 1
        if device in self.devices and self.calls[device] <= self.times:
            raise RuntimeError("a device's own trouble")
        return self.inner(*arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("whole") / "run")


def test_a_panel_without_trouble_is_scored_whole(whole: dict[str, Any]) -> None:
    assert whole["evaluation"]["panel"] == {"devices": 4, "scored": 4, "left_out": []}


@pytest.mark.parametrize("arm", ["score_alone", "score_personal", "score_shared"])
def test_a_device_that_fails_in_one_arm_is_left_out_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Any], arm: str
) -> None:
    faulty = Faulty(getattr(study, arm), (9,))
    monkeypatch.setattr(study, arm, faulty)
    evaluation = run(tmp_path / "run")["evaluation"]
    assert evaluation["panel"] == {"devices": 4, "scored": 3, "left_out": [9]}
    examples = {name: evaluation[name]["examples"] for name in ("untrained", "local_only", "personalised")}
    assert set(examples.values()) == {whole["evaluation"]["untrained"]["examples"] - 2}
    assert sum(tier["devices"] for tier in evaluation["per_tier"].values()) == 3
    assert faulty.calls[9] == 2  # twice, and never again
    assert "3 of the 4 panel devices were scored" in (tmp_path / "run" / "report.html").read_text()


def test_a_device_that_fails_once_is_scored_on_the_second_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Any]
) -> None:
    monkeypatch.setattr(study, "score_personal", Faulty(study.score_personal, PANEL, times=1))
    assert run(tmp_path / "run")["evaluation"] == whole["evaluation"]


def test_only_a_panel_of_which_nobody_is_left_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "score_alone", Faulty(study.score_alone, PANEL))
    with pytest.raises(EngineFailed, match="none of the 4 panel devices could be scored"):
        run(tmp_path / "run")


def test_arms_that_share_no_device_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "score_alone", Faulty(study.score_alone, PANEL[:2]))
    monkeypatch.setattr(study, "score_personal", Faulty(study.score_personal, PANEL[2:]))
    with pytest.raises(EngineFailed, match="none of the 4 panel devices"):
        run(tmp_path / "run")


def test_a_curve_goes_on_with_who_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point needs two devices here; where both fail, the next ones are asked."""
    monkeypatch.setattr(study, "score_shared", Faulty(study.score_shared, PANEL[:2]))
    evaluation = run(tmp_path / "run")["evaluation"]
    assert evaluation["panel"]["left_out"] == list(PANEL[:2])
    assert [point["round"] for point in evaluation["federated_private"]["curve"]] == [0, 1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, EngineFailed("no more workers")])
def test_a_store_is_closed_whatever_ends_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | type[BaseException]
) -> None:
    opened: list[Store] = []
    closed: list[Store] = []
    start, close = Store.__init__, Store.close

    def noted(self: Store, url: str) -> None:
        opened.append(self)
        start(self, url)

    def ended(self: Store) -> None:
        closed.append(self)
        close(self)

    def broken(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(Store, "__init__", noted)
    monkeypatch.setattr(Store, "close", ended)
    monkeypatch.setattr("tacit_server.coordinator.Coordinator._round", broken)
    words = [f"--set={setting}" for setting in SCORED]
    assert cli.main(["simulate", "home-quick", *words, f"--out={tmp_path / 'run'}"]) in (1, 130)
    assert opened and closed == opened


def test_a_timing_run_that_runs_out_of_devices_keeps_what_it_has(tmp_path: Path) -> None:
    settings = ["mode=timing", "fleet.devices=120", "federation.cohort=40", "federation.rounds=30"]
    result = simulate(load_scenario("home-quick", settings), tmp_path / "run", resume=False, watch=Silent())
    assert 0 < len(result["rounds"]) < 30
    assert "devices could be asked" in result["stopped"]
    assert "The run ended early." in (tmp_path / "run" / "report.html").read_text()


def test_a_timing_run_goes_on_where_it_is_told_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It keeps nothing and takes seconds: going on is doing it again, and the advice to do so is right."""
    words = ["simulate", "million", "--devices=200", "--set=federation.cohort=10", f"--out={tmp_path / 'run'}"]
    assert cli.main([*words, "--rounds=2"]) == 0
    whole = json.loads((tmp_path / "run" / "result.json").read_text())
    (tmp_path / "run" / "result.json").unlink()
    assert cli.main([*words, "--rounds=2"]) == 2
    assert "or --resume to go on there" in capsys.readouterr().err
    assert cli.main([*words, "--rounds=2", "--resume"]) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["rounds"] == whole["rounds"]
    assert cli.main([*words, "--rounds=3", "--resume"]) == 2
    assert "holds a run of other settings" in capsys.readouterr().err
    assert cli.main([*words[:-1], f"--out={tmp_path / 'none'}", "--resume"]) == 2
    assert "nothing to resume" in capsys.readouterr().err
