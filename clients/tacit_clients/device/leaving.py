"""How a device leaves its fleet: the server is told, and what the device kept is erased."""

import shutil

from tacit_clients.device.enrolling import fingerprint_of
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.server import Server
from tacit_privacy.errors import NodeUnknown


def leave(home: DeviceHome, store_key: str, *, tell: bool) -> bool:
    """Erase keys, memory, personal and shared adapters; the server first, so that a failure changes nothing here.

    Returns whether the server was told. Raises ServerUnreachable.
    """
    told = False
    with home.held(), home.journal(store_key) as journal:
        keys = journal.keys()
        if tell and keys is not None and journal.placement() is not None:
            authority = home.authority.read_text(encoding="ascii")
            server = Server(home.settings.server.address, authority, fingerprint_of(authority), keys[0])
            try:
                server.leave()
                told = True
            except NodeUnknown:
                pass  # it knows the device no more: revoked, or gone already
            finally:
                server.close()
        journal.erase()
    home.current.unlink(missing_ok=True)
    home.status.unlink(missing_ok=True)
    for folder in (home.adapters, home.outbox):
        shutil.rmtree(folder, ignore_errors=True)
    for end in ("", "-wal", "-shm", ".key", ".lock"):
        home.store.with_name(home.store.name + end).unlink(missing_ok=True)
    return told
