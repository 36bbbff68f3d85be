"""The console by itself: over plain HTTP, on loopback alone."""

import socket

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.keys import SigningKey
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.web.console.console import Console
from tacit_server.web.console.door import Cookies
from tacit_server.web.counting import Counts

_HOST = "127.0.0.1"
_NAMES = ("127.0.0.1", "localhost")  # another name in a request means DNS rebinding


class Alone:
    """Listens once it is made, so that its port is known; serves once it runs."""

    def __init__(self, directory: ServerDirectory, database: ServerDatabase, port: int) -> None:
        """Raises BadInput where the port is taken."""
        self._socket = _listening(port)
        self._port = int(self._socket.getsockname()[1])
        key = SigningKey.load(directory.signing_key).public
        console = Console(directory, database, key, Cookies.of_loopback(self._port), Counts())
        known = Middleware(TrustedHostMiddleware, allowed_hosts=list(_NAMES), www_redirect=False)
        self._app = Starlette(routes=console.routes(), middleware=[known])

    @property
    def address(self) -> str:
        return f"http://{_HOST}:{self._port}/console"

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        config = uvicorn.Config(
            self._app,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=3,
        )
        uvicorn.Server(config).run(sockets=[self._socket])


def _listening(port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((_HOST, port))
        found.listen(64)
    except OSError as error:
        found.close()
        raise BadInput(f"cannot listen on port {port}: {error.strerror}; choose another with --port") from error
    return found
