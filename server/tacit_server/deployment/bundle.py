"""The Flower app bundle of a deployment: settings for nodes and not a line of code; what is installed is run."""

from typing import Final

from tacit_server.config import AdapterConfig
from tacit_server.deployment.settings import RunSettings
from tacit_server.flower_seam import bundle_of

_PYPROJECT: Final = """[project]
name = "tacit-deployment"
version = "1.0.0"
description = "Names installed apps and carries no code"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "tacit"

[tool.flwr.app.components]
serverapp = "tacit_server.deployment.serving:app"
clientapp = "tacit_clients.app:app"

[tool.flwr.app.config]
model = ""
data = "home"
data-settings = "{}"
adapter-method = "ffa"
adapter-rank = 0
adapter-alpha = 0.0
adapter-seed = 0
adapter-targets = ""
"""


def bundle() -> bytes:
    """The same bytes for every run and every server of a version."""
    return bundle_of(_PYPROJECT)


def node_config(settings: RunSettings) -> dict[str, str | int | float | bool]:
    """What a stock SuperNode reads of a run; a resident device was told when it enrolled, and reads none of it."""
    adapter: AdapterConfig = settings.adapter
    return {
        "model": settings.fleet.model,
        "adapter-method": adapter.method,
        "adapter-rank": adapter.rank,
        "adapter-alpha": adapter.alpha,
        "adapter-seed": adapter.seed,
        "adapter-targets": ", ".join(adapter.targets),
    }
