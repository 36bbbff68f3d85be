"""Tacit's own part of the port, put together: devices' interface, health, metrics."""

from collections.abc import Callable

from starlette.applications import Starlette

from tacit_privacy.ledger.keys import SigningKey
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.web.counting import Counts
from tacit_server.web.devices import DeviceInterface
from tacit_server.web.health import Health
from tacit_server.web.mail import Mail


def build(
    directory: ServerDirectory,
    database: ServerDatabase,
    key: SigningKey,
    mail: Mail,
    counts: Counts,
    registered: Callable[[str], str],
) -> Starlette:
    """``registered``: makes a node key known to SuperLink and tells its number."""
    devices = DeviceInterface(
        database, directory.settings, key, directory.authority.read_bytes(), mail, counts, registered
    )
    health = Health(directory, database, counts)
    return Starlette(routes=[*devices.routes(), *health.routes()])
