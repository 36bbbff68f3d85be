"""A budget in a real database: raced for, killed at every boundary, moved, brought up to date."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from ledgers import FIXED, KEY, Books, policy
from spender import ALLOWED
from sqlalchemy import Engine, text

import tacit_server.grid_roster  # noqa: F401  # its table
from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.errors import BadInput, LedgerBroken
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.database import begin, open_database
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.participation import DeviceLimit, counted
from tacit_privacy.ledger.tables import PrivacyTables
from tacit_privacy.ledger.transfer import export, take_in
from tacit_privacy.ledger.verify import verify
from tacit_server.store import Store
from tacit_server.store.tables import ServerTables

SPENDER = Path(__file__).parents[1] / "support" / "spender.py"


Opener = Callable[[str], Engine]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens databases, and closes them in the end."""
    engines: list[Engine] = []

    def open_one(url: str) -> Engine:
        engines.append(open_database(url))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.dispose()


def spender(what: str, *words: object) -> "subprocess.Popen[str]":
    command = [sys.executable, str(SPENDER), what, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines_of(url: str) -> list[str]:
    engine = open_database(url)
    with begin(engine) as session:
        lines = [entry.line() for entry in Ledger(KEY.sign, float).entries(session)]
    engine.dispose()
    return lines


def test_racing_coordinators_never_overspend_one_budget(url: str, tmp_path: Path) -> None:
    """Both ask the same devices as often as they can: together they get what one alone would have got."""
    log = tmp_path / "released"
    affordable = next(n for n in range(1, 10_000) if epsilon_of((n + 1) ** 0.5 / 4.0, ALLOWED.delta) > ALLOWED.epsilon)
    racers = [spender("race", url, run, affordable, log) for run in ("one", "two", "three")]
    told = [racer.communicate(timeout=120) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0], told
    released = [int(out) for out, _ in told]
    assert sum(released) == affordable == len(log.read_text().split())
    found = verify(lines_of(url), KEY.public)
    assert found.problems == [] and found.epsilon <= ALLOWED.epsilon
    assert len(found.account.charged) == affordable


def test_a_kill_at_any_boundary_loses_no_charge(url: str, tmp_path: Path, opened: Opener) -> None:
    """Whatever was released before the kill is charged, and the coordinator that comes back settles it."""
    process = spender("kill", url, tmp_path)
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    told = [json.loads(line) for line in out.splitlines()]
    assert [row["killed"] for row in told] == [True] * (len(told) - 1) + [False] and len(told) > 50
    assert {row["released"] for row in told} == {0, 1, 2}
    assert not any(row["problems"] or row["lost"] for row in told)
    settled = verify(lines_of(url), KEY.public)
    assert settled.problems == [] and not settled.account.waiting
    with begin(opened(url)) as session:
        assert counted(session) == dict.fromkeys((1, 2), len(settled.account.charged))


def test_migrations_make_the_tables_that_the_code_means(url: str, opened: Opener) -> None:
    store = Store(url)
    for metadata in (PrivacyTables.metadata, ServerTables.metadata):
        names = set(metadata.tables)
        with opened(url).connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"include_name": lambda name, kind, _, names=names: kind != "table" or name in names}
            )
            assert compare_metadata(context, metadata) == []
    store.close()


def test_a_database_of_a_newer_tacit_is_left_alone(url: str, opened: Opener) -> None:
    with opened(url).begin() as connection:
        connection.execute(text("UPDATE tacit_privacy_version SET version_num = 'p9999'"))
    with pytest.raises(BadInput, match="upgrade Tacit"):
        open_database(url)


def test_a_ledger_moves_to_another_database_and_goes_on(url: str, tmp_path: Path, opened: Opener) -> None:
    allowed, event = policy(participations=3, epsilon=100.0), GaussianEvent(noise_multiplier=1.0, sampling=FIXED)
    first = Books(allowed, event, replay=False)
    first.round(1, [1, 2])
    first.budget.limit(first.session, 2, DeviceLimit(participations=1))
    first.reserve(2, [3])  # and then the machine is gone
    first.session.commit()
    export(first.session, tmp_path, receipts=True, counts=True)
    engine = opened(url)
    ledger, receipts, counts = (
        (tmp_path / f"{n}.jsonl").read_text().splitlines() for n in ("ledger", "receipts", "counts")
    )
    assert verify(ledger, KEY.public, None, receipts).problems == []
    with pytest.raises(BadInput, match="nobody knows who took part"), begin(engine) as session:
        take_in(session, ledger, receipts, None)
    with begin(engine) as session:
        assert take_in(session, ledger, receipts, counts) == len(ledger)
    with pytest.raises(BadInput, match="holds a ledger already"), begin(engine) as session:
        take_in(session, ledger, receipts, counts)
    second = Books(allowed, event, replay=False, database=engine)
    assert second.budget.participations(second.session) == {1: 1, 2: 1, 3: 1}
    assert second.budget.beyond_limit(second.session, event) == [2]
    second.round(2, [1])
    second.close()
    assert verify(second.lines(), KEY.public).problems == []
    assert second.receipt_lines()[: len(receipts)] == receipts
    second.session.close()


def test_an_empty_database_is_no_ledger(url: str, tmp_path: Path, opened: Opener) -> None:
    with pytest.raises(LedgerBroken, match="no ledger"), begin(opened(url)) as session:
        export(session, tmp_path, receipts=False)
    assert list(tmp_path.glob("*.jsonl")) == []


def tacit(folder: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("tacit")), *words]
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )


def test_the_commands_that_keep_a_ledger(tmp_path: Path, opened: Opener) -> None:
    """A protected key is made, takes over a ledger, and what is exported verifies by either key, receipts and all."""
    allowed, event = policy(participations=3, epsilon=100.0), GaussianEvent(noise_multiplier=1.0, sampling=FIXED)
    books = Books(allowed, event, database=opened(f"sqlite:///{tmp_path / 'run.db'}"))
    books.round(1, [1, 2])
    books.session.commit()
    books.session.close()
    KEY.save(tmp_path / "old.key")
    made = tacit(
        tmp_path, "audit", "keygen", "--out", "new.key", "--protect", "--json", TACIT_KEY_PASSPHRASE="long enough"
    )
    assert made.returncode == 0, made.stderr
    assert b"ENCRYPTED" in (tmp_path / "new.key").read_bytes()
    assert (tmp_path / "new.key").stat().st_mode & 0o077 == 0
    rotated = ("audit", "rotate", "--database", "run.db", "--key", "old.key", "--new", "new.key", "--json")
    locked = tacit(tmp_path, *rotated)
    assert (locked.returncode, "TACIT_KEY_PASSPHRASE" in locked.stderr) == (2, True)
    assert tacit(tmp_path, *rotated, TACIT_KEY_PASSPHRASE="wrong").returncode == 2
    done = tacit(tmp_path, *rotated, TACIT_KEY_PASSPHRASE="long enough")
    assert json.loads(done.stdout)["public"] == json.loads(made.stdout)["public"]
    assert tacit(tmp_path, *rotated, TACIT_KEY_PASSPHRASE="long enough").returncode == 2  # it is not the old key's now
    assert tacit(tmp_path, "audit", "export", "--database", "run.db", "--out", "out", "--receipts").returncode == 0
    for public in ("out/ledger.pub", "new.key.pub"):
        found = tacit(tmp_path, "audit", "verify", "out/ledger.jsonl", "--key", public, "--receipts", "--json")
        told = json.loads(found.stdout)
        assert (told["ok"], told["receipts"], told["participations"]) == (True, 2, {"1": 2})
    stored = tacit(tmp_path, "audit", "import", "out", "--key", "new.key.pub", "--database", "other.db")
    assert (stored.returncode, "open" in stored.stderr) == (2, True)  # nobody knows who took part
    for words in (("export", "--database", "none.db", "--out", "x"), ("keygen", "--out", "new.key")):
        refused = tacit(tmp_path, "audit", *words)
        assert refused.returncode == 2 and refused.stderr.count("\n") <= 3
    assert SigningKey.load(tmp_path / "new.key", b"long enough").public == told.get(
        "public", json.loads(made.stdout)["public"]
    )
