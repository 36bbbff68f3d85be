"""Scenarios extend one another: what is changed is changed alone, paths belong to their file, circles are refused."""

from pathlib import Path

import pytest

from tacit_privacy import cli, wording
from tacit_privacy.errors import BadInput
from tacit_simulations import scenario
from tacit_simulations.scenario import load_scenario, named_scenarios


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_extends_changes_only_what_it_writes(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.toml", 'extends = "home"\n[federation]\nrounds = 4\n[training]\nepochs = 2\n')
    base, found = load_scenario("home"), load_scenario(str(mine))
    assert (found.name, found.federation.rounds, found.training.epochs) == ("mine", 4, 2)
    assert found.description == ""  # a description is about the scenario that says it
    assert found.federation == base.federation.model_copy(update={"rounds": 4})
    assert found.training == base.training.model_copy(update={"epochs": 2})
    assert (found.privacy, found.fleet, found.data) == (base.privacy, base.fleet, base.data)


def test_a_path_is_taken_from_the_file_that_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From wherever the command is typed, and down a chain of folders."""
    write(tmp_path / "common" / "base.toml", 'extends = "home-quick"\nseed = 42\n[federation]\nrounds = 2\n')
    write(tmp_path / "common" / "middle.toml", 'extends = "base.toml"\n[federation]\ncohort = 33\n')
    mine = write(tmp_path / "own" / "mine.toml", 'extends = "../common/middle.toml"\nname = "last"\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere / "base.toml", "seed = 1\n")  # of the same name, in the way, and none of anybody's business
    for folder, word in ((elsewhere, str(mine)), (tmp_path, "own/mine.toml"), (tmp_path / "own", "mine.toml")):
        monkeypatch.chdir(folder)
        found = load_scenario(word)
        assert (found.name, found.seed, found.federation.rounds, found.federation.cohort) == ("last", 42, 2, 33)
        assert found.fleet == load_scenario("home-quick").fleet


def test_an_absolute_path_stays_what_it_is(tmp_path: Path) -> None:
    base = write(tmp_path / "a" / "base.toml", "seed = 9\n")
    mine = write(tmp_path / "b" / "mine.toml", f'extends = "{base}"\n')
    assert load_scenario(str(mine)).seed == 9


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], length: int
) -> None:
    for number in range(length):
        write(tmp_path / f"s{number}.toml", f'extends = "./s{(number + 1) % length}.toml"\n')
    monkeypatch.chdir(tmp_path)
    for word in ("s0.toml", "./s0.toml", str(tmp_path / "s0.toml")):
        with pytest.raises(BadInput, match=r"extends itself: .*s0\.toml extends .*break the circle"):
            load_scenario(word)
        assert cli.main(["config", "check", word]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and len(printed.err.splitlines()) == 1


def test_a_circle_over_two_names_of_one_file_is_found(tmp_path: Path) -> None:
    mine = write(tmp_path / "real.toml", 'extends = "link.toml"\n')
    (tmp_path / "link.toml").symlink_to(mine)
    with pytest.raises(BadInput, match="break the circle"):
        load_scenario(str(mine))


def test_two_that_extend_the_same_one_are_no_circle(tmp_path: Path) -> None:
    write(tmp_path / "base.toml", "seed = 3\n")
    for name in ("one", "two"):
        write(tmp_path / f"{name}.toml", 'extends = "base.toml"\n')
        assert load_scenario(str(tmp_path / f"{name}.toml")).seed == 3


def test_a_file_named_like_a_shipped_one_may_extend_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "home.toml", 'extends = "home"\nseed = 5\n')
    monkeypatch.chdir(tmp_path)
    assert load_scenario("home.toml").seed == 5
    assert load_scenario("home").seed == 1


@pytest.mark.parametrize("base", ["nowhere.toml", "homer", "3"])
def test_what_is_extended_must_exist(tmp_path: Path, base: str) -> None:
    mine = write(tmp_path / "mine.toml", f'extends = "{base}"\n')
    with pytest.raises(BadInput, match=f"no scenario .*{base}: name a TOML file or one of banking77"):
        load_scenario(str(mine))


def test_a_file_that_is_no_text_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_bytes(b"name = 'caf\xe9'\n")
    assert cli.main(["config", "check", str(tmp_path / "mine.toml")]) == 2
    printed = capsys.readouterr().err
    assert "not UTF-8 text" in printed and len(printed.splitlines()) == 1


def test_an_error_is_worded_in_one_place() -> None:
    """Scenarios, data settings and Flower's configuration say the same thing in the same words."""
    assert vars(scenario)["sentence"] is wording.sentence


@pytest.mark.parametrize("name", named_scenarios())
def test_runtime_alone_leaves_the_digest(name: str) -> None:
    base = load_scenario(name)
    assert load_scenario(name, ["runtime.engine=inline", "runtime.workers=3"]).digest == base.digest
    for override in ("seed=77", "federation.deadline_s=77", "privacy.clip_norm=0.77", "evaluation.every=7"):
        assert load_scenario(name, [override]).digest != base.digest
