"""The Flower ServerApp of a deployment, and the process that runs it.

``python -m tacit_server.deployment.serving DIRECTORY RUN``; ``tacit server up`` starts one for every run. It claims the
run at SuperLink itself, so that no token is ever handed from one process to another.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from tacit_privacy.errors import EngineFailed
from tacit_privacy.logs import configure
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.deployment.federation import DeployedFederation
from tacit_server.deployment.plain_logs import adopt

DIRECTORY, RUN = "TACIT_SERVER_DIRECTORY", "TACIT_RUN"
_PATIENCE_S, _PAUSE_S = 20.0, 0.2

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Hold the rounds of the run that the environment names: a bundle could name any."""
    from tacit_server.flower_post import WholeGrid

    directory = ServerDirectory.open(Path(os.environ[DIRECTORY]))
    with DeployedFederation(directory, os.environ[RUN]) as federation:
        federation.run(WholeGrid.of(grid, directory.link_secret.read_bytes()))


def serve(path: str, run: str) -> None:
    """Claim the ServerApp that was started for ``run``, run it and end this process. Raises EngineFailed."""
    from tacit_server.flower_seam import acquire_task, run_server_app

    directory = ServerDirectory.open(Path(path))
    configure(f"run {run}")
    adopt(f"run {run}")
    os.environ |= {DIRECTORY: str(directory.path), RUN: run}
    address, until = directory.loopback, time.monotonic() + _PATIENCE_S
    secret = directory.link_secret.read_bytes()
    while (token := acquire_task(address, directory.authority, secret)) is None:
        if time.monotonic() > until:
            raise EngineFailed("SuperLink handed out no run")
        time.sleep(_PAUSE_S)
    run_server_app(address, directory.authority, token)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
