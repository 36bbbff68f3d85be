"""The Flower ServerApp: a thin shell that runs a coordinator against the Grid that Flower hands over."""

import os
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from numpy.typing import NDArray

from tacit_server.coordinator import Coordinator

# Records of Flower's Context.state: what a ServerApp, which returns nothing, leaves to whoever called it.
STATE_ADAPTER = "tacit.adapter"  # ArrayRecord: one float32 array (dimension,)
STATE_OUTCOME = "tacit.outcome"  # ConfigRecord {"stopped": str}: why the run ended early; empty when it did not


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run ends with."""

    adapter: NDArray[np.float32]  # (dimension,)
    stopped: str


def make_server_app(coordinator_of: Callable[[Grid, Context], Coordinator]) -> ServerApp:
    """A ServerApp that runs the coordinator of ``coordinator_of``; ``outcome_of`` reads what it leaves.

    Errors of the coordinator go through to the caller: Flower then ends the run as failed.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        coordinator = coordinator_of(grid, context)
        server = coordinator.run()
        context.state[STATE_ADAPTER] = ArrayRecord([server.adapter.astype(np.float32)])
        context.state[STATE_OUTCOME] = ConfigRecord({"stopped": coordinator.stopped})

    return app


def outcome_of(context: Context) -> Outcome:
    """What the ServerApp left in ``context`` when it returned."""
    (adapter,) = context.state.array_records[STATE_ADAPTER].to_numpy_ndarrays()
    stopped = context.state.config_records[STATE_OUTCOME]["stopped"]
    return Outcome(np.asarray(adapter, dtype=np.float32), str(stopped))


def _plain(grid: Grid, context: Context) -> None:
    from tacit_server.plain import PlainFederation  # whoever brings a coordinator of their own needs none of it

    with PlainFederation.of(context) as federation:
        make_server_app(federation.coordinator)(grid, context)
        federation.export(outcome_of(context).adapter)


app = ServerApp()  # for Flower's own runtimes: serverapp = "tacit_server.app:app"
app.main()(_plain)
