"""The physical limit of a round: the same bytes through the same port, by a plain download."""

import statistics
import time
from importlib.metadata import version

from tacit_clients.device.enrolling import fingerprint_of
from tacit_clients.device.server import Server
from tacit_clients.flower_seam import NodeKey
from tacit_privacy.enrolment import AdapterManifest, DeviceReport
from tacit_privacy.errors import EngineFailed
from tacit_privacy.ledger.keys import SigningKey
from tacit_simulations.evaluation.deployment.fleets import enrolled
from tacit_simulations.evaluation.deployment.throwaway import ThrowAway


def download(server: ThrowAway, times: int = 7) -> dict[str, float]:
    """Bytes of the newest adapter and the median seconds to fetch it over a connection that is open already."""
    signing, authority = SigningKey.generate(), server.directory.authority.read_text(encoding="ascii")
    placed = enrolled(server, "reader", server.tokens(1)[0], signing, NodeKey.generate())
    connection = Server(server.address, authority, fingerprint_of(authority), signing)
    try:
        notice = connection.report(DeviceReport(version=version("tacit"), code="", activity="reading"))
        if not notice.newest:
            raise EngineFailed("no round has released an adapter that could be fetched")
        signature = bytes.fromhex(notice.newest_signature)
        manifest = AdapterManifest.verified(notice.newest.encode(), signature, placed.server_key)
        seconds = [_fetch(connection, manifest) for _ in range(times + 1)]
    finally:
        connection.close()
    return {"bytes": manifest.size, "seconds": statistics.median(seconds[1:])}


def _fetch(connection: Server, manifest: AdapterManifest) -> float:
    begin = time.perf_counter()
    if len(connection.adapter(manifest.vector, 0, manifest.size)) != manifest.size:
        raise EngineFailed("a download was cut short")
    return time.perf_counter() - begin
