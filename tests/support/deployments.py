"""A real server and real devices, each a process of its own in a folder of its own, on loopback."""

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tacit_privacy.ledger.verify import Verification, verify
from tacit_privacy.settings_files import toml_text
from tacit_server.deployment.runs import ENDED
from tacit_server.deployment.settings import DeploymentSettings

TACIT = str(Path(sys.executable).parent / "tacit")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "FLWR_TELEMETRY_ENABLED": "0"}
NANO = {"rank": 4, "alpha": 8.0, "targets": ["o_proj", "down_proj"]}
PATIENCE_S = 90.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def tacit(*arguments: str, folder: Path, code: int | None = 0, environment: dict[str, str] | None = None) -> str:
    """What a command says on stdout. ``code`` None takes any exit code."""
    done = subprocess.run(
        [TACIT, *arguments],
        cwd=folder,
        env=os.environ | ENVIRONMENT | (environment or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code in (0, None) else done.stdout + done.stderr


def told(*arguments: str, folder: Path) -> dict[str, Any]:
    """The JSON document of a command."""
    found: dict[str, Any] = json.loads(tacit(*arguments, "--json", folder=folder))
    return found


def eventually(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """What ``holds`` returns once it is true. Fails with ``what`` when that takes too long."""
    begun = time.monotonic()
    until = begun + patience_s
    while not (found := holds()):
        assert time.monotonic() < until, f"waited {patience_s:g} s in vain: {what}"
        time.sleep(max(0.2, time.monotonic() - begun))  # a command as a look leaves the machine half of its time
        begun = time.monotonic()
    return found


@dataclass
class Process:
    """A command that stays; what it says is in a file."""

    arguments: list[str]
    folder: Path
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    running: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "Process":
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [TACIT, *self.arguments],
                cwd=self.folder,
                env=os.environ | ENVIRONMENT | self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        return self

    def kill(self) -> None:
        """SIGKILL, without a word before."""
        if self.running is not None:
            self.running.send_signal(signal.SIGKILL)
            self.running.wait(30)
            self.running = None

    def stop(self) -> int | None:
        """SIGTERM; the exit code."""
        if self.running is None:
            return None
        self.running.terminate()
        try:
            code = self.running.wait(30)
        except subprocess.TimeoutExpired:
            self.running.kill()
            code = self.running.wait(30)
        self.running = None
        return code

    @property
    def alive(self) -> bool:
        return self.running is not None and self.running.poll() is None

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Deployment:
    """One server and its devices below ``folder``; a context manager that leaves no process behind."""

    def __init__(self, folder: Path, *, settings: dict[str, dict[str, Any]] | None = None, **options: Any) -> None:
        """``options``: of ``tacit server init``. ``settings``: tables of server.toml that are changed first."""
        self.folder, self.port = folder, free_port()
        self.door = self.port  # where devices come in: another one, where there is a network between
        self.server = folder / "server"
        folder.mkdir(parents=True, exist_ok=True)
        flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        self.made = told("server", "init", "--dir", "server", "--port", str(self.port), *flags, folder=folder)
        if settings:
            self._change(settings)
        self.up = Process(["server", "up", "--dir", "server"], folder, folder / "up.log")
        self.devices: list[Process] = []

    def __enter__(self) -> "Deployment":
        return self

    def __exit__(self, *raised: object) -> None:
        for process in [*self.devices, self.up]:
            process.kill()

    def _change(self, settings: dict[str, dict[str, Any]]) -> None:
        path = self.server / "server.toml"
        table = tomllib.loads(path.read_text())
        for name, inner in settings.items():
            table.setdefault(name, {}).update(inner)
        path.write_text(toml_text(table, DeploymentSettings))

    @property
    def url(self) -> str:
        return f"https://localhost:{self.door}"

    def start(self) -> "Deployment":
        self.up.start()
        eventually(self.answers, "the server does not answer")
        return self

    def answers(self) -> bool:
        assert self.up.alive, self.up.said()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def restart(self) -> None:
        self.up.kill()
        self.start()

    def token(self, *arguments: str) -> str:
        return str(self.told("token", "new", *arguments)["token"])

    def told(self, *arguments: str) -> dict[str, Any]:
        """JSON of a ``tacit server`` command."""
        return told("server", *arguments, "--dir", "server", folder=self.folder)

    def enrol(self, number: int, examples: int = 30, token: str | None = None, vault: str = "") -> Process:
        """A device with data of its own, or with its gateway's vault, admitted and not started yet."""
        name = f"device{number}"
        if not vault:
            write_examples(self.folder / f"{name}.jsonl", examples, seed=number)
        source = ("--vault", vault) if vault else ("--data", f"{name}.jsonl")
        tacit(
            *("device", "enroll", "--server", self.url, "--dir", name, *source, "--name", name),
            folder=self.folder,
            environment={"TACIT_ENROLMENT_TOKEN": token or self.token()},
        )
        with (self.folder / name / "device.toml").open("a") as file:
            file.write("\n[limits]\nnice = 0\n")  # tests beside it are not to be served first
        device = Process(["device", "run", "--dir", name], self.folder, self.folder / f"{name}.log")
        self.devices.append(device)
        return device

    def schedule(self, name: str, *arguments: str) -> None:
        self.told("run", "schedule", name, *arguments)

    def run(self, name: str) -> dict[str, Any]:
        found = self.told("run", "list")["runs"]
        return next(run for run in found if run["name"] == name)

    def ended(self, name: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """The run, once it has ended."""
        eventually(lambda: self._state(name) in ENDED, f"run {name} does not end", patience_s)
        return self.run(name)

    def _state(self, name: str) -> str:
        """Of a run, without the second that a command takes of a machine that is to hold rounds."""
        if not (self.server / "server.db").exists():
            return str(self.run(name)["state"])
        with closing(sqlite3.connect(self.server / "server.db", timeout=30)) as database:
            return str(database.execute("select state from runs where name = ?", (name,)).fetchone()[0])

    def verified(self) -> Verification:
        """The ledger as an outsider sees it."""
        out = self.folder / "exported"
        self.told("export", "--out", str(out))
        return verify((out / "ledger.jsonl").read_text().splitlines(), (out / "ledger.pub").read_text().strip())

    def entries(self) -> list[dict[str, Any]]:
        """The ledger's entries, as exported last."""
        return [json.loads(line) for line in (self.folder / "exported" / "ledger.jsonl").read_text().splitlines()]


def write_examples(path: Path, count: int, seed: int) -> None:
    """Requests of a made-up household."""
    rng = random.Random(seed)
    things, answers = ["lamp", "heater", "radio", "kettle"], ["done", "it is on", "as you wish"]
    rows = [{"prompt": f"turn on the {rng.choice(things)}", "target": rng.choice(answers)} for _ in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
