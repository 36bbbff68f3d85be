"""A server's directory with a fleet and a history in it, made without a device; and the console over it."""

import hashlib
import json
import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import uvicorn
from deployments import free_port
from ledgers import Books
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.applications import Starlette

from tacit_privacy.accounting.events import Adjacency, GaussianEvent, Sampling
from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.contract import AdapterSpec, LinearSpec
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.noise import SystemNoise
from tacit_server.deployment import adapters, audit, people, runs
from tacit_server.deployment.admission import identity_of
from tacit_server.deployment.audit import Actor
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.deployment.settings import RunSettings
from tacit_server.rounds import RoundRecord
from tacit_server.store.tables import ApplicantRow, AuditRow, DeviceRow, RoundRow, RunRow, UserRow
from tacit_server.web.console.console import Console
from tacit_server.web.console.door import Cookies
from tacit_server.web.counting import Counts

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it asks anyio for a name that is on its way out
    from starlette.testclient import TestClient

PASSWORD = "correct horse battery"
OPERATOR, AUDITOR = "olga", "albert"
SPEC = AdapterSpec(
    model="tacit-nano", method="ffa", rank=2, alpha=4.0, seed=7, linear=(LinearSpec(name="o", rows=3, columns=4),)
)
PARTICIPATIONS, COHORT, DEVICES = 5, 4, 20
WORDS = ("kitchen tablet", "hall panel", "Grandma's phone", "workshop board", "living room", "laptop of Jo")


class Kept:
    """A server's directory and database; ``key`` signs its ledger."""

    def __init__(self, path: Path) -> None:
        self.directory = ServerDirectory.open(path)
        self.database = ServerDatabase(self.directory.database_url)
        self.key = SigningKey.load(self.directory.signing_key)

    @classmethod
    def made(cls, path: Path, **tables: dict[str, Any]) -> "Kept":
        """``tables``: of server.toml, beside those that a test of the console needs."""
        settings: dict[str, Any] = {
            "listen": {"names": ["fleet.example"], "port": 8443},
            "fleet": {"devices": DEVICES},
            "privacy": {"epsilon": 8.0, "clip_norm": 0.5, "participations": PARTICIPATIONS},
            "federation": {"rounds": 6, "cohort": COHORT, "deadline_s": 900.0},
        }
        for name, table in tables.items():
            settings[name] = settings.get(name, {}) | table
        ServerDirectory.create(path, settings)
        found = cls(path)
        with found.database.begin() as session:
            for user, role in ((OPERATOR, "operator"), (AUDITOR, "auditor")):
                people.add_user(session, audit.COMMAND_LINE, user, role, PASSWORD)
                session.flush()
                session.get_one(UserRow, user).password = quickly_hashed(PASSWORD)
        return found

    def app(self) -> Any:
        console = Console(self.directory, self.database, self.key.public, Cookies.of_server(), Counts())
        return Starlette(routes=console.routes())

    def device(self, number: int, name: str, seen_ago: float = 10.0, state: str = "admitted") -> str:
        """A device that belongs to the fleet; its identity."""
        public = SigningKey.simulated(7, number).public
        report = {"version": "0.1.0", "code": "c" * 64, "activity": "working", "rounds": 3, "refusal": "exhausted"}
        now = time.time()
        row = DeviceRow(
            number=number,
            identity=identity_of(public),
            public_key=public,
            name=name,
            state=state,
            node_key=f"node {number}",
            node_id="",
            admitted=now - 86400,
            seen=now - seen_ago,
            report=json.dumps(report),
        )
        with self.database.begin() as session:
            session.add(row)
        return identity_of(public)

    def applicant(self, number: int, name: str, address: str = "192.0.2.7") -> str:
        """A device that asks to be let in; its key."""
        public = SigningKey.simulated(8, number).public
        with self.database.begin() as session:
            asked = time.time() - 600
            session.add(
                ApplicantRow(public_key=public, node_key=f"waits {number}", name=name, asked=asked, address=address)
            )
        return public

    def run(self, name: str, rounds: list[list[int]], planned: int = 6, state: str = "running") -> None:
        """A run whose rounds these devices completed; an empty round released nothing."""
        settings = RunSettings.planned(self.directory.settings, {"federation.rounds": planned})
        in_ledger, engine = f"{name}-{self.key.public[:8]}", self.database.engine
        books = Books(self._policy(), self._event(), False, SystemNoise(), in_ledger, engine, self.key, closes=False)
        books.time = time.time() - 3600
        for number, devices in enumerate(rounds, 1):
            books.time += 300
            reservation = books.reserve(number, devices or [0])
            if devices:
                books.commit(reservation, devices)
            else:
                books.budget.abandon(books.session, reservation, "too few devices")
            self._round(books.session, name, number, devices, reservation.epsilon, books.time)
        row = RunRow(name=name, settings=settings.text(), state=state, wanted="run", created=time.time() - 4000)
        row.starts = row.started = books.time - 300 * len(rounds)
        row.spec = SPEC.to_bytes().decode()
        books.session.add(row)
        books.session.commit()
        books.session.close()

    def _round(self, session: Session, run: str, number: int, devices: list[int], epsilon: float, ended: float) -> None:
        record = RoundRecord(number, ended - 240, ended, COHORT, len(devices), {"late": COHORT - len(devices)})
        record.epsilon, record.released, record.clip_norm = epsilon, bool(devices), 0.5
        record.accepted = tuple(devices)
        session.add(RoundRow(run=run, number=number, record=json.dumps(asdict(record))))
        if devices:
            before = adapters.newest(session, run)
            vector = np.full(SPEC.dimension, number, dtype=np.float32)
            adapters.keep(session, run, number, number, vector, before.digest if before else "", 10 * number)
            session.flush()

    def _event(self) -> GaussianEvent:
        return GaussianEvent(noise_multiplier=2.0, sampling=Sampling(kind="fixed", cohort=COHORT, population=DEVICES))

    def _policy(self) -> BudgetPolicy:
        privacy = self.directory.settings.privacy
        return BudgetPolicy(
            epsilon=privacy.epsilon,
            delta=privacy.delta_for(DEVICES),
            participations=privacy.participations,
            period_s=privacy.period_s,
            adjacency=Adjacency.ZERO_OUT,
            roster_sealed=privacy.roster == "sealed",
            population=DEVICES,
        )

    def state_of(self, run: str) -> tuple[str, str]:
        with self.database.begin() as session:
            row = runs.found(session, run)
            return row.state, row.wanted

    def audited(self) -> list[tuple[str, str, str, str]]:
        """Actor, action, subject and outcome of all that was done, the newest first."""
        with self.database.begin() as session:
            rows = session.scalars(select(AuditRow).order_by(AuditRow.number.desc()))
            return [(row.actor, row.action, row.subject, row.outcome) for row in rows]

    def counted(self, table: type[Any]) -> int:
        with self.database.begin() as session:
            return len(session.scalars(select(table)).all())


def furnished(path: Path, **tables: dict[str, Any]) -> Kept:
    """A server that has been used: devices, applicants, a run that has ended and one that is at work."""
    kept = Kept.made(path, **tables)
    for number, name in enumerate(WORDS):
        kept.device(number, name, seen_ago=10.0 if number < 4 else 90_000.0 * number)
    kept.applicant(1, "new tablet")
    kept.run("first", [[0, 1, 2, 3], [1, 2, 3, 4], [0, 2, 4]], planned=3, state="finished")
    kept.run("second", [[0, 1, 2, 5], [], [3, 4, 5]])
    with kept.database.begin() as session:
        audit.record(session, Actor("device kitchen tablet", "192.0.2.4"), "device.enrol", "device-0")
    return kept


@dataclass
class Person:
    """Somebody's browser, as far as HTTP goes."""

    client: TestClient
    csrf: str = ""

    def log_in(self, name: str = OPERATOR, password: str = PASSWORD) -> Any:
        shown = self.client.get("/console/login")
        self.csrf = token_in(shown.text)
        answer = self.post("/console/login", name=name, password=password)
        if answer.status_code == 303:
            self.csrf = token_in(self.get("/console").text)
        return answer

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=headers, follow_redirects=False)

    def post(self, path: str, headers: dict[str, str] | None = None, /, **fields: str) -> Any:
        """A form as a page of the console sends it, unless ``fields`` says otherwise."""
        told = {"csrf": self.csrf} | fields
        sent = {"content-type": "application/x-www-form-urlencoded", "origin": "https://fleet.example"} | (
            headers or {}
        )
        return self.client.post(path, content=urlencode(told), headers=sent, follow_redirects=False)


def quickly_hashed(password: str) -> str:
    """As the server keeps a password, but for the time that it takes to look at one."""
    salt, (n, r, p) = b"salt", (2, 8, 1)
    return f"scrypt${n}${r}${p}${salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p).hex()}"


def token_in(page: str) -> str:
    return str(re.findall(r'name="csrf" value="([^"]+)"', page)[0])


def stranger(kept: Kept, app: Any = None) -> Person:
    """Somebody who has not logged in."""
    return Person(TestClient(app or kept.app(), base_url="https://fleet.example"))


def person(kept: Kept, name: str = OPERATOR, app: Any = None) -> Person:
    """Somebody who has logged in."""
    found = stranger(kept, app)
    assert found.log_in(name).status_code == 303
    return found


@contextmanager
def served(kept: Kept) -> Iterator[str]:
    """The console behind TLS on loopback, in a thread; its address."""
    port = free_port()
    config = uvicorn.Config(
        kept.app(),
        host="127.0.0.1",
        port=port,
        ssl_certfile=kept.directory.certificate,
        ssl_keyfile=kept.directory.certificate_key,
        log_level="critical",
        ws="none",
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until, "the console does not come up"
        time.sleep(0.05)
    try:
        yield f"https://localhost:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
