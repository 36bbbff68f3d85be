"""``tacit server up``: keeps the link and the coordinator of the run that is due alive, until it is told to end."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event
from types import FrameType

import structlog

from tacit_privacy.errors import BadInput, EngineFailed, TacitError
from tacit_server.deployment import audit, backup, processes, resolving, runs, status
from tacit_server.deployment.bundle import bundle, node_config
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.deployment.settings import ListenSettings, RunSettings
from tacit_server.flower_seam import SuperLinkControl, is_up
from tacit_server.store.tables import RunRow

_TURN_S, _UP_S = 0.3, 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_MOST_FAILURES = 8  # of a run's coordinator in a row, without a round between them
_log = structlog.get_logger("tacit.server")


@dataclass
class _Backoff:
    """How long to wait after failures in a row."""

    failures: int = 0
    until: float = 0.0

    def failed(self) -> None:
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**self.failures)
        self.failures, self.until = self.failures + 1, time.monotonic() + pause

    def worked(self) -> None:
        self.failures, self.until = 0, 0.0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until


@dataclass
class _Coordinator:
    """The process that holds a run's rounds, and the Flower run that it speaks through."""

    run: str
    flower_run: int
    process: "subprocess.Popen[bytes]"
    rounds: int  # that the run had when it was started


@dataclass
class Supervisor:
    """Everything that ``up`` keeps an eye on."""

    directory: ServerDirectory
    database: ServerDatabase
    on_up: Callable[[], None] = lambda: None  # called once the port answers
    _link: "subprocess.Popen[bytes] | None" = None
    _link_backoff: _Backoff = field(default_factory=_Backoff)
    _coordinator: _Coordinator | None = None
    _run_backoff: _Backoff = field(default_factory=_Backoff)
    _trouble: _Backoff = field(default_factory=_Backoff)  # of what runs are looked up and written down in
    _since: float = field(default_factory=time.time)  # when the server was put up
    _ending: Event = field(default_factory=Event)

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises BadInput where the port is taken, or another ``up`` has the directory."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        with self.directory.held():
            _check_port(self.directory.settings.listen)
            _forget_flowers_state(self.directory)
            try:
                self._start_link(first=True)
                self.on_up()
                _log.info("up", address=f"https://{self.directory.loopback}", directory=str(self.directory.path))
                while not self._ending.wait(_TURN_S):
                    self._turn()
            finally:
                if self._coordinator is not None:
                    processes.end(self._coordinator.process)
                processes.end(self._link)
                _log.info("down")

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending.set()

    def _turn(self) -> None:
        if self._link is None or self._link.poll() is not None:
            self._restart_link()
            return
        if not self._trouble.over:
            return
        try:
            self._look_after_runs()
        except (TacitError, OSError) as error:  # a database that is away comes back: link and coordinator stay
            self._trouble.failed()
            _log.error("runs could not be looked after and soon will be again", why=str(error))
        else:
            self._trouble.worked()

    def _look_after_runs(self) -> None:
        """End what has ended and begin what is due. What raises has changed nothing, and is done again."""
        if self._coordinator is not None:
            if self._coordinator.process.poll() is None:
                return
            self._coordinator_ended(self._coordinator)
            self._coordinator = None
        if self._run_backoff.over:
            due = self._due()
            if due is not None:
                self._start_coordinator(due)

    def _due(self) -> RunRow | None:
        """The run that should be at work; none while a restore is not settled."""
        with self.database.begin() as session:
            due = runs.next_due(session, time.time())
            if due is None:
                return None
            why = resolving.obstacle(session, backup.restoration(self.directory), self._since)
            if why and due.reason != why:
                _log.error("no run goes on", run=due.name, why=why)
            due.reason = why
            session.flush()
            session.expunge(due)
        return None if why else due

    def _start_link(self, first: bool) -> None:
        environment = {"FLWR_HOME": str(self.directory.flower_home), **_QUIET}
        self._link = processes.start("tacit_server.deployment.link", [str(self.directory.path)], environment)
        until = time.monotonic() + _UP_S
        while not is_up(self.directory.loopback, self.directory.authority):
            if self._link.poll() is not None:
                if first:
                    raise BadInput(f"the server could not listen on {self.directory.loopback}; what it said is above")
                return
            if time.monotonic() > until or self._ending.wait(0.1):
                return
        self._link_backoff.worked()

    def _restart_link(self) -> None:
        if self._link_backoff.over:
            _log.error("the link ended and is started again", code=self._link.returncode if self._link else None)
            self._link_backoff.failed()
            self._start_link(first=False)

    def _start_coordinator(self, row: RunRow) -> None:
        control, rounds = self._control(), self._rounds(row.name)
        try:
            flower_run = control.start(bundle(), node_config(RunSettings.of_text(row.settings)))
        except EngineFailed as error:
            _log.error("a run could not be started", run=row.name, why=str(error))
            self._run_backoff.failed()
            return
        finally:
            control.close()
        environment = {"FLWR_HOME": str(self.directory.flower_home), **_QUIET}
        arguments = [str(self.directory.path), row.name]
        process = processes.start("tacit_server.deployment.serving", arguments, environment)
        _log.info("coordinator started", run=row.name, flower_run=flower_run, pid=process.pid)
        self._coordinator = _Coordinator(row.name, flower_run, process, rounds)

    def _coordinator_ended(self, ended: _Coordinator) -> None:
        """Tidy up after it, and decide when to try again."""
        if ended.process.returncode:  # else Flower knows that its run is over
            control = self._control()
            with suppress(EngineFailed):
                control.stop(ended.flower_run)
            control.close()
        progress = self._rounds(ended.run) > ended.rounds
        with self.database.begin() as session:
            row = runs.found(session, ended.run)
            crashed = row.state == "running"
            waits = row.state == "paused" and row.wanted == "run"  # too few devices: look again, but not all the time
            if crashed:
                why = f"the coordinator ended with code {ended.process.returncode}"
                audit.record(session, audit.SERVER, "run.crash", row.name, refused=why)
                if not progress and self._run_backoff.failures + 1 >= _MOST_FAILURES:
                    row.state, row.ended = "failed", time.time()
                    row.reason = f"{why}, {_MOST_FAILURES} times; see the log"
            else:
                _log.info("run", run=row.name, state=row.state, reason=row.reason)
        if progress or not crashed:  # only now that it is stored: a failure that is written down again is one failure
            self._run_backoff.worked()
        if crashed or waits:
            self._run_backoff.failed()

    def _rounds(self, run: str) -> int:
        with self.database.begin() as session:
            return len(status.rounds_of(session, run))

    def _control(self) -> SuperLinkControl:
        secret = self.directory.link_secret.read_bytes()
        return SuperLinkControl(self.directory.loopback, self.directory.authority, secret)


_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}


def _check_port(listen: ListenSettings) -> None:
    """Raises BadInput where nobody can listen there: before anything says so at length."""
    try:
        family = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((listen.host, listen.port), family=family).close()
    except OSError as error:
        raise BadInput(
            f"cannot listen on {listen.host}:{listen.port} ({error.strerror}); end what has the port, or change "
            "[listen] in server.toml"
        ) from error


def _forget_flowers_state(directory: ServerDirectory) -> None:
    """Messages of an earlier ``up`` are of rounds that are over; nodes are made known anew from the database."""
    for end in ("", "-wal", "-shm", "-journal"):
        directory.superlink_database.with_name(directory.superlink_database.name + end).unlink(missing_ok=True)
