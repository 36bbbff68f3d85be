"""The device's line to SuperLink: one connection for messages, one for heartbeats while it may be asked."""

import threading
from contextlib import suppress

from tacit_clients.flower_seam import HEARTBEAT_S, FleetConnection, NodeKey
from tacit_privacy.errors import TacitError

_BEATS_EARLY = 0.8  # of the time that SuperLink counts on


class FleetLink:
    """Opened when it is first needed. A node that was given another number begins anew."""

    def __init__(self, address: str, authority: str, key: NodeKey, node_id: str) -> None:
        self._address, self._authority, self._key, self._node_id = address, authority, key, node_id
        self._messages: FleetConnection | None = None
        self._heart: _Heart | None = None

    @property
    def messages(self) -> FleetConnection:
        if self._messages is None:
            self._messages = self._connection()
        return self._messages

    def online(self) -> None:
        """Be asked from now on. Raises as ``FleetConnection`` does."""
        if self._heart is None:
            self.messages.heartbeat()
            self._heart = _Heart(self._connection())
            self._heart.start()

    def offline(self) -> None:
        """Be asked no more."""
        if self._heart is not None:
            self._heart.stop()
            self._heart = None
            with suppress(TacitError):
                self.messages.offline()

    def renew(self, node_id: str) -> None:
        """Go on under the number that the server gave the node now."""
        self.close()
        self._node_id = node_id

    def close(self) -> None:
        self.offline()
        if self._messages is not None:
            self._messages.close()
            self._messages = None

    def _connection(self) -> FleetConnection:
        return FleetConnection(self._address, self._authority, self._key, int(self._node_id))


class _Heart(threading.Thread):
    """Keeps the node online while the device works."""

    def __init__(self, connection: FleetConnection) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self._connection, self._stopping = connection, threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(_BEATS_EARLY * HEARTBEAT_S):
            with suppress(TacitError):  # the loop finds out by itself
                self._connection.heartbeat()
        self._connection.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join(timeout=5.0)
