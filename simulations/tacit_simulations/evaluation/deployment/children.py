"""The processes of a measurement. None outlives it, whatever it ends by."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import psutil

from tacit_privacy.errors import EngineFailed
from tacit_server.deployment.processes import tie

QUIET: Final = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
_LOOK_S, _GRACE_S, _KILLED_S, _TAIL = 0.2, 3.0, 10.0, 1500


@dataclass
class Child:
    """A process that stays; what it says is in ``log``."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def tail(self) -> str:
        """Its last words."""
        return self.log.read_text(errors="replace")[-_TAIL:].strip() or "it said nothing"

    def resident_bytes(self) -> dict[str, int]:
        """Memory of the process and of those that it started, by what each of them runs."""
        found: dict[str, int] = {}
        try:
            for process in [root := psutil.Process(self.process.pid), *root.children(recursive=True)]:
                found[_role(process.cmdline())] = int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            pass
        return found

    def processor_s(self) -> float:
        """Processor seconds of the process and of those that it started and that still run."""
        try:
            family = [root := psutil.Process(self.process.pid), *root.children(recursive=True)]
            return sum(sum(process.cpu_times()[:2]) for process in family)
        except psutil.NoSuchProcess:
            return 0.0


@dataclass
class Children:
    """A context manager: when it ends, so does everything that was started here, and what that has started."""

    folder: Path
    _started: list[Child] = field(default_factory=list)
    _before: Any = None  # what SIGTERM did

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Run ``command`` below the folder, in a session of its own, so that Ctrl+C reaches this process alone."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as said:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **QUIET, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=tie(),
            )
        child = Child(name, process, log)
        self._started.append(child)
        return child

    def run(self, *commands: Sequence[str], environments: Sequence[Mapping[str, str]] = ()) -> None:
        """Run commands to their end, as many at a time as there are processors. Raises EngineFailed."""
        waiting = list(zip(commands, environments or [{}] * len(commands), strict=True))
        running: list[Child] = []
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                running.append(self.start(f"command{len(self._started)}", *waiting.pop(0)))
            time.sleep(_LOOK_S / 10)
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                self._started.remove(child)
                if child.process.returncode:
                    raise EngineFailed(f"a command ended with {child.process.returncode}: {child.tail()}")

    def wait(self, holds: Callable[[], Any], what: str, patience_s: float, every_s: float = _LOOK_S) -> Any:
        """What ``holds`` returns once it is true. Raises EngineFailed where it takes too long or a process ends."""
        until = time.monotonic() + patience_s
        while not (found := holds()):
            for child in self._started:
                if child.process.poll() is not None:
                    raise EngineFailed(f"{child.name} ended with {child.process.returncode}: {child.tail()}")
            if time.monotonic() > until:
                raise EngineFailed(f"waited {patience_s:g} s in vain: {what}")
            time.sleep(every_s)
        return found

    def __enter__(self) -> "Children":
        """SIGTERM then ends this process as Ctrl+C does, with everything taken down."""
        self._before = signal.signal(signal.SIGTERM, _end)
        return self

    def __exit__(self, *raised: object) -> None:
        """Ask all of them at once, then make them; what they started goes with them."""
        families = [family for child in self._started for family in _family(child.process.pid)]
        for child in self._started:
            if child.process.poll() is None:
                child.process.terminate()
        psutil.wait_procs(families, timeout=_GRACE_S)
        for process in families:
            if process.is_running():
                process.kill()
        psutil.wait_procs(families, timeout=_KILLED_S)
        for child in self._started:
            child.process.wait()
        signal.signal(signal.SIGTERM, self._before)


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _role(command: Sequence[str]) -> str:
    """What a process runs, in one word: ``link`` of ``python -m tacit_server.deployment.link``."""
    if "-m" in command:
        return command[command.index("-m") + 1].rpartition(".")[2]
    words = [word for word in command[1:] if not word.startswith("-")]
    return words[1] if len(words) > 1 else Path(command[0] if command else sys.executable).name
