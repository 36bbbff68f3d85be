"""What people copy from docs/deploy names commands and files that exist, and the operator's page names every metric."""

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import servers

from tacit_privacy import cli
from tacit_privacy.pii.vault.keys import CREDENTIAL
from tacit_server.deployment import status
from tacit_server.deployment.database import ServerDatabase
from tacit_server.web.counting import Counts

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
UNITS = sorted(path for path in DEPLOY.iterdir() if path.suffix in (".service", ".timer"))
CONTAINER = (DEPLOY / "Containerfile").read_text()


def typed() -> list[str]:
    """Every ``tacit ...`` that a file below docs/deploy runs or tells to type."""
    found = [line for path in UNITS for line in re.findall(r"tacit ((?:server|device) [^|'\n]*)", path.read_text())]
    (entry,) = re.findall(r"^ENTRYPOINT \[(.*)\]$", CONTAINER, re.MULTILINE)
    (words,) = re.findall(r"^CMD \[(.*)\]$", CONTAINER, re.MULTILINE)
    assert entry == '"tacit"'
    inside = " ".join(re.findall(r'"([^"]*)"', words))
    return [*found, inside, *re.findall(r"^#.* tacit tacit ([^\n]*)", CONTAINER, re.MULTILINE)]


def resolved(line: str) -> tuple[click.Command, list[str]]:
    """The command that a line begins with, and what is left of it."""
    command: click.Command = cli.root()
    words = line.split()
    while isinstance(command, click.Group):
        inner = command.get_command(click.Context(command), words[0])
        assert inner is not None, f"tacit {line}: no command {words[0]}"
        command, words = inner, words[1:]
    return command, words


@pytest.mark.parametrize("line", typed())
def test_every_command_and_option_exists(line: str) -> None:
    command, words = resolved(line)
    known = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
    assert [word for word in words if word.startswith("--") and word not in known] == []


def test_files_name_the_commands_that_they_are_about() -> None:
    starts = {" ".join(line.split()[:2]) for line in typed()}
    assert {"server up", "server init", "server backup", "device run"} <= starts


def test_units_name_each_other() -> None:
    names = {path.name for path in UNITS}
    told = {name for path in UNITS for name in re.findall(r"\btacit-[\w-]+\.(?:service|timer)", path.read_text())}
    assert told <= names
    assert {path.stem for path in UNITS if path.suffix == ".timer"} <= {p.stem for p in UNITS if p.suffix == ".service"}


def test_the_credential_is_the_one_that_a_store_asks_for() -> None:
    assert f"LoadCredentialEncrypted={CREDENTIAL}:" in (DEPLOY / "tacit-device.service").read_text()


def test_long_running_services_are_hardened() -> None:
    for name in ("tacit-server.service", "tacit-device.service"):
        said = (DEPLOY / name).read_text()
        for wanted in ("NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", "Restart=on-failure", "User="):
            assert wanted in said, (name, wanted)
        assert "MemoryMax=" in said


def test_the_container_holds_what_is_copied_and_runs_as_nobody() -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINER, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    assert re.search(r"^USER \d+:\d+$", CONTAINER, re.MULTILINE) and "HEALTHCHECK" in CONTAINER
    code = re.search(r'CMD \["python", "-c", "(.*)"\]', CONTAINER)
    assert code is not None
    compile(code[1], "health", "exec")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_reads_the_units(tmp_path: Path) -> None:
    """With a program in the place of tacit: verify looks whether it is there."""
    program = tmp_path / "tacit"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/tacit/bin/tacit", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(str(path) for path in tmp_path.glob("tacit-*"))],
        capture_output=True,
        text=True,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "tacit" in line]
    assert (done.returncode, ours) == (0, [])


def metrics(tmp_path: Path) -> set[str]:
    """As /metrics tells them."""
    made = servers.directory(tmp_path / "server")
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        gauges = {f"tacit_{name}" for name in status.counts(session)} | {"tacit_certificate_seconds_left"}
    counted = re.findall(r"^# TYPE (\w+) counter$", Counts().text().decode(), re.MULTILINE)
    assert len(counted) >= 4
    return gauges | set(counted)


def test_every_metric_is_explained(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    explained = set(re.findall(r"`(tacit_\w+)", page))
    assert metrics(tmp_path) == explained
