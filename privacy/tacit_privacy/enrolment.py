"""What a device and its server say to each other outside rounds: how it is let in, what it reports, how it signs."""

import hashlib
import re
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, Field, PositiveInt

from tacit_privacy.contract import Digest, Fact, canonical
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.keys import SigningKey, verifies

TOKEN_PREFIX: Final = "tacit1"
WINDOW_S: Final = 300.0  # how far the clocks of a device and its server may be apart
HEADERS: Final = ("tacit-key", "tacit-time", "tacit-nonce", "tacit-signature")

Key = str


class Application(Fact):
    """What a device sends to be let in, signed with the key that it is known by, and with its node's key."""

    server: Digest  # fingerprint of the server's authority: it is for this server alone
    public_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    node_key: str = Field(min_length=1, max_length=1000)  # PEM
    name: str = Field(max_length=100, pattern=r"^[^\x00]+$")  # which no PostgreSQL keeps
    token: str = Field(default="", max_length=200)

    def signed(self) -> bytes:
        """What both keys sign, so that it is nothing else."""
        return b"tacit enrolment\n" + self.to_bytes()


class Placement(Fact, extra="ignore"):
    """What became of an application. A newer server may say more."""

    state: Literal["admitted", "pending"]
    identity: str = ""  # what the device is called in receipts; empty while it is pending
    node_id: str = ""  # its number at SuperLink
    server_key: str = ""  # signs terms, adapters and the ledger
    first_key: str = ""  # noted by the device: which key it pinned at first, where another took over since
    model: str = ""
    adapter: dict[str, Any] = Field(default_factory=dict)  # how the model is adapted


class DeviceReport(Fact):
    """What a device says of itself now and then. Nothing of it depends on its data."""

    version: str = Field(max_length=40)
    code: str = Field(max_length=100)  # digest of what is installed
    activity: str = Field(max_length=40)  # one stable word
    spec: str = Field(default="", max_length=64)  # digest of the adapter that it is ready for
    installed: str = Field(default="", max_length=64)  # digest of the adapter that it answers with
    outbox: int = Field(default=0, ge=0)
    rounds: int = Field(default=0, ge=0)  # participations, ever
    refusal: str = Field(default="", max_length=40)  # the last reason its guard gave
    ledger_length: int = Field(default=0, ge=0)  # how far it has seen the server's ledger
    ledger_head: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")


class Notice(Fact, extra="ignore"):
    """What the server answers a report. A newer server may say more."""

    time: float  # seconds, server clock
    node_id: str  # the device's number at SuperLink now
    counted: int = Field(ge=0)  # releases that the device is counted in, ever
    newest: str = ""  # manifest of the newest adapter; empty: there is none
    newest_signature: str = ""
    seen_head: str = ""  # the ledger's hash where the device saw it end; empty: it is shorter now
    rotations: tuple[str, ...] = ()  # the ledger's entries by which another key took over, as lines, the oldest first
    restored: str = ""  # the ledger's entry that owns up to what the device saw and is not there; empty: there is none


class AdapterManifest(Fact):
    """What a server says of an adapter that it released, signed: enough for a device to know what it installs."""

    run: str
    round: PositiveInt
    version: int = Field(ge=0)
    vector: Digest  # of its bytes: float32, little-endian
    parent: str = Field(pattern=r"^([0-9a-f]{64})?$")  # what it was learnt from; empty: the untrained adapter
    spec: str = Field(max_length=10_000_000)  # AdapterSpec, canonical JSON
    size: PositiveInt  # bytes of the vector
    entries: int = Field(ge=0)  # of the ledger, when it was released: an older one is a step back

    @staticmethod
    def signed(payload: bytes) -> bytes:
        """What the server signs, so that it is nothing else."""
        return b"tacit adapter\n" + payload

    @classmethod
    def verified(cls, payload: bytes, signature: bytes, server_key: str) -> Self:
        """Raises BadInput on anything that ``server_key`` did not sign."""
        if not verifies(server_key, cls.signed(payload), signature):
            raise BadInput("the list of adapters is not signed by the server's pinned key; nothing was installed")
        return cls.from_bytes(payload)


class Token(BaseModel, frozen=True):
    """A one-time token as a person copies it: the secret, and what the server is pinned by."""

    secret: str
    fingerprint: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises BadInput."""
        prefix, _, rest = text.strip().partition(".")
        secret, _, fingerprint = rest.partition(".")
        if prefix != TOKEN_PREFIX or not secret or not re.fullmatch(r"[0-9a-f]{64}", fingerprint):
            raise BadInput("that is no token; copy all of what tacit server token printed, from tacit1 to its end")
        return cls(secret=secret, fingerprint=fingerprint)

    def __str__(self) -> str:
        return f"{TOKEN_PREFIX}.{self.secret}.{self.fingerprint}"


def request_headers(key: SigningKey, server: str, request: str, body: bytes, now: float, nonce: str) -> dict[str, str]:
    """Headers that prove who sends a request (``"POST /path?query"``) to the server of that fingerprint, and when."""
    time = f"{now:.3f}"
    return {
        "tacit-key": key.public,
        "tacit-time": time,
        "tacit-nonce": nonce,
        "tacit-signature": key.sign(_request(server, request, body, time, nonce)).hex(),
    }


def request_signed(headers: dict[str, str], server: str, request: str, body: bytes) -> bool:
    """Whether the key in the headers signed the request. Its age, and whether it is a repetition, is another matter."""
    key, time, nonce, signature = (headers.get(name, "") for name in HEADERS)
    shapes = (r"[0-9a-f]{64}", r"\d{1,12}\.\d{3}", r"[0-9a-f]{32}", r"[0-9a-f]{128}")
    if not all(re.fullmatch(shape, said) for shape, said in zip(shapes, (key, time, nonce, signature), strict=True)):
        return False
    return verifies(key, _request(server, request, body, time, nonce), bytes.fromhex(signature))


def _request(server: str, request: str, body: bytes, time: str, nonce: str) -> bytes:
    told = [server, request, time, nonce, hashlib.sha256(body).hexdigest()]
    return b"tacit request\n" + canonical(told)
