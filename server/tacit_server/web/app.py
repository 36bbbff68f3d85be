"""Tacit's own part of the port, put together: devices' interface, health, metrics, the console."""

from collections.abc import Callable

from starlette.applications import Starlette

from tacit_privacy.ledger.keys import SigningKey
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.flower_post import Post
from tacit_server.web.console.console import Console
from tacit_server.web.console.door import Cookies
from tacit_server.web.counting import Counts
from tacit_server.web.devices import DeviceInterface
from tacit_server.web.health import Health
from tacit_server.web.mail import Mail
from tacit_server.web.messages import MessageInterface


def build(
    directory: ServerDirectory,
    database: ServerDatabase,
    key: SigningKey,
    mail: Mail,
    counts: Counts,
    registered: Callable[[str], str],
    post: Post,
) -> Starlette:
    """``registered``: makes a node key known to SuperLink and tells its number."""
    devices = DeviceInterface(
        database, directory.settings, key, directory.authority.read_bytes(), mail, counts, registered
    )
    health = Health(directory, database, counts)
    console = Console(directory, database, key.public, Cookies.of_server(), counts)
    messages = MessageInterface(post, mail, counts)
    return Starlette(routes=[*devices.routes(), *messages.routes(), *health.routes(), *console.routes()])
