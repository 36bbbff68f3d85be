"""What stops runs after a ledger was put back, what devices that lie about it can do, and what is owned up to."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from sqlalchemy.orm import Session

from tacit_privacy.enrolment import DeviceReport
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.keys import SigningKey
from tacit_server.deployment import resolving
from tacit_server.deployment.audit import COMMAND_LINE
from tacit_server.deployment.backup import Restoration
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.store.tables import DeviceRow

UP_FOR_LONG = 600.0  # seconds
ABSURD = 10**12


@pytest.fixture
def made(tmp_path: Path) -> ServerDirectory:
    found = servers.directory(tmp_path / "server")
    servers.lived(found)  # three devices, six entries
    return found


@pytest.fixture
def session(made: ServerDirectory) -> Iterator[Session]:
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        for number in range(servers.DEVICES):
            says(session, number, 6, resolving.head_at(session, 6))
        yield session


def says(session: Session, number: int, length: int, head: str = "e" * 64, ago: float = 0.0) -> None:
    """A device reports, as of so many seconds ago, how far it saw the ledger."""
    row = session.get_one(DeviceRow, number)
    report = DeviceReport(version="1", code="c", activity="test", ledger_length=length, ledger_head=head)
    row.report, row.seen = report.to_bytes().decode(), time.time() - ago


def obstacle(session: Session, restored: Restoration | None = None, up_for: float = UP_FOR_LONG) -> str:
    return resolving.obstacle(session, restored, time.time() - up_for)


@pytest.mark.parametrize("length", [6, 8, 100, ABSURD, 10**30])
def test_one_device_that_lies_stops_no_run(session: Session, length: int) -> None:
    assert obstacle(session) == ""
    says(session, 0, length)
    assert obstacle(session) == ""
    assert [found.length for found in resolving.witnesses(session)] == [length]


def test_one_device_is_believed_until_the_others_were_heard(session: Session) -> None:
    """What a database that was put back says of others is of another day."""
    says(session, 0, 8)
    assert "1 device says that it saw more" in obstacle(session, up_for=10.0)
    says(session, 1, 6, resolving.head_at(session, 6), ago=2 * UP_FOR_LONG)
    assert "1 device says that it saw more" in obstacle(session)


def test_two_devices_stop_runs_and_are_counted(session: Session) -> None:
    says(session, 0, 8)
    says(session, 1, 10)
    assert "2 devices say that they saw more" in obstacle(session)


def test_no_number_of_devices_has_seen_what_no_server_can_have_written(session: Session) -> None:
    for number in range(servers.DEVICES):
        says(session, number, ABSURD + number)
    assert obstacle(session, up_for=0.0) == ""
    assert not any(found.possible for found in resolving.witnesses(session))
    assert resolving.suggestion(resolving.witnesses(session)) == (0, 0)


def test_after_a_restore_one_device_is_enough(session: Session) -> None:
    restored = Restoration(entries=6, head="0" * 64, time=time.time() - UP_FOR_LONG)
    assert obstacle(session, restored) == ""
    says(session, 0, 8)
    assert "1 device says that it saw more" in obstacle(session, restored)
    assert obstacle(session, restored.model_copy(update={"settled": True})) == ""
    says(session, 0, ABSURD)
    assert obstacle(session, restored) == ""


def test_no_suggestion_rests_on_what_one_device_says_against_others(session: Session) -> None:
    says(session, 0, 100_000)
    assert resolving.suggestion(resolving.witnesses(session)) == (100_000, 1)
    says(session, 1, 8)
    assert resolving.suggestion(resolving.witnesses(session)) == (8, 2)
    says(session, 2, 8)
    assert resolving.suggestion(resolving.witnesses(session)) == (8, 3)


def test_what_is_owned_up_to_is_what_most_devices_say(made: ServerDirectory, session: Session) -> None:
    ledger = Ledger(SigningKey.load(made.signing_key).sign, time.time)
    says(session, 0, 8, "a" * 64)
    says(session, 1, 8, "b" * 64)
    says(session, 2, 8, "b" * 64)
    assert resolving.resolve(session, COMMAND_LINE, ledger, 8) == 2
    assert [found.identity for found in resolving.witnesses(session)] == ["device-0"]


def test_nobody_owns_up_to_what_cannot_be(made: ServerDirectory, session: Session) -> None:
    ledger = Ledger(SigningKey.load(made.signing_key).sign, time.time)
    says(session, 0, ABSURD)
    with pytest.raises(BadInput, match="no device has seen"):
        resolving.resolve(session, COMMAND_LINE, ledger, ABSURD)
