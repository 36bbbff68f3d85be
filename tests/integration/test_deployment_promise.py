"""What the ledger promised stands for good, whatever ``server.toml`` says later: nothing begins that would break it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import servers

from tacit_privacy import cli
from tacit_server.deployment import promise
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.deployment.supervisor import Supervisor

CHANGES = {
    "fleet.devices": ("devices = 10", "devices = 11"),
    "privacy.epsilon": ("epsilon = 100000.0", "epsilon = 8.0"),
    "privacy.participations": ("participations = 10000", "participations = 10"),
    "privacy.delta": ("[privacy]", "[privacy]\ndelta = 1e-9"),
    "privacy.separation": ("[privacy]", "[privacy]\nseparation = 2"),
    "privacy.period_s": ("[privacy]", "[privacy]\nperiod_s = 3600.0"),
    "privacy.adjacency": ("[privacy]", '[privacy]\nadjacency = "replace-one"'),
    "privacy.roster": ("[privacy]", '[privacy]\nroster = "sealed"'),
}
Said = Callable[..., tuple[int, str]]


@pytest.fixture
def made(tmp_path: Path) -> ServerDirectory:
    found = servers.directory(tmp_path / "server")
    servers.lived(found)
    return found


@pytest.fixture
def said(made: ServerDirectory, capsys: pytest.CaptureFixture[str]) -> Said:
    def command(*words: str) -> tuple[int, str]:
        code = cli.main(["server", *words, "--dir", str(made.path)])
        return code, capsys.readouterr().err

    return command


@pytest.mark.parametrize("name", CHANGES)
def test_other_settings_than_the_ledger_promised_begin_nothing(
    made: ServerDirectory, said: Said, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Supervisor, "run", lambda self: pytest.fail("the server was put up"))
    before = made.config.read_text()
    made.config.write_text(before.replace(*CHANGES[name]))
    assert made.config.read_text() != before
    for words in (("up",), ("run", "schedule", "second", "--rounds", "1", "--cohort", "2")):
        code, told = said(*words)
        assert (code, told.count("\n")) == (2, 1) and told.startswith(f"tacit: server.toml says {name} "), told
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        assert promise.broken_by(session, ServerDirectory.open(made.path).settings)
    made.config.write_text(before)
    assert said("run", "schedule", "second", "--rounds", "1", "--cohort", "2")[0] == 0


def test_status_tells_the_promise_and_not_the_settings(
    made: ServerDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    made.config.write_text(made.config.read_text().replace(*CHANGES["privacy.epsilon"]))
    assert cli.main(["server", "status", "--dir", str(made.path)]) == 0
    said = capsys.readouterr().out
    assert "of 100000 spent" in said and f"fingerprint of its authority: {made.fingerprint}\n" in said


def test_before_a_first_run_nothing_is_promised(tmp_path: Path) -> None:
    made = servers.directory(tmp_path / "server")
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        assert promise.promised(session) is None
        promise.check(session, made.settings)
