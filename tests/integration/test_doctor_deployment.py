"""``tacit doctor --server`` and ``--device``: whatever is wrong is found, with what to type, and nothing is changed."""

import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import servers

from tacit_clients.device import trusting
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.settings import DeviceSettings
from tacit_clients.device.trusting import installed_code
from tacit_privacy import cli
from tacit_privacy.enrolment import DeviceReport, Placement
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.settings_files import toml_text
from tacit_server.deployment import backup, certificates
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.store.tables import DeviceRow
from tacit_simulations.commands import _device_checkup, _server_checkup
from tacit_simulations.commands._findings import Finding


@pytest.fixture
def made(tmp_path: Path) -> ServerDirectory:
    found = servers.directory(tmp_path / "server")
    servers.lived(found)
    with ServerDatabase(found.database_url) as database:
        backup.back_up(found, database, io.BytesIO())
    return found


def of_server(made: ServerDirectory) -> dict[str, Finding]:
    return {finding.name: finding for finding in _server_checkup.examine(made.path)}


def test_a_server_that_is_down_and_well(made: ServerDirectory) -> None:
    found = of_server(made)
    assert {finding.name for finding in found.values() if finding.state != "ok"} == {"up"}
    assert found["up"].remedy == f"tacit server up --dir {made.path}"
    assert found["ledger"].detail.startswith("6 entries verify")


def readable(made: ServerDirectory) -> None:
    made.signing_key.chmod(0o644)


def other_settings(made: ServerDirectory) -> None:
    made.config.write_text("speed = 9\n")


def no_server(made: ServerDirectory) -> None:
    shutil.rmtree(made.path)


def cut_off(made: ServerDirectory) -> None:
    shutil.copy(made.signing_key, made.next_signing_key)


def said_otherwise(made: ServerDirectory) -> None:
    made.config.write_text(made.config.read_text().replace("epsilon = 100000.0", "epsilon = 80.0"))


def another_name(made: ServerDirectory) -> None:
    made.config.write_text(made.config.read_text() + '\n[listen]\nnames = ["localhost", "0:0::1", "other.example"]\n')


def expired(made: ServerDirectory) -> None:
    certificates.SERVER_DAYS = 0
    made.certify(made.settings)


def ends_soon(made: ServerDirectory) -> None:
    certificates.SERVER_DAYS = 12
    made.certify(made.settings)


def no_database(made: ServerDirectory) -> None:
    (made.path / "server.db").unlink()


def told(made: ServerDirectory, statement: str) -> None:
    with closing(sqlite3.connect(made.path / "server.db")) as connection, connection:
        connection.execute(statement)


def older(made: ServerDirectory) -> None:
    told(made, "UPDATE tacit_server_version SET version_num = 's0001'")


def newer(made: ServerDirectory) -> None:
    told(made, "UPDATE tacit_server_version SET version_num = 's9999'")


def changed_ledger(made: ServerDirectory) -> None:
    told(made, "UPDATE ledger SET payload = replace(payload, '2.0', '9.0') WHERE \"index\" = 2")


def another_key(made: ServerDirectory) -> None:
    made.signing_key.unlink()
    SigningKey.generate().save(made.signing_key)


def many_devices(made: ServerDirectory) -> None:
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        for number in range(servers.DEVICES, 12):
            key = SigningKey.simulated(5, number).public
            session.add(DeviceRow(number=number, identity=f"device-{number}", public_key=key, node_key=f"n{number}"))


def old_backup(made: ServerDirectory) -> None:
    told(made, f"UPDATE audit SET time = time - 800000 WHERE action = '{backup.MADE}'")


def no_backup(made: ServerDirectory) -> None:
    told(made, f"DELETE FROM audit WHERE action = '{backup.MADE}'")


def put_back(made: ServerDirectory) -> None:
    """A device saw more of the ledger than there is."""
    report = DeviceReport(version="1", code="c", activity="waiting", ledger_length=40, ledger_head="4" * 64)
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        row = session.get(DeviceRow, 1)
        assert row is not None
        row.report = report.to_bytes().decode()


@pytest.mark.parametrize(
    ("harm", "name", "state", "words"),
    [
        (readable, "permissions", "broken", "chmod go="),
        (other_settings, "settings", "broken", "edit"),
        (no_server, "directory", "broken", "name the server's directory"),
        (said_otherwise, "promise", "broken", "edit"),
        (another_name, "names", "broken", "tacit server rotate certificate"),
        (cut_off, "signing key", "broken", "tacit server rotate key"),
        (expired, "certificate", "broken", "tacit server rotate certificate"),
        (ends_soon, "certificate", "warning", "tacit server rotate certificate"),
        (no_database, "database", "broken", "the database's own log"),
        (older, "database", "warning", "brings it up to date"),
        (newer, "database", "broken", "the database's own log"),
        (changed_ledger, "ledger", "broken", "tacit server restore"),
        (another_key, "ledger", "broken", "tacit server restore"),
        (many_devices, "devices", "warning", "tacit server device revoke"),
        (old_backup, "backup", "warning", "tacit server backup"),
        (no_backup, "backup", "warning", "tacit server backup"),
        (put_back, "continuity", "broken", "tacit server resolve"),
    ],
)
def test_whatever_is_wrong_with_a_server_comes_with_what_to_type(
    made: ServerDirectory,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[ServerDirectory], None],
    name: str,
    state: str,
    words: str,
) -> None:
    monkeypatch.setattr(certificates, "SERVER_DAYS", certificates.SERVER_DAYS)  # put back in the end
    harm(made)
    found = of_server(ServerDirectory(made.path))
    assert found[name].state == state, found[name]
    assert words in found[name].remedy
    assert cli.main(["doctor", "--server", str(made.path), "--json"]) == (1 if state == "broken" else 0)
    for finding in found.values():
        assert finding.remedy or finding.state in ("ok", "info"), finding


def test_looking_changes_nothing(made: ServerDirectory) -> None:
    older(made)
    of_server(made)
    with closing(sqlite3.connect(made.path / "server.db")) as connection:
        assert connection.execute("SELECT version_num FROM tacit_server_version").fetchall() == [("s0001",)]
    no_database(made)
    of_server(made)
    assert not (made.path / "server.db").exists()


@pytest.fixture
def home(tmp_path: Path, made: ServerDirectory) -> DeviceHome:
    """Of a device that was admitted, has data, and whose server is down."""
    (tmp_path / "examples.jsonl").write_text(20 * '{"prompt": "turn on the lamp", "target": "done"}\n')
    settings = {"server": {"url": "https://localhost:1"}, "data": {"path": str(tmp_path / "examples.jsonl")}}
    found = DeviceHome.make(tmp_path / "device", settings, made.authority.read_text())
    with found.journal(create=True) as journal:
        journal.make_keys()
        journal.place(Placement(state="admitted", identity="device-1", model="tacit-nano"))
        journal.trust(installed_code())
    return found


def of_device(home: DeviceHome, key: str = "auto") -> dict[str, Finding]:
    return {finding.name: finding for finding in _device_checkup.examine(home.path, key)}


def test_a_device_whose_server_is_down(home: DeviceHome) -> None:
    found = of_device(home)
    assert {name for name, finding in found.items() if finding.state not in ("ok", "info")} == {"server"}
    assert found["server"].state == "broken" and found["server"].remedy
    assert found["data"].detail == "18 examples to learn from, 2 held out"


def settings(home: DeviceHome, **tables: object) -> None:
    home.config.write_text(toml_text({"server": {"url": "https://localhost:1"}, **tables}, DeviceSettings))


def unadmitted(home: DeviceHome) -> None:
    with home.journal() as journal:
        journal._vault.erase_all()
        journal.trust(installed_code())


def no_data(home: DeviceHome) -> None:
    settings(home)


def unreadable_data(home: DeviceHome) -> None:
    settings(home, data={"path": str(home.path / "none.jsonl")})


def outside_hours(home: DeviceHome) -> None:
    settings(home, policy={"hours": "03:00-03:00"})


def open_store(home: DeviceHome) -> None:
    home.store.with_name(home.store.name + ".key").chmod(0o644)


def no_key(home: DeviceHome) -> None:
    home.store.with_name(home.store.name + ".key").unlink()


def no_device(home: DeviceHome) -> None:
    shutil.rmtree(home.path)


def refused_round(home: DeviceHome) -> None:
    home.tell({"activity": "waiting for rounds", "rounds": 1, "refusal": "rollback"})


@pytest.mark.parametrize(
    ("harm", "name", "state", "words"),
    [
        (no_device, "directory", "broken", "name the device's directory"),
        (unadmitted, "enrolled", "broken", "tacit device enroll"),
        (no_data, "data", "warning", "path ="),
        (unreadable_data, "data", "broken", "edit [data]"),
        (outside_hours, "policy", "warning", "policy.hours"),
        (open_store, "permissions", "broken", "chmod go="),
        (no_key, "store", "broken", "--store-key"),
        (refused_round, "runs", "warning", "operator"),
    ],
)
def test_whatever_is_wrong_with_a_device_comes_with_what_to_type(
    home: DeviceHome, harm: Callable[[DeviceHome], None], name: str, state: str, words: str
) -> None:
    harm(home)
    found = of_device(DeviceHome(home.path))
    assert found[name].state == state, found[name]
    assert words in found[name].remedy
    for finding in found.values():
        assert finding.remedy or finding.state in ("ok", "info"), finding


def test_code_that_nobody_trusted_is_found(home: DeviceHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusting, "code_digest", lambda *packages: "9.9.9 sha256:" + 64 * "e")
    found = of_device(home)["code"]
    assert found.state == "broken" and f"tacit device trust --dir {home.path}" in found.remedy


def test_the_command_tells_both_sides(
    made: ServerDirectory, home: DeviceHome, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", "--server", str(made.path), "--device", str(home.path)]
    assert cli.main([*words, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert {row["section"] for row in document["findings"]} == {"server", "device"} and not document["ok"]
    assert cli.main(words) == 1
    said = capsys.readouterr()
    assert "BROKEN" in said.out and "1 of" in said.err
