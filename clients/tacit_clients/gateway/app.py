"""Puts the gateway together and gives it its routes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tacit_clients.egress import Book, Egress, Gate
from tacit_clients.egress.door import Draft
from tacit_clients.egress.known_names import KnownNames, WithKnownNames
from tacit_clients.egress.lastlook import LastLook
from tacit_clients.egress.transport import Transport
from tacit_clients.egress.wire import structural
from tacit_clients.gateway import logs
from tacit_clients.gateway.bodies import flag_of, parsed
from tacit_clients.gateway.chat import ChatCompletions
from tacit_clients.gateway.collecting import Collector
from tacit_clients.gateway.conversations import HEADER, Conversations
from tacit_clients.gateway.desk import Desk
from tacit_clients.gateway.errors import Problem, refuse
from tacit_clients.gateway.following import Following
from tacit_clients.gateway.metrics import Metrics
from tacit_clients.gateway.responses.asked import chat_of
from tacit_clients.gateway.responses.kept import Responses
from tacit_clients.gateway.responses.routes import CreateResponse, OneResponse, before_of
from tacit_clients.gateway.runtime import Runtime, switches_beside
from tacit_clients.gateway.security import Guard, Rules
from tacit_clients.gateway.session import Sessions, set_cookie
from tacit_clients.gateway.settings import GatewaySettings
from tacit_clients.modes.catalogue import registry_of
from tacit_clients.modes.local import Generator, LocalMode
from tacit_clients.modes.protocol import Registry
from tacit_privacy.pii.entities import Detector
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.redactor import Redactor
from tacit_privacy.pii.vault.store import Vault

_PRUNE_S = 3600.0
_OWNER_PAGE = "tacit_clients.gateway.page"


class Api(FastAPI):
    """Without Starlette's own error handling: that answers in words of its own and raises the error on."""

    def build_middleware_stack(self) -> ASGIApp:
        return AsyncExitStackMiddleware(self.router)


@dataclass(frozen=True)
class Gateway:
    """The parts, for the routes, the owner's page (as ``request.app.state.gateway``) and tests."""

    settings: GatewaySettings
    policy: RedactionPolicy
    vault: Vault
    egress: Egress
    modes: Registry
    book: Book
    runtime: Runtime
    sessions: Sessions
    metrics: Metrics
    desk: Desk
    responses: Responses
    collector: Collector
    local: Generator | None
    following: Following | None
    app: Guard

    async def close(self) -> None:
        """Close what was opened here: connections and threads. Vault and local model belong to the caller."""
        await self.desk.learnt()
        await self.egress.close()


def build(
    settings: GatewaySettings,
    policy: RedactionPolicy,
    vault: Vault,
    local: Generator | None,
    detector: Detector | None = None,
    patterns: Detector | None = None,
    log: Any = None,
    following: Following | None = None,
) -> Gateway:
    """A gateway that listens nowhere yet. Without ``detector`` the policy's own is built.

    ``following`` keeps ``local`` on a device's adapters while the gateway serves.
    """
    runtime = Runtime(None if settings.keeping.vault is None else switches_beside(settings.keeping.vault))
    egress, book = _egress(settings, policy, vault, runtime, detector, patterns)
    local_mode = None if local is None else LocalMode(local, settings.local.max_tokens)
    registry = registry_of(egress, local_mode, policy, vault, settings.auto, settings.modes)
    conversations = Conversations(vault, policy.conversation.expires_days)
    metrics, sessions = Metrics(), Sessions()
    log = logs.logger() if log is None else log
    collector = Collector(vault, egress.gate, runtime)
    desk = Desk(registry, egress, conversations, metrics, log, collector)
    responses = Responses(vault, settings.keeping.response_days)
    api = Api(docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)

    told = _Told(metrics, log)
    page = _owner_page()
    guard = Guard(api, _rules(settings), sessions, told, None if page is None else page.refusal)
    gateway = Gateway(
        settings,
        policy,
        vault,
        egress,
        registry,
        book,
        runtime,
        sessions,
        metrics,
        desk,
        responses,
        collector,
        local,
        following,
        guard,
    )
    api.state.gateway = gateway
    _routes(api, gateway)
    return gateway


class _Told:
    """Counts and logs what was refused; what the owner alone can mend is said to him too, once."""

    _OWNERS: Final = {
        "vault_locked": "the vault has another key now: start the gateway again",
        "local_unusable": "the local model cannot be loaded: see --slm and --adapter",
    }

    def __init__(self, metrics: Metrics, log: Any) -> None:
        self._metrics, self._log, self._said = metrics, log, set[str]()

    def __call__(self, kind: str, problem: Problem) -> None:
        self._metrics.refused(problem.code)
        self._log.info("refused", kind=kind, reason=problem.code, status=problem.status)
        if problem.code in self._OWNERS and problem.code not in self._said:
            self._said.add(problem.code)
            self._log.error(self._OWNERS[problem.code], kind=kind)


def _egress(
    settings: GatewaySettings,
    policy: RedactionPolicy,
    vault: Vault,
    runtime: Runtime,
    detector: Detector | None,
    patterns: Detector | None,
) -> tuple[Egress, Book]:
    names = KnownNames(vault.known_names)
    redactor = None
    if masks_anything(policy):
        from tacit_privacy.pii.detection.detector import build_detector, pattern_detector

        found = build_detector(policy) if detector is None else detector
        redactor = Redactor(WithKnownNames(found, names), policy)
        patterns = pattern_detector(policy) if patterns is None else patterns
    else:
        patterns = None
    gate = Gate(settings.upstream, policy, vault, redactor, LastLook(policy, patterns, structural), names)
    keeping = settings.keeping
    book = Book(vault, keeping.outbound_days, keeping.outbound_records, settings.upstream.url)
    return Egress(gate, Transport(settings.upstream), book, settings.gate_threads, runtime.paused), book


def masks_anything(policy: RedactionPolicy) -> bool:
    """Whether any entity at all would be changed or held back: with all types kept, detection is left out."""
    from tacit_privacy.pii.policy import DEFAULT_ACTIONS

    named = {*policy.types, *DEFAULT_ACTIONS}
    return policy.default != "keep" or any(policy.action(type) != "keep" for type in named)


def _rules(settings: GatewaySettings) -> Rules:
    server = settings.server
    names = {"127.0.0.1", "localhost", "::1", *(host.lower() for host in server.allow_hosts)}
    if server.host not in ("0.0.0.0", "::"):
        names.add(server.host.lower())
    token = None if server.token is None else server.token.get_secret_value()
    return Rules(frozenset(names), token, server.max_body_bytes, server.body_s)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    gateway: Gateway = app.state.gateway
    beside = [asyncio.create_task(_prune(gateway))]
    if gateway.following is not None:
        beside.append(asyncio.create_task(gateway.following.run(gateway.desk.log)))
    try:
        yield
    finally:
        for task in beside:
            task.cancel()
        await gateway.close()


async def _prune(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(_PRUNE_S)
        try:
            await gateway.egress.in_thread(gateway.book.prune)
        except Exception as error:
            gateway.desk.log.warning("prune_failed", kind=type(error).__name__)


def _routes(api: FastAPI, gateway: Gateway) -> None:
    post, either = ["POST"], ["GET", "DELETE"]
    one = OneResponse(gateway.desk, gateway.responses)
    api.router.routes += [
        Route("/v1/chat/completions", ChatCompletions(gateway.desk), methods=post),
        Route("/v1/responses", CreateResponse(gateway.desk, gateway.responses), methods=post),
        Route("/v1/responses/{identifier}", one, methods=either),
    ]
    _plain_routes(api, gateway)
    page = _owner_page()
    if page is not None:
        api.include_router(page.router)


def _owner_page() -> Any:
    """The owner's page, loaded when a gateway is built; None where it is not installed."""
    return None if find_spec(_OWNER_PAGE) is None else import_module(_OWNER_PAGE)


def _plain_routes(api: FastAPI, gateway: Gateway) -> None:
    def row(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "tacit"}

    @api.get("/v1/models")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [row(name) for name in gateway.modes.names()]})

    @api.get("/v1/models/{name:path}")
    async def model(name: str) -> JSONResponse:
        if gateway.modes.find(name) is None:
            raise refuse(404, "model_not_found", "no such model here; GET /v1/models lists them")
        return JSONResponse(row(name))

    @api.post("/v1/preview")
    async def preview(request: Request) -> Response:
        return await _preview(gateway, request)

    @api.get("/health")
    async def health() -> JSONResponse:
        told = {"status": "ok", "paused": gateway.runtime.paused()}
        if gateway.following is not None:
            told["adapter"] = gateway.following.adapter
        return JSONResponse(told)

    @api.get("/metrics")
    async def metrics() -> Response:
        gateway.metrics.paused.set(gateway.runtime.paused())
        gateway.metrics.circuit_open.set(gateway.egress.transport.breaker.state == "open")
        return Response(gateway.metrics.text(), media_type="text/plain; version=0.0.4")

    @api.get("/open", include_in_schema=False)
    async def open_page(key: str = "") -> Response:
        cookie = gateway.sessions.redeem(key)
        if cookie is None:
            raise refuse(401, "link_used", "this link was used or is old; tacit gateway prints a new one at each start")
        return RedirectResponse("/", status_code=303, headers={"set-cookie": set_cookie(cookie)})


async def _preview(gateway: Gateway, request: Request) -> Response:
    """The bytes that would leave. To have them again in a request, send the conversation's header along."""
    body = parsed(request.scope["state"]["body"])
    conversation: str | None = None
    if "input" in body and "messages" not in body:
        before, conversation = await before_of(body, gateway.desk, gateway.responses)
        body = chat_of(body, before)
    if conversation is None:
        messages = body.get("messages")
        who = body["user"] if isinstance(body.get("user"), str) else ""
        found = messages if isinstance(messages, list) else []
        conversation, _ = await gateway.desk.conversation_of(request.scope, found, who)
    draft: Draft = await gateway.egress.preview(body, conversation, flag_of(body, "stream"))
    headers = {
        HEADER: conversation,
        "x-tacit-masked": ",".join(f"{type}={count}" for type, count in sorted(draft.masked.items())),
        "x-tacit-bytes-up": str(len(draft.content)),
        "x-tacit-upstream": gateway.settings.upstream.endpoint,
    }
    return Response(draft.content, media_type="application/json", headers=headers)
