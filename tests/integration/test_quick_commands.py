"""Commands that ask a server something load neither what computes bounds nor what migrates a database."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import servers
from alembic.script import ScriptDirectory

from tacit_privacy.ledger.database import PRIVACY_TABLES, _config
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.store.database import TABLES

SLOW = ("torch", "flwr", "scipy.stats", "scipy.optimize", "scipy.signal", "alembic", "uvicorn")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ServerDirectory:
    found = servers.directory(tmp_path_factory.mktemp("quick") / "server")
    servers.lived(found)
    return found


@pytest.mark.parametrize("command", ["status", "run list", "device list", "token new"])
def test_a_question_is_answered_without_what_takes_long_to_load(made: ServerDirectory, command: str) -> None:
    code = (
        "import sys; from tacit_privacy.cli import main; code = main(sys.argv[2:]); "
        "print(*(name for name in sys.argv[1].split() if name in sys.modules), file=sys.stderr); sys.exit(code)"
    )
    words = [*("server", *command.split()), "--dir", str(made.path), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, " ".join(SLOW), *words], env=os.environ, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.split()) == (0, []), done.stderr


@pytest.mark.parametrize(("folder", "table"), [PRIVACY_TABLES, TABLES], ids=["ledger", "server"])
def test_a_migration_s_file_begins_with_its_revision(folder: Path, table: str) -> None:
    """By which a database is found to be up to date without Alembic."""
    lineage = list(ScriptDirectory.from_config(_config(folder)).walk_revisions())
    names = sorted(path.name for path in (folder / "versions").glob("*.py"))
    assert [script.revision for script in lineage][::-1] == [re.split(r"[_.]", name)[0] for name in names]
