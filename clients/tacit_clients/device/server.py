"""The device's calls to its server beside Flower's: enrolment, reports, mail, adapters. TLS by the pinned authority."""

import http.client
import json
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from tacit_privacy.contract import canonical
from tacit_privacy.enrolment import DeviceReport, Notice, Placement, request_headers
from tacit_privacy.errors import BadInput, NodeUnknown, RequestRefused, ServerUnreachable
from tacit_privacy.ledger.keys import SigningKey

_PREFIX: Final = "/v1/tacit"
_PATIENCE_S: Final = 20.0
_LONGEST: Final = 64 * 2**20
_PART: Final = 2**20


class Server:
    """One connection, kept open and opened anew when it breaks. Not for several threads at once.

    Raises ServerUnreachable, NodeUnknown where the server knows the device no more, RequestRefused with its word.
    """

    def __init__(self, address: str, authority: str, fingerprint: str, key: SigningKey) -> None:
        """``authority``: PEM, the only one that is trusted; ``fingerprint``: its SHA-256."""
        self._address, self._fingerprint, self._key = address, fingerprint, key
        self._trusted = trusting(authority)
        self._connection: http.client.HTTPSConnection | None = None

    def enrol(self, body: dict[str, Any]) -> Placement:
        """What becomes of an application; the same one may be sent again."""
        with _readable():
            return Placement.from_bytes(self._call("POST", "/enrol", canonical(body), signed=False))

    def report(self, report: DeviceReport) -> Notice:
        with _readable():
            return Notice.from_bytes(self._call("POST", "/report", report.to_bytes()))

    def mail(self, seen: int, patience_s: float) -> int:
        """The count of messages left for this device, as soon as it is another than ``seen``."""
        body = canonical({"seen": seen, "patience_s": patience_s})
        with _readable():
            return int(json.loads(self._call("POST", "/mail", body, patience_s + _PATIENCE_S))["mail"])

    def leave(self) -> None:
        """Leave the fleet: the server forgets all but the key and the count."""
        self._call("POST", "/leave", b"{}")

    def adapter(self, vector: str, start: int, end: int) -> bytes:
        """A part of an adapter's bytes, from ``start`` on and before ``end``; at least one, unless that is the end."""
        extra = {"range": f"bytes={start}-"}
        return self._call("GET", f"/adapters/{vector}", b"", extra=extra, most=end - start)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _call(
        self,
        method: str,
        path: str,
        body: bytes,
        patience_s: float = _PATIENCE_S,
        *,
        signed: bool = True,
        extra: dict[str, str] | None = None,
        most: int = 0,
    ) -> bytes:
        """One request, repeated once where a kept connection turns out to be closed. ``most``: of part of a file."""
        kept = self._connection is not None
        try:
            return self._once(method, path, body, patience_s, signed, extra or {}, most)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            if not kept:
                raise ServerUnreachable(f"the server cannot be reached: {_said(error)}") from error
        try:
            return self._once(method, path, body, patience_s, signed, extra or {}, most)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise ServerUnreachable(f"the server cannot be reached: {_said(error)}") from error

    def _once(
        self, method: str, path: str, body: bytes, patience_s: float, signed: bool, extra: dict[str, str], most: int
    ) -> bytes:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(self._address, context=self._trusted, timeout=patience_s)
        if self._connection.sock is not None:
            self._connection.sock.settimeout(patience_s)
        headers = {"content-type": "application/json", **extra}
        if signed:
            line = f"{method} {_PREFIX}{path}"
            headers |= request_headers(self._key, self._fingerprint, line, body, time.time(), secrets.token_hex(16))
        self._connection.request(method, _PREFIX + path, body or None, headers)
        answer = self._connection.getresponse()
        if most and answer.status in (200, 206):
            return self._part(answer, most)
        data = answer.read(_LONGEST + 1)
        if answer.status == http.client.OK and len(data) <= _LONGEST:
            return data
        raise _refusal(answer.status, data, known=signed)

    def _part(self, answer: http.client.HTTPResponse, most: int) -> bytes:
        """As much as comes and was asked for: what a cut leaves is asked for again, from where it ended."""
        data = bytearray()
        try:
            while chunk := answer.read(min(_PART, most - len(data))):
                data += chunk
        except (http.client.HTTPException, OSError):
            self.close()
            if not data:
                raise
        if not answer.isclosed():  # more than there should be: nobody reads it
            self.close()
        return bytes(data)


@contextmanager
def _readable() -> Iterator[None]:
    """An answer that cannot be read, as of a server that is broken or another, is none: it may be better later."""
    try:
        yield
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ServerUnreachable("the server's answer cannot be read") from error


def trusting(authority: str) -> ssl.SSLContext:
    """TLS that trusts one authority, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=authority)
    return context


def fetch_authority(address: str) -> str:
    """The certificate that a server says is its authority's, PEM. Nothing about it is believed yet: compare it.

    Raises ServerUnreachable or BadInput.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, context=context, timeout=_PATIENCE_S)
    try:
        connection.request("GET", f"{_PREFIX}/authority")
        answer = connection.getresponse()
        data = answer.read(100_000)
    except (http.client.HTTPException, OSError) as error:
        raise ServerUnreachable(f"no server answers at {address}: {_said(error)}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise BadInput(f"what answers at {address} is no Tacit server; check the address")
    return data.decode("ascii", "replace")


@dataclass(frozen=True, slots=True)
class Look:
    """How a server answers, and how many seconds its clock is ahead; None where it does not tell the time."""

    status: int
    ahead_s: float | None

    @property
    def well(self) -> bool:
        return self.status == http.client.OK


def look(address: str, authority: str, path: str) -> Look:
    """Ask a server for what everybody may see, trusting its authority alone. Raises ServerUnreachable."""
    connection = http.client.HTTPSConnection(address, context=trusting(authority), timeout=_PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read(_PART)
        date = answer.headers.get("date")
        ahead = None if date is None else parsedate_to_datetime(date).timestamp() - time.time()
        return Look(answer.status, ahead)
    except (http.client.HTTPException, OSError) as error:
        raise ServerUnreachable(f"{address} cannot be reached: {_said(error)}") from error
    finally:
        connection.close()


def _refusal(status: int, data: bytes, known: bool) -> Exception:
    """``known``: the request was one of a device that was let in."""
    why = ""
    with suppress(ValueError, AttributeError):
        why = str(json.loads(data).get("error", ""))[:40]
    if known and status == http.client.FORBIDDEN and why in ("unknown", "revoked", "left"):
        return NodeUnknown()
    if why:
        return RequestRefused(why)
    return ServerUnreachable(f"the server answered {status}")


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "it does not show a certificate of the pinned authority"
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__
