"""Whole messages in one request, beside Flower's protocol: the part of the seam to flwr 1.41 that makes rounds fast.

Flower asks for every part of a message by itself, and a message of a round has six. Here a device fetches a message
with all its parts, or delivers a reply, in one request, and a coordinator does so for a whole cohort. SuperLink's own
functions judge and store all of it. Stock nodes know nothing of this, and what is large goes part by part, so that a
cut costs one part.
"""

import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, Final, Self, cast

import httpx
from fastapi import HTTPException
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    ObjectTree,
    PullObjectRequest,
    PullObjectResponse,
)
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
)
from flwr.serverapp import Grid
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import push_objects
from flwr.superlink.grid.http_grid import HttpGrid
from flwr.superlink.routers.fleet.node_auth import authenticate_node
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.superlink.servicer.runtime import runtime_handlers
from google.protobuf.message import DecodeError

from tacit_privacy.errors import BadInput, EngineFailed, RequestRefused, RunOver
from tacit_privacy.parts import joined, parted
from tacit_server.flower_seam import SECRET_HEADER

COHORT: Final = "/v1/tacit/cohort/"  # for this server's own processes
_WHOLE: Final = 4 * 2**20  # bytes of parts in one request of a device; more go one by one
_COHORT_WHOLE: Final = 32 * 2**20
_PATIENCE_S: Final = 60.0
_HEARTBEAT_S: Final = 15.0  # SuperLink takes a node for gone after twice as long


class Post:
    """At SuperLink's own state, in its process. Raises RequestRefused, RunOver or BadInput."""

    def __init__(self) -> None:
        self._application: Any = None

    def begin(self, application: Any) -> None:
        """With SuperLink's application, once it is there."""
        self._application = application

    def next_of(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """The next message for the node that asks, and its parts as far as they are there and no more than fit.

        Who asks is there: it counts as a heartbeat, so that a server under load takes no busy node for gone.
        """
        request = _read(PullMessagesRequest, body)
        with self._asked_by(headers, request) as state:
            state.acknowledge_node_heartbeat(request.node.node_id, _HEARTBEAT_S)
            found = fleet_handlers.pull_messages(request, state, state.object_store)
            runs = [message.metadata.run_id for message in found.messages_list]
            return joined(_whole(found, state, zip(runs, found.message_object_trees, strict=True), _WHOLE))

    def confirm(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """Forget the parts of a message that is safe with its node."""
        request = _read(ConfirmMessageReceivedRequest, body)
        with self._asked_by(headers, request) as state:
            fleet_handlers.confirm_message_received(request, state, state.object_store)
        return b""

    def reply(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """Store a node's reply with the parts that come with it; Flower's answer names those that are still wanted."""
        head, *contents = parted(body) or [b""]
        request = _read(PushMessagesRequest, head)
        if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
            raise BadInput("a reply is one message")
        run_id = request.messages_list[0].metadata.run_id
        with self._asked_by(headers, request) as state:
            answer = fleet_handlers.push_messages(request, state)
            return joined([_stored(answer, contents, state, run_id)])

    def push(self, body: bytes) -> tuple[bytes, frozenset[int]]:
        """Store a cohort's messages with their parts; Flower's answer, and the nodes that have mail now."""
        head, *contents = parted(body) or [b""]
        request = _read(PushAppMessagesRequest, head)
        if not request.messages_list:
            raise BadInput("a cohort of nobody")
        run_id = request.messages_list[0].metadata.run_id
        with self._transaction() as state:
            answer = runtime_handlers.push_messages(request, state, cast(Any, SimpleNamespace(run_id=run_id)))
            nodes = frozenset(message.metadata.dst_node_id for message in request.messages_list)
            return _stored(answer, contents, state, run_id), nodes

    def pull(self, body: bytes) -> bytes:
        """Replies that are there, with their parts; and forget those that the coordinator says it has."""
        run, head, *confirmed = parted(body)
        run_id, request = int(run), _read(PullAppMessagesRequest, head)
        with self._transaction() as state:
            for name in confirmed:
                state.object_store.delete(name.decode("ascii"))
            found = runtime_handlers.pull_messages(request, state, cast(Any, SimpleNamespace(run_id=run_id)))
            return joined(_whole(found, state, ((run_id, tree) for tree in found.message_object_trees), _COHORT_WHOLE))

    @contextmanager
    def _asked_by(self, headers: Mapping[str, str], request: Any) -> Iterator[Any]:
        """A transaction for a node that proved itself as it does to Flower."""
        shown = SimpleNamespace(headers=headers, state=SimpleNamespace(protobuf_request=request), app=self._application)
        try:
            authenticate_node(cast(Any, shown))
        except HTTPException as error:
            raise RequestRefused("node") from error
        with self._transaction() as state:
            yield state

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        state, over = self._application.state.linkstate_factory.state(), False
        try:
            with state.session():
                try:
                    yield state
                except FlowerError as error:
                    over = error.code == ApiErrorCode.FLEET_RUN_STATUS_NOT_ALLOWED
                    if not over:
                        raise
        except FlowerError as error:
            raise BadInput("SuperLink refused a message") from error
        if over:  # and what SuperLink tidied up after the run is stored
            raise RunOver("the run of a message is over")


def _read(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise BadInput("what came is no message of Flower") from error


def _whole(found: Any, state: Any, trees: Iterable[tuple[int, ObjectTree]], room: int) -> Iterator[bytes]:
    """An answer and the contents that its trees name, each once and as many as there is room for."""
    yield found.SerializeToString(deterministic=True)
    seen: set[str] = set()
    for run_id, tree in trees:
        for name in (node.object_id for node in iterate_object_tree(tree)):
            if name in seen:
                continue
            seen.add(name)
            content = state.get_object(run_id, name)
            if content and len(content) <= room:
                room -= len(content)
                yield bytes(content)


def _stored(answer: Any, contents: Iterable[bytes], state: Any, run_id: int) -> bytes:
    """The answer, once what came of the wanted parts is stored. A part's name is its digest."""
    came = {sha256(content).hexdigest(): content for content in contents}
    wanted = list(answer.objects_to_push)
    left = [
        name
        for name in wanted
        if name not in came or not state.store_object(run_id, answer.session_id, name, came[name])
    ]
    del answer.objects_to_push[:]
    answer.objects_to_push.extend(left)
    return bytes(answer.SerializeToString(deterministic=True))


class WholeGrid(HttpGrid):
    """Flower's grid for a coordinator on the server's own machine, which sends and fetches a cohort in one request."""

    _ahead: "_Ahead"

    @classmethod
    def of(cls, grid: Grid, secret: bytes) -> Self:
        """In place of the grid that Flower made for a ServerApp; both may be used."""
        given = cast(HttpGrid, grid)
        made = cls(given._addr, given._insecure, given._cert, token=given._token)
        made.set_run(given.run)
        made._ahead = _Ahead(HttpGrid._runtime_client.fget(made), given, secret)  # type: ignore[attr-defined]
        return made

    @property
    def _runtime_client(self) -> Any:
        return self._ahead

    def _try_push_messages(self, run_id: int, messages: Iterable[Message]) -> list[str]:
        protos, trees, objects = [], [], {}
        for message in messages:
            protos.append(message_to_proto(remove_content_from_message(message)))
            objects.update(get_all_nested_objects(message))
            trees.append(get_object_tree(message))
        request = PushAppMessagesRequest(messages_list=protos, message_object_trees=trees)
        answer = self._ahead.push(request, [found.deflate() for found in objects.values()])
        if answer.objects_to_push:
            push_one = make_push_object_fn_protobuf(
                push_object_protobuf=self._ahead.PushObject,
                node=self.node,
                run_id=run_id,
                session_id=answer.session_id,
            )
            push_objects(objects, push_object_fn=push_one, object_ids_to_push=set(answer.objects_to_push))
        return list(answer.message_ids)


class _Ahead:
    """Flower's client for a grid, but for what it has asked for in advance."""

    def __init__(self, client: Any, grid: HttpGrid, secret: bytes) -> None:
        trusted = ssl.create_default_context(cadata=(grid._cert or b"").decode("ascii"))
        self._client, self._run_id, self._base = client, grid.run.run_id, f"https://{grid._addr}{COHORT}"
        headers, self._retry = {SECRET_HEADER: secret.hex()}, grid._retry_invoker
        self._own = httpx.Client(verify=trusted, headers=headers, timeout=_PATIENCE_S, trust_env=False)
        self._contents: dict[str, bytes] = {}
        self._confirmed: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def push(self, request: PushAppMessagesRequest, contents: Iterable[bytes]) -> PushAppMessagesResponse:
        head, room = request.SerializeToString(deterministic=True), _COHORT_WHOLE
        fitting: list[bytes] = []
        for content in contents:
            if len(content) <= room:
                room -= len(content)
                fitting.append(content)
        return cast(PushAppMessagesResponse, PushAppMessagesResponse.FromString(self._post("push", [head, *fitting])))

    def PullMessages(self, request: PullAppMessagesRequest) -> PullAppMessagesResponse:
        told = [str(self._run_id).encode(), request.SerializeToString(deterministic=True), *self._confirmed]
        head, *contents = parted(self._post("pull", told))
        self._confirmed.clear()
        self._contents = {sha256(content).hexdigest(): content for content in contents}
        return cast(PullAppMessagesResponse, PullAppMessagesResponse.FromString(head))

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:
        content = self._contents.get(request.object_id)
        if content is None:
            return cast(PullObjectResponse, self._client.PullObject(request))
        return PullObjectResponse(object_found=True, object_available=True, object_content=content)

    def ConfirmMessageReceived(self, request: ConfirmMessageReceivedRequest) -> ConfirmMessageReceivedResponse:
        """The next request says so."""
        self._confirmed.append(request.message_object_id.encode("ascii"))
        return ConfirmMessageReceivedResponse()

    def _post(self, what: str, parts: Iterable[bytes]) -> bytes:
        content = joined(parts)
        try:
            found = self._retry.invoke(lambda: self._own.post(self._base + what, content=content).raise_for_status())
            return bytes(found.content)
        except httpx.HTTPError as error:
            raise EngineFailed(f"the server's own port does not answer ({type(error).__name__})") from error
