"""The devices' own interface: enrolment, reports, waiting for mail, adapters, leave; JSON over the one port."""

import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from pydantic import FiniteFloat, ValidationError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tacit_privacy.contract import Fact
from tacit_privacy.enrolment import Application, DeviceReport, Notice, Placement
from tacit_privacy.errors import AdmissionRefused, BadInput, RequestRefused, TacitError
from tacit_privacy.ledger import participation
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.rotations import rotations
from tacit_server.deployment import adapters, admission, audit, resolving
from tacit_server.deployment.audit import Actor
from tacit_server.deployment.certificates import fingerprint
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.settings import DeploymentSettings
from tacit_server.flower_seam import is_node_key, node_signed
from tacit_server.store.tables import DeviceRow
from tacit_server.web.counting import Counts
from tacit_server.web.mail import Mail
from tacit_server.web.signed import Signatures, Signed
from tacit_server.web.wall import address_of, note_refusal

PREFIX = "/v1/tacit"
_LONGEST_WAIT_S = 50.0  # below what proxies on the way put up with
_PART = 2**20
_log = structlog.get_logger("tacit.devices")

Handler = Callable[[Request], Awaitable[Response]]


class _Wait(Fact):
    """What a device says that waits for mail."""

    seen: int
    patience_s: FiniteFloat


class DeviceInterface:
    """Everything here that touches the database runs in a thread; waiting for mail does not."""

    def __init__(
        self,
        database: ServerDatabase,
        settings: DeploymentSettings,
        key: SigningKey,
        authority: bytes,
        mail: Mail,
        counts: Counts,
        registered: Callable[[str], str],
    ) -> None:
        """``authority``: its certificate, PEM. ``registered``: makes a node key known to SuperLink."""
        self._database, self._settings, self._key = database, settings, key
        self._authority, self._server = authority, fingerprint(authority)
        self._mail, self._counts, self._registered = mail, counts, registered
        self._signatures, self._refusals = Signatures(self._server), audit.Refusals()
        with database.begin() as session:
            self._rotations = rotations(session)  # no key is rotated while this process has the directory

    def routes(self) -> list[Route]:
        return [
            Route(f"{PREFIX}/authority", self._answering(self._show_authority), methods=["GET"]),
            Route(f"{PREFIX}/enrol", self._answering(self._enrol), methods=["POST"]),
            Route(f"{PREFIX}/report", self._answering(self._report), methods=["POST"]),
            Route(f"{PREFIX}/mail", self._answering(self._wait), methods=["POST"]),
            Route(f"{PREFIX}/leave", self._answering(self._leave), methods=["POST"]),
            Route(f"{PREFIX}/adapters/{{digest}}", self._answering(self._adapter), methods=["GET"]),
        ]

    def _answering(self, handler: Handler) -> Handler:
        """Errors as a word that programs read, logged and counted; of the request only its path is in the log."""

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except (RequestRefused, AdmissionRefused) as refused:
                status, why, told = 403, refused.reason, str(refused)
            except (ValidationError, BadInput, ValueError):
                status, why, told = 400, "malformed", "the request is not of a form that is known here"
            note_refusal(self._counts, request.scope, why)
            return JSONResponse({"error": why, "detail": told}, status)

        return answer

    async def _show_authority(self, request: Request) -> Response:
        """To be compared with a fingerprint that came another way, before anything is believed."""
        return Response(self._authority, media_type="application/x-pem-file")

    async def _enrol(self, request: Request) -> Response:
        body = _object(await request.body(), {"application", "signature", "node_signature"})
        asked = Application.model_validate(body["application"])
        signature, by_node = (bytes.fromhex(str(body[name])) for name in ("signature", "node_signature"))
        actor = Actor(f"device {asked.name}", address_of(request.scope))
        placed = await run_in_threadpool(self._apply, actor, asked, signature, by_node)
        self._counts.enrolment(placed.state)
        return _json(placed.to_bytes())

    def _apply(self, actor: Actor, asked: Application, signature: bytes, by_node: bytes) -> Placement:
        try:
            if not is_node_key(asked.node_key) or not node_signed(asked.node_key, asked.signed(), by_node):
                raise AdmissionRefused("node_signature", "it is not signed by the node key that it names")
            with self._database.begin() as session:
                found = admission.apply(session, actor, asked, signature, server=self._server)
                if found.state == "pending":
                    return Placement(state="pending")
                row = session.get(DeviceRow, found.number)
                if row is None:
                    raise TacitError("an admitted device is not in the database")
                row.node_id = self._registered(row.node_key)
                return self._placement(row)
        except AdmissionRefused as refused:
            detail = self._refusals.worth_a_row(refused.reason)
            if detail is not None:
                with self._database.begin() as session:
                    audit.record(
                        session, actor, "device.enrol", asked.public_key, refused=refused.reason, detail=detail
                    )
            self._counts.enrolment("refused")
            raise

    def _placement(self, row: DeviceRow) -> Placement:
        adapter = self._settings.adapter.model_dump(mode="json", exclude={"tiers"})
        return Placement(
            state="admitted",
            identity=row.identity,
            node_id=row.node_id,
            server_key=self._key.public,
            model=self._settings.fleet.model,
            adapter=adapter,
        )

    async def _report(self, request: Request) -> Response:
        signed = await self._signed(request)
        report = DeviceReport.from_bytes(signed.body)
        return _json((await run_in_threadpool(self._noted, signed, report)).to_bytes())

    def _noted(self, signed: Signed, report: DeviceReport) -> Notice:
        with self._database.begin() as session:
            row = self._sender(session, signed)
            row.seen, row.report = time.time(), report.to_bytes().decode()
            if not row.node_id:
                row.node_id = self._registered(row.node_key)
            notice = Notice(
                time=time.time(),
                node_id=row.node_id,
                counted=participation.of(session, row.number),
                rotations=self._rotations,
                seen_head=resolving.head_at(session, report.ledger_length),
                restored=resolving.told_to(session, report.ledger_length, report.ledger_head),
            )
            newest = adapters.newest(session)
            if newest is None:
                return notice
            told, signature = adapters.manifest(session, newest, self._key)
            return notice.model_copy(update={"newest": told.decode(), "newest_signature": signature.hex()})

    async def _wait(self, request: Request) -> Response:
        signed = await self._signed(request)
        told = _Wait.model_validate_json(signed.body)
        node = await run_in_threadpool(self._node_of, signed)
        patience = min(max(told.patience_s, 0.0), _LONGEST_WAIT_S)
        return JSONResponse({"mail": await self._mail.changed(node, told.seen, patience)})

    def _node_of(self, signed: Signed) -> int:
        with self._database.begin() as session:
            return int(self._sender(session, signed).node_id or 0)

    async def _leave(self, request: Request) -> Response:
        signed = await self._signed(request)
        _object(signed.body, set())
        address = address_of(request.scope)
        return JSONResponse({"left": await run_in_threadpool(self._left, signed, address)})

    def _left(self, signed: Signed, address: str) -> str:
        with self._database.begin() as session:
            row = self._sender(session, signed)
            admission.erase(session, Actor(row.identity, address), row.identity)
            return row.identity

    async def _adapter(self, request: Request) -> Response:
        """The vector's bytes, or what ``Range: bytes=N-`` leaves of them."""
        signed = await self._signed(request)
        digest = request.path_params["digest"]
        data = await run_in_threadpool(self._adapter_of, signed, digest)
        start = _start(request.headers.get("range", ""), len(data))
        headers = {"etag": f'"{digest}"', "accept-ranges": "bytes"}
        if start:
            headers["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return Response(data[start:], 206 if start else 200, headers, media_type="application/octet-stream")

    def _adapter_of(self, signed: Signed, digest: str) -> bytes:
        with self._database.begin() as session:
            self._sender(session, signed)
            row = adapters.by_digest(session, digest) if re.fullmatch(r"[0-9a-f]{64}", digest) else None
            if row is None:
                raise BadInput("no such adapter")
            return row.vector

    def _sender(self, session: Session, signed: Signed) -> DeviceRow:
        """The admitted device that a request is by, which is done once. Raises RequestRefused."""
        row = admission.by_key(session, signed.public_key)
        if row is None or row.state != "admitted":
            raise RequestRefused("unknown" if row is None else row.state)
        self._signatures.spend(signed)
        return row

    async def _signed(self, request: Request) -> Signed:
        body, line = await request.body(), f"{request.method} {_target(request)}"
        return self._signatures.check({name.lower(): value for name, value in request.headers.items()}, line, body)


def _target(request: Request) -> str:
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path


def _object(body: bytes, keys: set[str]) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except RecursionError as error:
        raise BadInput("lists within lists without end") from error
    if not isinstance(found, dict) or set(found) != keys:
        raise BadInput("another set of fields was expected")
    return found


def _start(said: str, size: int) -> int:
    """Where a range begins; 0 for none, and for one that is not understood."""
    match = re.fullmatch(r"bytes=(\d{1,12})-", said)
    return int(match[1]) if match and int(match[1]) < size else 0


def _json(data: bytes) -> Response:
    return Response(data, media_type="application/json")
