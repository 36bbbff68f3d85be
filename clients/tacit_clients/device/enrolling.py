"""How a device becomes part of a fleet: it pins the server, shows its keys, and is let in by a token or by a person."""

import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tacit_clients.device.data import device_data
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.journal import Journal
from tacit_clients.device.server import Server, fetch_authority
from tacit_clients.device.settings import DeviceSettings
from tacit_clients.device.trusting import installed_code
from tacit_clients.flower_seam import NodeKey
from tacit_privacy.enrolment import Application, Placement, Token
from tacit_privacy.errors import BadInput, RequestRefused
from tacit_privacy.ledger.keys import SigningKey

_ASK_EVERY_S = 5.0
_WHY = {
    "token": "the token was not made there, has expired or was used already; ask for another",
    "revoked": "an operator revoked this device; only an operator can let it back in",
    "left": "this device left the fleet; it comes back with a new token",
    "server": "it was asked in the name of another server; copy the token again",
    "full": "too many devices wait for approval there; ask for a token",
    "time": "the clocks of device and server are more than five minutes apart; set the device's clock",
}


@dataclass(frozen=True)
class Wanted:
    """What the owner typed."""

    settings: dict[str, Any]
    token: Token | None
    fingerprint: str  # where there is no token: what the server is pinned by
    key: str = ""  # where the store's key is
    wait_s: float = 0.0  # for approval


def enrol(path: Path, wanted: Wanted, say: Callable[[str], None]) -> Placement:
    """Make the device's directory and have it admitted; safe to repeat. Raises BadInput or ServerUnreachable."""
    settings = DeviceSettings.of(wanted.settings, "the device's settings")
    device_data(settings.data)  # a token is of use once: not for a device whose examples cannot be read
    expected = wanted.token.fingerprint if wanted.token else wanted.fingerprint
    authority, is_new = _pinned(settings.server.address, expected), not path.exists()
    home = DeviceHome.make(path, wanted.settings, authority)
    _check_the_same(home, settings, wanted.settings)
    try:
        return _enrolled(home, authority, expected, wanted, say)
    except _Refused:
        if is_new:  # nothing is left of a device that never was
            shutil.rmtree(path)
        raise


def _check_the_same(home: DeviceHome, settings: DeviceSettings, told: dict[str, Any]) -> None:
    """Raises BadInput where a directory is that of another device, or of one that is set otherwise."""
    if home.settings.server.url != settings.server.url:
        raise BadInput(f"{home.path} is of a device of {home.settings.server.url}; choose another --dir")
    same = {
        "name": home.settings.name == settings.name,
        "data": (home.settings.data.path, home.settings.data.vault) == (settings.data.path, settings.data.vault),
    }
    for name in told.keys() & same.keys():
        if not same[name]:
            raise BadInput(f"{home.config} is there and says another {name}; edit it, or choose another --dir")


class _Refused(BadInput):
    """The server said no."""


def _enrolled(home: DeviceHome, authority: str, expected: str, wanted: Wanted, say: Callable[[str], None]) -> Placement:
    settings = home.settings
    with home.held(), home.journal(wanted.key, create=True) as journal:
        if not journal.code():
            journal.trust(installed_code())
        signing, node = journal.keys() or journal.make_keys()
        asked = Application(
            server=expected,
            public_key=signing.public,
            node_key=node.public,
            name=settings.name or platform.node()[:100] or "device",
            token=wanted.token.secret if wanted.token else "",
        )
        server = Server(settings.server.address, authority, expected, signing)
        try:
            placed = _asked(server, journal, asked, signing, node, wanted.wait_s, say)
        finally:
            server.close()
        home.pin(authority)  # of a server that was made anew at the same address, too
        return placed


def _pinned(address: str, expected: str) -> str:
    """The server's authority, PEM, which is what the owner was told. Raises BadInput."""
    authority = fetch_authority(address)
    found = fingerprint_of(authority)
    if found != expected:
        raise BadInput(
            f"the server at {address} shows an authority with fingerprint {found[:16]}..., and {expected[:16]}... was "
            "expected: it is another server, or somebody is between; nothing was sent to it"
        )
    return authority


def fingerprint_of(authority: str) -> str:
    """SHA-256 of a certificate, hexadecimal. Raises BadInput."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        return x509.load_pem_x509_certificate(authority.encode()).fingerprint(hashes.SHA256()).hex()
    except ValueError as error:
        raise BadInput("the server shows no certificate of an authority; check the address") from error


def signed_application(asked: Application, signing: SigningKey, node: NodeKey) -> dict[str, Any]:
    """What a server is sent: the application, signed by both keys."""
    return {
        "application": asked.model_dump(mode="json"),
        "signature": signing.sign(asked.signed()).hex(),
        "node_signature": node.sign(asked.signed()).hex(),
    }


def _asked(
    server: Server,
    journal: Journal,
    asked: Application,
    signing: SigningKey,
    node: NodeKey,
    wait_s: float,
    say: Callable[[str], None],
) -> Placement:
    body = signed_application(asked, signing, node)
    until, told = time.monotonic() + wait_s, False
    while True:
        try:
            placed = server.enrol(body)
        except RequestRefused as refused:
            raise _Refused(_WHY.get(refused.reason, f"the server refused: {refused.reason}")) from refused
        if placed.state == "admitted":
            journal.place(placed)
            return placed
        if not told:
            say(f"waiting for approval; the key to compare at the server: {asked.public_key[:16]}")
            told = True
        if time.monotonic() >= until:
            return placed
        time.sleep(min(_ASK_EVERY_S, max(0.1, until - time.monotonic())))
