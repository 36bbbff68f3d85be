"""``tacit gateway`` as people start it: a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

FENCE = Path(__file__).with_name("fenced_gateway.py")


@dataclass
class Process:
    """A running gateway: where it is, and what it said on stderr once it has ended."""

    base_url: str
    page: str
    models: list[str]
    child: "subprocess.Popen[str]"
    log: IO[str]  # a file and no pipe: one that nobody reads would stop a gateway that has said much
    stderr: str = ""
    exit_code: int | None = field(default=None)

    def stop(self, number: int = signal.SIGTERM, patience_s: float = 20) -> int:
        if self.exit_code is None:
            self.child.send_signal(number)
            self.child.communicate(timeout=patience_s)
            self.stderr = _whole(self.log)
            self.exit_code = self.child.returncode
        return self.exit_code


@contextlib.contextmanager
def gateway(*arguments: str, fenced_to: int | None = None, **environment: str) -> Iterator[Process]:
    """Start with ``--json`` and wait for its one document."""
    start = ["-m", "tacit_privacy"] if fenced_to is None else [str(FENCE), str(fenced_to)]
    if fenced_to is None:
        start = ["-c", "import sys; from tacit_privacy.cli import main; sys.exit(main())"]
    command = [sys.executable, *start, "gateway", "--port", "0", "--json", *arguments]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment}
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=surroundings)
        process: Process | None = None
        try:
            told = _document(child, log)
            process = Process(told["base_url"], told["page"], told["models"], child, log)
            yield process
        finally:
            if process is not None and process.exit_code is None:
                process.stop()
            elif child.poll() is None:
                child.kill()
                child.communicate()


def _whole(log: IO[str]) -> str:
    log.seek(0)
    return log.read()


def _document(child: "subprocess.Popen[str]", log: IO[str]) -> dict[str, Any]:
    lines: list[str] = []
    for line in child.stdout or ():
        lines.append(line)
        if line == "}\n":
            told: dict[str, Any] = json.loads("".join(lines))
            return told
    child.communicate()
    raise RuntimeError(f"the gateway ended with {child.returncode}: {_whole(log)}")
