"""A server as one file and back: whole, verified, and nothing that the file does not list."""

import io
import json
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import servers
from postgres import empty_database

from tacit_privacy import cli
from tacit_privacy.contract import digest
from tacit_privacy.errors import BadInput
from tacit_server.deployment import admission, archive, audit, backup, people
from tacit_server.deployment.archive import KEPT, Manifest, Part
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.store import Store


@pytest.fixture
def made(tmp_path: Path) -> ServerDirectory:
    found = servers.directory(tmp_path / "server")
    servers.lived(found)
    return found


def written(made: ServerDirectory) -> bytes:
    out = io.BytesIO()
    with ServerDatabase(made.database_url) as database:
        backup.back_up(made, database, out)
    return out.getvalue()


def unpacked(data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        return [(member, (found.extractfile(member) or io.BytesIO()).read()) for member in found]


def packed(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for member, data in members:
            made.addfile(member, io.BytesIO(data))
    return out.getvalue()


def refused(data: bytes, tmp_path: Path, words: str) -> None:
    """By that sentence, and nothing is left in or beside the place."""
    place = tmp_path / "into" / "restored"
    with pytest.raises(BadInput, match=words):
        backup.restore(io.BytesIO(data), place)
    assert not place.exists() and list(place.parent.glob("*")) == []


def test_a_restored_server_is_the_server(made: ServerDirectory, tmp_path: Path) -> None:
    (made.path / "superlink.db").write_text("not worth a copy")
    made.flower_home.mkdir()
    data = written(made)
    told = backup.restore(io.BytesIO(data), tmp_path / "again")
    again = ServerDirectory.open(tmp_path / "again")
    for name in KEPT:
        assert (again.path / name).read_bytes() == (made.path / name).read_bytes()
    assert {path.name for path in again.path.iterdir()} == {
        *("server.toml", "authority.pem", "server.pem", "keys", "server.db", "restored.json")
    }
    assert (servers.ledger(again).head, servers.ledger(again).problems) == (servers.ledger(made).head, [])
    with Store(again.database_url, "first") as store:
        newest = store.newest()
        assert newest is not None and newest.arrays["adapter"].tolist() == [0.0, 1.0, 2.0, 3.0]
        assert len(store.rounds()) == 2
    assert backup.restoration(again) == told and told.entries == 6
    assert json.loads(again.restored.read_text()) == told.model_dump()


def test_only_its_owner_can_read_what_is_restored(made: ServerDirectory, tmp_path: Path) -> None:
    backup.restore(io.BytesIO(written(made)), tmp_path / "again")
    for path in [tmp_path / "again", *(tmp_path / "again").rglob("*")]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077 or path.name == "server.db", path


def test_a_backup_and_a_restore_are_in_the_audit_log(made: ServerDirectory, tmp_path: Path) -> None:
    data = written(made)
    backup.restore(io.BytesIO(data), tmp_path / "again")
    for found, action in ((made, backup.MADE), (ServerDirectory(tmp_path / "again"), backup.RESTORED)):
        with ServerDatabase(found.database_url) as database, database.begin() as session:
            assert action in [row.action for row in audit.rows(session)]
            assert (backup.last(session) is None) == (action == backup.RESTORED)


def test_no_token_and_no_login_comes_back(made: ServerDirectory, tmp_path: Path) -> None:
    """Whoever used a token after the backup was made could use it a second time."""
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        admission.new_token(session, audit.COMMAND_LINE, made.fingerprint, note="", hours=100.0)
        people.add_user(session, audit.COMMAND_LINE, "ada", "operator", "correct horse battery")
        cookie = people.log_in(session, audit.COMMAND_LINE, "ada", "correct horse battery") or ""
    backup.restore(io.BytesIO(written(made)), tmp_path / "again")
    for found, good in ((made, True), (ServerDirectory(tmp_path / "again"), False)):
        with ServerDatabase(found.database_url) as database, database.begin() as session:
            assert bool(admission.open_tokens(session)) == good
            assert bool(people.login_of(session, cookie, made.settings.console)) == good


def test_a_server_that_never_held_a_round_is_restored(tmp_path: Path) -> None:
    data = written(servers.directory(tmp_path / "server"))
    assert backup.restore(io.BytesIO(data), tmp_path / "again").entries == 0


def test_a_database_outside_the_directory_goes_back_to_its_place(tmp_path: Path) -> None:
    place = tmp_path / "disk" / "elsewhere.db"
    place.parent.mkdir()
    made = servers.directory(tmp_path / "server", database=f"sqlite:///{place}")
    servers.lived(made)
    data = written(made)
    refused(data, tmp_path, "move it away")
    place.unlink()
    backup.restore(io.BytesIO(data), tmp_path / "again")
    assert not (tmp_path / "again" / "server.db").exists()
    assert servers.ledger(ServerDirectory.open(tmp_path / "again")).entries == 6


def test_a_backup_is_of_one_moment_while_rounds_are_held(made: ServerDirectory, tmp_path: Path) -> None:
    """Whatever the writer was at, the ledger in the file is a whole one, and what was paid for is in it."""
    ended, failures = threading.Event(), list[Exception]()

    def write() -> None:
        try:
            with ServerDatabase(made.database_url) as database, servers.books(made, database) as kept:
                for number in range(3, 10_000):
                    kept.round(number, range(servers.DEVICES))
                    kept.session.commit()
                    if ended.wait(0.02):  # SQLite queues nobody: without a pause others wait for ever
                        return
        except Exception as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [written(made) for _ in range(4)]
    finally:
        ended.set()
        writer.join()
    assert failures == []
    lengths = [
        backup.restore(io.BytesIO(data), tmp_path / f"again{number}").entries for number, data in enumerate(copies)
    ]
    assert lengths == sorted(lengths) and lengths[0] >= 6
    assert servers.ledger(made).entries >= lengths[-1]


def test_what_was_erased_is_not_in_the_copy(made: ServerDirectory) -> None:
    with closing(sqlite3.connect(made.path / "server.db")) as connection, connection:
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("UPDATE devices SET name = 'Erwin Schroedinger, third floor'")
    with closing(sqlite3.connect(made.path / "server.db")) as connection, connection:
        connection.execute("UPDATE devices SET name = ''")
    assert b"Schroedinger" not in written(made)


def test_nothing_of_a_backup_stays_in_the_directory(made: ServerDirectory) -> None:
    before = {path.name for path in made.path.iterdir()}
    written(made)
    assert {path.name for path in made.path.iterdir()} == before


def test_a_place_that_is_not_empty_is_left_alone(made: ServerDirectory, tmp_path: Path) -> None:
    data = written(made)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("kept")
    with pytest.raises(BadInput, match="not empty"):
        backup.restore(io.BytesIO(data), tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    backup.restore(io.BytesIO(data), tmp_path / "empty")


@pytest.mark.parametrize("name", [*KEPT, archive.DUMPS["sqlite"]])
def test_a_changed_byte_is_found_in_every_file(made: ServerDirectory, tmp_path: Path, name: str) -> None:
    members = unpacked(written(made))
    changed = [(m, data[:-1] + bytes([data[-1] ^ 1]) if m.name == name else data) for m, data in members]
    refused(packed(changed), tmp_path, "is damaged")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_refused(made: ServerDirectory, tmp_path: Path, share: float) -> None:
    data = written(made)
    refused(data[: int(share * len(data))], tmp_path, "another copy|cannot be read|no backup|is damaged")


def plain(name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(name)


def link(kind: bytes) -> Callable[[str], tarfile.TarInfo]:
    def made(name: str) -> tarfile.TarInfo:
        found = tarfile.TarInfo(name)
        found.type, found.linkname = kind, "/etc/passwd"
        return found

    return made


@pytest.mark.parametrize(
    ("member", "name"),
    [
        (plain, "../escaped"),
        (plain, "/tmp/escaped"),
        (plain, "keys/../../escaped"),
        (plain, "./server.toml"),
        (plain, "server.toml"),  # a second time
        (plain, "more"),
        (link(tarfile.SYMTYPE), "keys/signing.key"),
        (link(tarfile.LNKTYPE), "keys/signing.key"),
        (link(tarfile.SYMTYPE), "keys"),
        (link(tarfile.DIRTYPE), "keys"),
        (link(tarfile.FIFOTYPE), "server.toml"),
        (link(tarfile.CHRTYPE), "server.toml"),
    ],
)
@pytest.mark.parametrize("behind", [1, -1])  # the manifest, everything
def test_what_is_not_in_the_list_is_refused(
    made: ServerDirectory, tmp_path: Path, member: Callable[[str], tarfile.TarInfo], name: str, behind: int
) -> None:
    members = unpacked(written(made))
    added = [*members[:behind], (member(name), b""), *members[behind:]]
    refused(packed(added), tmp_path, "not in its list")
    assert not (tmp_path / "escaped").exists() and not Path("/tmp/escaped").exists()


def test_a_file_that_is_missing_is_named(made: ServerDirectory, tmp_path: Path) -> None:
    members = [(m, data) for m, data in unpacked(written(made)) if m.name != "keys/link.secret"]
    refused(packed(members), tmp_path, "ends before keys/link.secret")


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100, b"\x1f\x8b" + bytes(2000), bytes(10240)])
def test_what_is_no_backup_is_refused(tmp_path: Path, data: bytes) -> None:
    refused(data, tmp_path, "no backup")


def test_a_foreign_archive_is_refused(tmp_path: Path) -> None:
    member = plain("photographs/one.jpg")
    member.size = 4
    refused(packed([(member, b"jpeg")]), tmp_path, "no backup of a Tacit server")
    member = plain("manifest.json")
    member.size = 2
    refused(packed([(member, b"{}")]), tmp_path, "list of files cannot be read")


def forged(members: list[tuple[tarfile.TarInfo, bytes]], name: str, data: bytes, **changes: object) -> bytes:
    """The archive with another content of a file, and a list that says so."""
    manifest = Manifest.from_bytes(members[0][1])
    files = {**manifest.files, name: Part(sha256=digest(data), size=len(data))}
    told = manifest.model_copy(update={"files": files, **changes}).to_bytes()
    found = []
    for member, content in members:
        content = told if member.name == "manifest.json" else data if member.name == name else content
        member.size = len(content)
        found.append((member, content))
    return packed(found)


def test_a_ledger_that_was_changed_is_refused(made: ServerDirectory, tmp_path: Path) -> None:
    members = unpacked(written(made))
    path = tmp_path / "changed.sqlite"
    path.write_bytes(dict((m.name, data) for m, data in members)["database.sqlite"])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE ledger SET payload = replace(payload, '2.0', '9.0') WHERE \"index\" = 2")
    refused(forged(members, "database.sqlite", path.read_bytes()), tmp_path, "does not verify")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute('DELETE FROM ledger WHERE "index" > 3')
    refused(forged(members, "database.sqlite", path.read_bytes()), tmp_path, "not the one that its list names")


def test_parts_of_two_servers_are_no_server(made: ServerDirectory, tmp_path: Path) -> None:
    members = unpacked(written(made))
    other = servers.directory(tmp_path / "other")
    key = other.signing_key.read_bytes()
    refused(forged(members, "keys/signing.key", key), tmp_path, "signed by another key")
    refused(forged(members, "authority.pem", other.authority.read_bytes()), tmp_path, "not the one that its list names")


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_the_commands(made: ServerDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, again = tmp_path / "copy.tar", tmp_path / "again"
    assert run("server", "backup", "--dir", made.path, "--out", file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 6
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"server", "copy.tar"}
    assert run("server", "backup", "--dir", made.path, "--out", file) == 2
    assert "is there" in capsys.readouterr().err
    assert run("server", "backup", "--dir", made.path, "--out", tmp_path / "no" / "copy.tar") == 2
    assert run("server", "restore", "--from", tmp_path / "none", "--dir", again) == 2
    capsys.readouterr()
    assert run("server", "restore", "--from", file, "--dir", again, "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 6
    assert run("server", "status", "--dir", again, "--json") == 0
    assert json.loads(capsys.readouterr().out)["restored"]["entries"] == 6
    assert run("server", "status", "--dir", again) == 0
    assert "whose ledger had 6 entries" in capsys.readouterr().out
    assert run("server", "status", "--dir", made.path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["restored"] is None and told["last_backup"] > 0


def test_a_server_on_postgresql_comes_back(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with empty_database(postgres, "before") as url, empty_database(postgres, "after") as empty:
        made = servers.directory(tmp_path / "server", database=url)
        servers.lived(made)
        data = written(made)
        monkeypatch.setenv("TACIT_DATABASE", f"sqlite:///{tmp_path / 'other.db'}")
        refused(data, tmp_path, "is of a postgresql database")
        monkeypatch.setenv("TACIT_DATABASE", empty)
        told = backup.restore(io.BytesIO(data), tmp_path / "again")
        again = ServerDirectory.open(tmp_path / "again")
        assert told.entries == servers.ledger(again).entries == 6
        assert not (again.path / "database.dump").exists() and not (again.path / "server.db").exists()
        with Store(again.database_url, "first") as store:
            assert len(store.rounds()) == 2
        refused(data, tmp_path, "is not empty")
