"""The one place of the server side that touches parts of Flower which are private by convention (flwr 1.41).

``tests/conformance/test_flower_seam.py`` fails loudly where a release changes them.
"""

import contextlib
import os
import ssl
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Queue
from types import SimpleNamespace, TracebackType
from typing import Any, Final, Self

import httpx
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.common.serde import user_config_to_proto
from flwr.proto.control_pb2 import StartRunRequest, StopRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PushAppMessagesRequest
from flwr.supercore.constant import NodeStatus, TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, uses_nist_ec_curve, verify_signature
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.state.schema.linkstate_models import Node as NodeModel
from flwr.supercore.utils import int64_to_uint64
from sqlalchemy import select, update
from starlette.types import ASGIApp

from tacit_privacy.errors import EngineFailed

FLEET, CONTROL, RUNTIME = "/v1/fleet/", "/v1/control/", "/v1/runtime/"
PUSHED = f"{RUNTIME}push-messages"  # after which devices have mail
NODE_KEY = "flwr-public-key"  # header of every fleet request, the node's key in base64
SECRET_HEADER = "tacit-link"  # what the server's own processes show to the control interface
_GRACE_S: Final = 3  # for answers that are under way when SuperLink is told to end
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class SuperLinkFiles:
    """What SuperLink is started with."""

    host: str
    port: int
    authority: Path
    certificate: Path
    key: Path
    database: Path
    secret: Path


def run_superlink(files: SuperLinkFiles, around: Callable[[ASGIApp], ASGIApp]) -> None:
    """Run Flower's SuperLink in this process until it is told to end, every request through ``around`` first.

    It takes its arguments from the command line, and has a hook for what wraps its application.
    """
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink
    from starlette.middleware import Middleware

    command: Any = sys.modules[flower_superlink.__module__]
    if not sys.stderr.isatty():  # what it says is in the form that its process said before
        command.get_uvicorn_log_config = lambda level: None
    # else it would wait for every connection that is open and idle: a peer that sleeps does not close its side of TLS
    command.uvicorn = SimpleNamespace(run=partial(command.uvicorn.run, timeout_graceful_shutdown=_GRACE_S))
    extensions.get_middleware = lambda: (Middleware(_Around, around=around),)
    _lighten_state()
    _end_unknown_runs()
    sys.argv = [
        "flower-superlink",
        *("--host", files.host, "--port", str(files.port)),
        *("--ssl-ca-certfile", str(files.authority), "--ssl-certfile", str(files.certificate)),
        *("--ssl-keyfile", str(files.key), "--database", str(files.database)),
        *("--isolation", "process", "--superexec-auth-secret-file", str(files.secret)),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    ]
    flower_superlink()


def _lighten_state() -> None:
    """Let SuperLink's state cost less. It can be lost and is made anew, so it never has to wait for the disk.

    With every part of every message SuperLink looks for ServerApps that died, a transaction that writes each time: more
    than half of what a part costs. Once a second is enough. Its threads take turns at the database: SQLite has one
    writer, and who finds it taken sleeps there, longer and longer, while others pass.
    """
    from flwr.supercore import sql_mixin
    from flwr.supercore.corestate.sql_corestate import SqlCoreState

    mixin: Any = sql_mixin
    state: Any = SqlCoreState
    mixin.SQLITE_PRAGMAS = (*mixin.SQLITE_PRAGMAS, ("synchronous", "OFF"))
    mixin.SqlMixin.session = _in_turn(mixin.SqlMixin.session)
    state._cleanup_expired_task_tokens = _seldom(state._cleanup_expired_task_tokens)


def _end_unknown_runs() -> None:
    """Let a run that SuperLink does not know be one that is over.

    A server that was put up again knows none of the runs before. SuperLink fails when a node brings a reply to one of
    them, as if it were its own fault, and the node would bring that reply for ever.
    """
    from flwr.superlink.servicer.fleet import fleet_handlers

    handlers: Any = fleet_handlers
    known = handlers.check_abort

    def check_abort(run_id: int, abort: list[str], state: Any) -> str | None:
        if run_id not in state.get_run_status({run_id}):
            return "Run is not known."
        found: str | None = known(run_id, abort, state)
        return found

    handlers.check_abort = check_abort


def _in_turn(session: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``session``, of which one thread at a time has one."""
    turn = threading.RLock()

    @contextlib.contextmanager
    def taken(state: Any) -> Iterator[Any]:
        with turn, session(state) as found:
            yield found

    return taken


def _seldom(look: Callable[[Any], None]) -> Callable[[Any], None]:
    """``look``, which returns at once where it was called within the last second."""
    next_at = 0.0

    def looking(state: Any) -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + _LOOK_S
            look(state)

    return looking


class _Around:
    """Starlette hands over the application as a keyword."""

    def __init__(self, app: ASGIApp, around: Callable[[ASGIApp], ASGIApp]) -> None:
        self._inner = around(app)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._inner(scope, receive, send)


class Nodes:
    """Registers devices' node keys in SuperLink's own state; works in SuperLink's process alone."""

    def __init__(self, application: Any) -> None:
        self._factory = application.state.linkstate_factory

    def register(self, node_key: str) -> str:
        """The node's number; the same again for a key that is known, or that was forgotten."""
        state, key = self._factory.state(), node_key.encode("ascii")
        known = state.get_node_id_by_public_key(key)
        if known is None:
            known = self._revived(state, key)
        return str(known if known is not None else state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, key, 0))

    def registered(self) -> frozenset[str]:
        """The numbers of all that are known."""
        known = select(NodeModel.node_id).where(NodeModel.status != NodeStatus.UNREGISTERED)
        with self._factory.state().session() as session:
            return frozenset(str(int64_to_uint64(number)) for number in session.scalars(known))

    def _revived(self, state: Any, key: bytes) -> int | None:
        """SuperLink keeps a node that was forgotten, and lets its key be registered never again."""
        again = (
            update(NodeModel)
            .where(NodeModel.public_key == key, NodeModel.status == NodeStatus.UNREGISTERED)
            .values(status=NodeStatus.REGISTERED, unregistered_at=None, online_until=None)
            .returning(NodeModel.node_id)
        )
        with state.session() as session:
            number = session.scalar(again)
        return None if number is None else int64_to_uint64(number)

    def forget(self, node_id: int) -> None:
        """Let a number be nobody's any more; one that is unknown stays so."""
        with contextlib.suppress(ValueError):
            self._factory.state().delete_node(NOOP_FLWR_AID, node_id)


def pushed_to(scope: Mapping[str, Any]) -> frozenset[int]:
    """Whom a request that was just answered left messages for: nodes' numbers."""
    found = scope.get("state", {}).get("protobuf_request")
    if not isinstance(found, PushAppMessagesRequest):
        return frozenset()
    return frozenset(message.metadata.dst_node_id for message in found.messages_list)


def is_node_key(pem: str) -> bool:
    """Whether SuperLink would take a key: PEM, on a NIST curve."""
    try:
        return bool(uses_nist_ec_curve(bytes_to_public_key(pem.encode("ascii"))))
    except (ValueError, TypeError, AttributeError):
        return False


def node_signed(pem: str, data: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is by the node's key over ``data``."""
    return is_node_key(pem) and bool(verify_signature(bytes_to_public_key(pem.encode("ascii")), data, signature))


class _Secret:
    """Shows the server's secret with every request."""

    def __init__(self, secret: bytes) -> None:
        self._headers = {SECRET_HEADER: secret.hex()}

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        add_headers(context.request, self._headers)
        return call_next(context)


class SuperLinkControl:
    """Starts and stops Flower's runs. Raises EngineFailed where SuperLink does not answer, or says no."""

    def __init__(self, address: str, authority: Path, secret: bytes) -> None:
        version = RuntimeVersionHttpInterceptor(component_name="flwr CLI")
        self._client = ControlHttpClient.from_server_address(
            address, False, str(authority), interceptors=[version, _Secret(secret)]
        )

    def start(self, bundle: bytes, config: Mapping[str, str | int | float | bool]) -> int:
        """The number of a new Flower run of ``bundle``, with ``config`` over what the bundle says."""
        request = StartRunRequest(fab=Fab(content=bundle), override_config=user_config_to_proto(dict(config)))
        with _explained("start a run"):
            started = int(self._client.StartRun(request).run_id)
        if not started:
            raise EngineFailed("SuperLink refused to start a run; its log says why")
        return started

    def stop(self, run_id: int) -> None:
        """End a Flower run; one that has ended stays so."""
        with _explained("stop a run"):
            self._client.StopRun(StopRunRequest(run_id=run_id))

    def close(self) -> None:
        self._client.close()


def is_up(address: str, authority: Path) -> bool:
    """Whether the server's own port answers."""
    try:
        return _got(address, authority, "/health").is_success
    except httpx.HTTPError:
        return False


def metrics(address: str, authority: Path) -> str:
    """What the server counts, as Prometheus reads it; for this machine alone. Raises EngineFailed."""
    with _explained("tell its metrics"):
        return _got(address, authority, "/metrics").raise_for_status().text


def _got(address: str, authority: Path, path: str) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(authority))
    return httpx.get(f"https://{address}{path}", verify=context, timeout=5.0, trust_env=False)


class _explained:
    """Errors of a call to SuperLink as one sentence."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, httpx.HTTPStatusError):
            raise EngineFailed(f"SuperLink answered {error.response.status_code} when asked to {self._what}") from error
        if isinstance(error, httpx.HTTPError):
            raise EngineFailed(f"SuperLink could not be asked to {self._what} ({type(error).__name__})") from error


def bundle_of(pyproject: str) -> bytes:
    """A Flower app bundle that holds settings and no code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Flower's own, of a library that it pins
        data, _ = build_fab_from_files({"pyproject.toml": pyproject.encode()})
    return data


def acquire_task(address: str, authority: Path, secret: bytes) -> str | None:
    """Claim the oldest ServerApp that waits to be run: the token it runs by, which never leaves this process; or None.

    Raises EngineFailed.
    """
    signed = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE})
    version = RuntimeVersionHttpInterceptor(component_name="SuperExec")
    client = RuntimeHttpClient.from_server_address(address, False, str(authority), interceptors=[version, signed])
    try:
        with _explained("hand out a run"):
            found = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
    finally:
        client.close()
    return found.token if found.HasField("task") and found.token else None


def run_server_app(address: str, authority: Path, token: str) -> None:
    """Run the ServerApp of a claimed task, and end this process."""
    from flwr.superlink.runtime import run_serverapp

    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # Flower prints there; logs are on stderr
    run_serverapp(
        runtime_api_address=address,
        log_queue=Queue(),
        token=token,
        insecure=False,
        certificates=authority.read_bytes(),
        parent_pid=os.getppid(),
        runtime_dependency_install=False,
    )
