"""The tutorial of docs/deployment.md, command by command, with a directory for each machine. Only address and port are
put in the place of the example's.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import ENVIRONMENT, free_port

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
BLOCK = re.compile(r"<!-- rehearse: (A|B)( [a-z ]+)? -->\n```bash\n(.*?)```", re.DOTALL)
PATIENCE_S = 150.0


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Path]]:
    found = {name: tmp_path / name for name in "AB"}
    for folder in found.values():
        folder.mkdir()
    yield found


class Terminal:
    """Runs blocks as a person would, some of them in the background until the end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._staying: list[subprocess.Popen[bytes]] = []
        binaries = str(Path(sys.executable).parent)
        self._environment = {**os.environ, **ENVIRONMENT, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}

    def command(self, block: str) -> str:
        local = f"--name localhost --host 127.0.0.1 --port {self._port}"
        here = block.replace("--name fleet.example.org", local)
        return here.replace("https://fleet.example.org:8443", f"https://localhost:{self._port}")

    def run(self, block: str, folder: Path) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.command(block)],
            cwd=folder, env=self._environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def stay(self, block: str, folder: Path) -> None:
        with (folder / f"stays{len(self._staying)}.log").open("wb") as log:
            words = ["bash", "-c", "exec " + self.command(block).strip()]
            self._staying.append(
                subprocess.Popen(
                    words, cwd=folder, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
            )

    def close(self) -> None:
        for process in reversed(self._staying):
            process.terminate()
        for process in self._staying:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.mark.timeout(420)
def test_the_tutorial_works_as_it_is_written(machines: dict[str, Path]) -> None:
    terminal = Terminal(free_port())
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == 11, "a block was added to the tutorial, or lost its mark"
    said = ""
    try:
        for machine, how, block in blocks:
            folder = machines[machine]
            if how == " stays":
                terminal.stay(block, folder)
                time.sleep(3.0)
            elif how == " until finished":
                until = time.monotonic() + PATIENCE_S
                while "first: finished" not in (said := terminal.run(block, folder)):
                    assert time.monotonic() < until, said
                    time.sleep(1.0)
            else:
                said = terminal.run(block, folder)
            if (machines["A"] / "token-b").exists() and not (machines["B"] / "token-b").exists():
                shutil.copy(machines["A"] / "token-b", machines["B"])
    finally:
        terminal.close()
    assert "ledger.jsonl verifies" in said, said
