"""New keys for a server: devices can follow, a kill in between changes nothing, and nothing is handed over twice."""

import json
from pathlib import Path

import pytest
import servers
from sqlalchemy import delete

from tacit_privacy import cli
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.rotations import followed, rotations
from tacit_privacy.ledger.tables import LedgerRow
from tacit_server.deployment import audit, rotation
from tacit_server.deployment.certificates import fingerprint
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory


@pytest.fixture
def made(tmp_path: Path) -> ServerDirectory:
    found = servers.directory(tmp_path / "server")
    servers.lived(found)
    return found


def rotate(made: ServerDirectory) -> rotation.Rotated:
    with ServerDatabase(made.database_url) as database:
        return rotation.rotate_key(made, database)


def told(made: ServerDirectory) -> tuple[str, ...]:
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        return rotations(session)


def test_devices_follow_and_the_ledger_goes_on(made: ServerDirectory) -> None:
    first = SigningKey.load(made.signing_key).public
    one, two = rotate(made), rotate(made)
    assert (one.old, two.old, two.new) == (first, one.new, SigningKey.load(made.signing_key).public)
    assert (one.entries, two.entries) == (7, 8)
    for pinned in (first, one.new, two.new):
        assert followed(pinned, told(made)) == two.new
    with ServerDatabase(made.database_url) as database, servers.books(made, database) as kept:
        kept.round(3, range(servers.DEVICES))
    found = servers.ledger(made)
    assert (found.problems, found.entries) == ([], 10)
    assert {path.name for path in made.keys.iterdir()} == {"signing.key", "authority.key", "server.key", "link.secret"}
    assert made.signing_key.stat().st_mode & 0o077 == 0


def test_it_is_in_the_audit_log(made: ServerDirectory) -> None:
    done = rotate(made)
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        row = audit.rows(session)[0]
        assert (row.action, row.subject, json.loads(row.detail)["before"]) == ("key.rotate", done.new, done.old)


def test_not_while_the_server_is_up(made: ServerDirectory) -> None:
    before = made.signing_key.read_bytes()
    with made.held(), pytest.raises(BadInput, match="end it first"):
        rotate(made)
    assert made.signing_key.read_bytes() == before and told(made) == ()


def test_a_kill_after_the_ledger_has_it_loses_no_key(made: ServerDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(path: Path, target: Path) -> Path:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            rotate(made)
    with pytest.raises(BadInput, match="was cut off"):
        rotation.check_whole(made)
    named = followed(SigningKey.load(made.signing_key).public, told(made))
    done = rotate(made)
    assert done.new == named == SigningKey.load(made.signing_key).public
    assert len(told(made)) == 1 and servers.ledger(made).problems == []
    rotation.check_whole(made)


def test_a_kill_before_the_ledger_has_it_changes_nothing(
    made: ServerDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*words: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rotation, "_hand_over", killed)
        with pytest.raises(KeyboardInterrupt):
            rotate(made)
    assert told(made) == () and servers.ledger(made).problems == []
    abandoned = SigningKey.load(made.next_signing_key).public
    assert rotate(made).new != abandoned
    assert len(told(made)) == 1 and servers.ledger(made).problems == []


def test_a_key_that_does_not_sign_the_ledger_rotates_nothing(made: ServerDirectory) -> None:
    made.signing_key.unlink()
    SigningKey.generate().save(made.signing_key)
    with pytest.raises(BadInput, match="does not sign this ledger"):
        rotate(made)
    assert not made.next_signing_key.exists()


def test_before_the_first_run_only_a_server_without_devices_changes_its_key(tmp_path: Path) -> None:
    made = servers.directory(tmp_path / "server")
    done = rotate(made)
    assert (done.entries, SigningKey.load(made.signing_key).public) == (0, done.new)
    servers.lived(made, rounds=0)
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        session.execute(delete(LedgerRow))
    with pytest.raises(BadInput, match="let a first run begin"):
        rotate(made)
    rotation.check_whole(made)


def test_a_protected_key_is_followed_by_a_protected_one(made: ServerDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    key = SigningKey.load(made.signing_key)
    made.signing_key.unlink()
    key.save(made.signing_key, b"long enough")
    monkeypatch.setenv("TACIT_KEY_PASSPHRASE", "long enough")
    rotate(made)
    assert b"ENCRYPTED" in made.signing_key.read_bytes()


def test_a_certificate_of_the_same_authority(made: ServerDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    before, pinned = made.certificate.read_bytes(), made.fingerprint
    assert cli.main(["server", "rotate", "certificate", "--dir", str(made.path)]) == 0
    assert "made a certificate until" in capsys.readouterr().out
    assert made.certificate.read_bytes() != before
    assert (made.fingerprint, fingerprint(made.authority.read_bytes())) == (pinned, pinned)
    with made.held():
        assert cli.main(["server", "rotate", "certificate", "--dir", str(made.path)]) == 0
    assert "tacit server up again" in capsys.readouterr().out


def test_the_command(made: ServerDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["server", "rotate", "key", "--dir", str(made.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["now"] == SigningKey.load(made.signing_key).public
    assert cli.main(["server", "rotate", "key", "--dir", str(made.path)]) == 0
    assert "make a backup now" in capsys.readouterr().out
