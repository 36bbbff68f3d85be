"""A server that is put up to be measured: real commands, real TLS, in a folder that goes away with it."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy.orm import Session

from tacit_clients.gateway.serving import listening
from tacit_privacy.errors import EngineFailed
from tacit_privacy.ledger.transfer import export, is_sealed
from tacit_privacy.ledger.verify import Verification, verify
from tacit_privacy.settings_files import read_toml, toml_text
from tacit_server.deployment import admission, audit, status
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.deployment.runs import ENDED, found
from tacit_server.deployment.settings import DeploymentSettings
from tacit_server.flower_seam import is_up
from tacit_simulations.evaluation.deployment.children import Child, Children

TACIT: Final = str(Path(sys.executable).with_name("tacit"))
RUN: Final = "measured"
Answer = TypeVar("Answer")
_UP_S, _ROUND_S = 90.0, 300.0


def free_port() -> int:
    """A port of this machine that was free a moment ago."""
    with closing(listening("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


@dataclass
class ThrowAway:
    """The server below ``children.folder``; ``devices`` are planned for, and ``rounds`` asked of each at most."""

    children: Children
    devices: int
    rounds: int
    adapter: dict[str, Any]  # table of server.toml

    def start(self) -> Child:
        """Make the directory and put the server up. Raises EngineFailed."""
        self._port = free_port()
        plan = ("--devices", str(self.devices), "--participations", str(self.rounds))
        where = ("--dir", str(self.path), "--port", str(self._port))
        self.children.run([TACIT, "server", "init", *where, *plan])
        self._settle()
        self.up = self.children.start("server", [TACIT, "server", "up", "--dir", str(self.path)])
        address, authority = self.directory.loopback, self.directory.authority
        self.children.wait(lambda: is_up(address, authority), "the server does not answer", _UP_S)
        return self.up

    def _settle(self) -> None:
        """What an operator writes into server.toml: the adapter, and to wait until everybody is there."""
        config = self.path / "server.toml"
        table = read_toml(config)
        table["adapter"] = table["adapter"] | self.adapter
        table["joining"] = {"nodes": self.devices}
        config.write_text(toml_text(table, DeploymentSettings), encoding="utf-8")

    @property
    def path(self) -> Path:
        return self.children.folder / "server"

    @cached_property
    def directory(self) -> ServerDirectory:
        return ServerDirectory.open(self.path)

    @property
    def address(self) -> str:
        """Host and port, by the name that the certificate says."""
        return f"localhost:{self._port}"

    def tokens(self, count: int) -> list[str]:
        """One-time tokens, all in one transaction."""
        fingerprint = self.directory.fingerprint
        return self._asked(
            lambda session: [
                admission.new_token(session, audit.COMMAND_LINE, fingerprint, note="measured", hours=1.0)
                for _ in range(count)
            ]
        )

    def schedule(self, changes: dict[str, Any]) -> None:
        """Plan the run that is measured; it begins once everybody is there."""
        told = [word for name, value in changes.items() for word in ("--set", f"{name}={json.dumps(value)}")]
        command = [TACIT, "server", "run", "schedule", RUN, "--dir", str(self.path), "--rounds", str(self.rounds)]
        self.children.run([*command, "--cohort", str(self.devices), *told])

    def held(self, seen: Callable[[int], None] = lambda rounds: None) -> list[dict[str, Any]]:
        """Records of the run's rounds, once it has ended; ``seen`` is told how many there are whenever it is one more.

        Raises EngineFailed where the run comes to another end than its last round.
        """
        state, done = "scheduled", 0
        while state not in ENDED and state != "paused":
            state, rounds = self._next(done)
            if rounds > done:
                done = rounds
                seen(done)
        records = self._asked(lambda session: status.rounds_of(session, RUN))
        if state != "finished":
            reason = self._asked(lambda session: found(session, RUN).reason)
            raise EngineFailed(f"the run is {state} after {len(records)} of {self.rounds} rounds: {reason}")
        return records

    def _next(self, done: int) -> tuple[str, int]:
        """The run's state and its rounds, once there are more than ``done`` or it goes no further."""
        found: tuple[str, int] = self.children.wait(lambda: self._news(done), "no round comes to its end", _ROUND_S)
        return found

    def _news(self, done: int) -> tuple[str, int] | None:
        state, rounds = self._asked(lambda session: (found(session, RUN).state, len(status.rounds_of(session, RUN))))
        return (state, rounds) if rounds > done or state in ENDED or state == "paused" else None

    def verified(self) -> Verification:
        """The ledger as an outsider sees it, receipts and all."""
        out = self.children.folder / "exported"
        out.mkdir(exist_ok=True)
        self._asked(lambda session: export(session, out, receipts=not is_sealed(session)))
        lines = (out / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
        receipts = (out / "receipts.jsonl").read_text(encoding="utf-8").splitlines()
        return verify(lines, (out / "ledger.pub").read_text(encoding="utf-8").strip(), receipts=receipts)

    def _asked(self, question: Callable[[Session], Answer]) -> Answer:
        with self._database.begin() as session:
            return question(session)

    @cached_property
    def _database(self) -> ServerDatabase:
        return ServerDatabase(self.directory.database_url)

    def close(self) -> None:
        """Let go of the database; the processes are the children's."""
        self._database.close()
