"""`tacit config check`: says what would run, or in one sentence why it cannot."""

import json
from pathlib import Path

import pytest

from tacit_privacy import cli
from tacit_simulations.commands.config import describe, flat
from tacit_simulations.commands.simulate import _next_folder
from tacit_simulations.scenario import Scenario, load_scenario, named_scenarios


@pytest.mark.parametrize("name", named_scenarios())
def test_every_scenario_that_ships_passes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check", name, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert document["digest"] == load_scenario(name).digest
    assert document["scenario"]["name"] == name


def test_a_file_of_ones_own_and_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[federation]\nrounds = 3\n")
    assert cli.main(["config", "check", str(path), "--set", "fleet.devices=1234"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("mine")
    assert "1,234 devices, 3 rounds" in printed
    assert "* federation.rounds = 3" in printed
    assert "privacy.clip_norm" not in printed


@pytest.mark.parametrize("command", [["config", "check", "home"], ["simulate", "home-quick", "--out=run"]])
def test_an_impossible_budget_is_refused_before_anything_is_written(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, "--set=privacy.noise_multiplier=0.1"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "with privacy.noise_multiplier 0.1 the run would end at epsilon 8" in said
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_runs_the_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.toml").touch()
    assert cli.main(["config", "check", str(tmp_path / "empty.toml")]) == 0
    assert "nothing differs from the default" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../../away", "a/../b", "..", "wörld fleet"])
def test_a_folder_of_any_name_lies_in_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _next_folder(name).parent == Path("runs")
    assert _next_folder("wörld fleet").name == "wörld-fleet-1"


def test_without_a_model_nothing_is_said_about_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check", "million"]) == 0
    summary = capsys.readouterr().out.splitlines()[1]
    assert summary.startswith("1,000,000 devices")
    assert "epsilon" not in summary
    assert "tacit-nano" not in summary


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[fleet]\ndevicess = 3\n", "fleet.devicess"),
        ("[federation]\nrounds = -1\n", "-1"),
        ("[federation\n", "not valid TOML"),
        ("[privacy]\nepsilon = 'much'\n", "much"),
        ("[federation]\ncohort = 5000\n[fleet]\ndevices = 10\n", "5000"),
    ],
)
def test_what_cannot_run_is_one_sentence_and_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    for arguments in (["config", "check", str(path)], ["config", "check", str(path), "--json"]):
        assert cli.main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert len(printed.err.splitlines()) == 1
        assert words in printed.err


def test_a_missing_file_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check", "nowhere.toml"]) == 2
    assert "home-quick" in capsys.readouterr().err


def test_all_settings_are_shown_when_asked_for() -> None:
    lines = "\n".join(describe(Scenario(), show_all=True))
    for key in flat(Scenario().model_dump(mode="json", exclude={"name", "description"})):
        assert f"  {key} = " in lines


def test_flat_keeps_every_leaf() -> None:
    assert flat({"a": {"b": 1, "c": {"d": []}}, "e": {}}) == {"a.b": 1, "a.c.d": [], "e": {}}
