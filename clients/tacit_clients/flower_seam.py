"""The one place of the device side that touches parts of Flower which are private by convention (flwr 1.41).

``tests/conformance/test_flower_seam.py`` fails loudly where a release changes them.
"""

import io
import ssl
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.fleet_pb2 import (
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.error import ApiErrorCode
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    generate_key_pairs,
    private_key_to_bytes,
    public_key_to_bytes,
    sign_message,
)
from flwr.supercore.protobuf.client import ProtobufRequestContext
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from google.protobuf.message import DecodeError

from tacit_privacy.contract import digest
from tacit_privacy.errors import BadInput, NodeUnknown, RunOver, ServerUnreachable
from tacit_privacy.parts import joined, parted

HEARTBEAT_S: Final = 15.0  # SuperLink takes a node for gone after twice as long without one
CLIENT_APP: Final = "tacit_clients.app:app"
_CODELESS: Final = frozenset({"pyproject.toml", "LICENSE", ".info/CONTENT"})  # what a bundle without code consists of
_MESSAGES: Final = "/v1/tacit/messages/"
_OVER: Final = (ApiErrorCode.FLEET_RUN_STATUS_NOT_ALLOWED, ApiErrorCode.FLEET_GET_RUN_FAILED)
_WHOLE: Final = 4 * 2**20  # bytes of a reply's parts that are sent at once; more go one by one, so that a cut costs one
_LONGEST_SETTINGS: Final = 100_000  # bytes of a bundle's pyproject.toml
_LONGEST_ANSWER: Final = 2**30  # bytes; the device's own limit of memory may be lower
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _PATIENCE_S = 0.02, 0.5, 60.0  # while the sender of a message uploads its parts


def adopt_identity(run_id: int = 1, node_id: int = 0, task_id: int = 1) -> None:
    """Tell Flower who this process is, so that a ``Message`` can be made outside Flower's own runtimes."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, node_id, task_id


@dataclass(frozen=True)
class NodeKey:
    """A key on P-384 that a node speaks to SuperLink with; it never prints itself."""

    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> "NodeKey":
        return cls(generate_key_pairs()[0])

    @classmethod
    def from_bytes(cls, data: bytes) -> "NodeKey":
        return cls(bytes_to_private_key(data))

    def to_bytes(self) -> bytes:
        """PEM, not encrypted: for a sealed store alone."""
        return private_key_to_bytes(self._key)

    def to_openssh(self) -> bytes:
        """The form in which a stock SuperNode reads a key; not encrypted."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())

    @property
    def public(self) -> str:
        """PEM."""
        return public_key_to_bytes(self._key.public_key()).decode("ascii")

    def sign(self, data: bytes) -> bytes:
        return sign_message(self._key, data)

    @property
    def pair(self) -> tuple[ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey]:
        return self._key, self._key.public_key()


@dataclass(frozen=True, slots=True)
class Parcel:
    """A Flower message taken apart, as it travels and as it is kept: header, tree of objects, their contents by id."""

    run_id: int
    header: bytes
    tree: bytes
    objects: Mapping[str, bytes] = field(repr=False)

    @property
    def message_id(self) -> str:
        return str(ObjectTree.FromString(self.tree).object_id)

    def message(self) -> Message:
        """Raises BadInput where the contents are not those that their ids name: SuperLink checks none of it."""
        name = self.message_id
        if any(digest(content) != identifier for identifier, content in self.objects.items()):
            raise BadInput("a message was changed on its way")
        try:
            message = inflate_object_from_contents(name, dict(self.objects))
        except MemoryError:
            raise
        except Exception as error:  # of Flower's readers, each of which fails in a way of its own
            raise BadInput("a message cannot be read") from error
        if not isinstance(message, Message):
            raise BadInput("what came is no message")
        message.metadata.__dict__["_message_id"] = name
        return message

    def envelope(self) -> Message:
        """Who asked what of whom, without what it holds: enough to answer by a refusal."""
        return message_from_proto(MessageProto.FromString(self.header))

    @classmethod
    def of(cls, message: Message) -> "Parcel":
        """A reply, ready to be kept and sent."""
        with no_object_id_recompute():  # else every part is packed and hashed again by each that holds it
            message.metadata.__dict__["_message_id"] = message.object_id
            objects = {name: part.deflate() for name, part in get_all_nested_objects(message).items()}
            tree = get_object_tree(message).SerializeToString(deterministic=True)
        bare = remove_content_from_message(message) if message.has_content() else message
        return cls(message.metadata.run_id, message_to_proto(bare).SerializeToString(deterministic=True), tree, objects)

    def bare(self) -> "Parcel":
        """Without the contents: enough to ask for them again."""
        return replace(self, objects={})

    @property
    def is_bare(self) -> bool:
        return not self.objects

    def pack(self) -> bytes:
        return joined([str(self.run_id).encode(), self.header, self.tree, *self.objects.values()])

    @classmethod
    def unpack(cls, data: bytes) -> "Parcel":
        """The inverse of ``pack``."""
        run_id, header, tree, *contents = parted(data)
        return cls(int(run_id), header, tree, {digest(content): content for content in contents})


class FleetConnection:
    """A node's side of Flower's Fleet protocol, for a process that stays.

    Flower's own connection ends its process where the server does not answer, and is locked out for a minute after a
    kill, since it activates itself anew. A node that is registered may simply go on: a heartbeat brings it online.

    Every call raises ServerUnreachable (try again), NodeUnknown (ask to be registered again) or RunOver.
    """

    def __init__(self, address: str, authority: str, key: NodeKey, node_id: int) -> None:
        """``authority``: the pinned certificate, PEM; nothing else is trusted."""
        trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusted.minimum_version = ssl.TLSVersion.TLSv1_2
        trusted.load_verify_locations(cadata=authority)
        version = RuntimeVersionHttpInterceptor(component_name="SuperNode")
        self._client = FleetHttpClient(
            f"https://{address}", interceptors=[version, NodeAuthHttpInterceptor(*key.pair)], verify=trusted
        )
        self._client._client.event_hooks["response"].append(_bounded)
        self._node = Node(node_id=node_id)

    def heartbeat(self) -> None:
        """Be online for half a minute more."""
        with _explained():
            request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_S)
            known = self._client.SendNodeHeartbeat(request).success
        if not known:
            raise NodeUnknown()

    def offline(self) -> None:
        """Be asked no more, until the next heartbeat."""
        with _explained():
            self._client.DeactivateNode(DeactivateNodeRequest(node_id=self._node.node_id))

    def receive(self) -> Parcel | None:
        """The next message that waits, whole; None where there is none."""
        with _explained():
            head, *contents = self._post("next", PullMessagesRequest(node=self._node).SerializeToString())
            found = PullMessagesResponse.FromString(head)
            if not found.messages_list:
                return None
            (header,), (tree,) = found.messages_list, found.message_object_trees
            run_id = message_from_proto(header).metadata.run_id
        parcel = Parcel(
            run_id, header.SerializeToString(deterministic=True), tree.SerializeToString(deterministic=True), {}
        )
        return self.whole(parcel, {digest(content): content for content in contents})

    def whole(self, parcel: Parcel, came: Mapping[str, bytes] | None = None) -> Parcel:
        """A message with its contents; those that are not in ``came`` are fetched one by one, until it is confirmed."""
        came, tree = came or {}, ObjectTree.FromString(parcel.tree)
        names = (node.object_id for node in iterate_object_tree(tree))
        return replace(
            parcel,
            objects={name: came[name] if name in came else self._object(parcel.run_id, name) for name in names},
        )

    def confirm(self, parcel: Parcel) -> None:
        """Tell the server that a message is needed no more; it forgets the contents."""
        request = ConfirmMessageReceivedRequest(
            node=self._node, run_id=parcel.run_id, message_object_id=parcel.message_id
        )
        with _explained():
            self._post("confirm", request.SerializeToString())

    def send(self, parcel: Parcel, seconds: float = 0.0) -> int:
        """Deliver a reply: what the server has of it already is not sent again. Returns the bytes that were."""
        told = PushMessagesRequest(
            node=self._node,
            messages_list=[MessageProto.FromString(parcel.header)],
            message_object_trees=[ObjectTree.FromString(parcel.tree)],
            clientapp_runtime_list=[seconds],
        )
        sizes = sum(map(len, parcel.objects.values()))
        with_it = list(parcel.objects.values()) if sizes <= _WHOLE else []
        with _explained():
            (said,) = self._post("reply", joined([told.SerializeToString(), *with_it]))
            answer = PushMessagesResponse.FromString(said)
        sent = sum(map(len, with_it))
        for name in answer.objects_to_push:
            request = PushObjectRequest(
                node=self._node,
                run_id=parcel.run_id,
                object_id=name,
                object_content=parcel.objects[name],
                session_id=answer.session_id,
            )
            with _explained():
                if not self._client.PushObject(request).stored:
                    raise ServerUnreachable("the server did not store a part of a reply")
            sent += len(parcel.objects[name])
        return sent

    def check_bundle(self, run_id: int) -> str:
        """The digest of a run's bundle, which holds no code and names the installed app. Raises BadInput otherwise."""
        with _explained():
            run = self._client.GetRun(GetRunRequest(node=self._node, run_id=run_id)).run
            fab = self._client.GetFab(GetFabRequest(node=self._node, hash_str=run.fab_hash, run_id=run_id)).fab
        if digest(fab.content) != run.fab_hash:
            raise BadInput("the run's bundle is not the one that it names")
        check_codeless(fab.content)
        return str(run.fab_hash)

    def close(self) -> None:
        self._client.close()

    def _post(self, what: str, content: bytes) -> list[bytes]:
        """One request for a whole message, beside Flower's protocol and proved as Flower's are: the answer's parts."""
        request = self._client._client.build_request(
            "POST", f"{self._client._base_url}{_MESSAGES}{what}", content=content
        )
        context = ProtobufRequestContext(rpc_method=what, message=self._node, request=request)
        return parted(self._client._send(context).raise_for_status().content)

    def _object(self, run_id: int, name: str) -> bytes:
        """A part of a message; its sender may still be uploading it. A cut costs this part alone."""
        request = PullObjectRequest(node=self._node, run_id=run_id, object_id=name)
        pause, until = _FIRST_PAUSE_S, time.monotonic() + _PATIENCE_S
        while True:
            try:
                with _explained():
                    found = self._client.PullObject(request)
            except ServerUnreachable:
                if time.monotonic() > until:
                    raise
            else:
                if found.object_available:
                    return bytes(found.object_content)
                if not found.object_found or time.monotonic() > until:
                    raise RunOver("a part of a message is gone")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


class _AtMost(httpx.SyncByteStream):
    """What a server sends, up to as much as a device is ready to hold."""

    def __init__(self, stream: httpx.SyncByteStream, most: int) -> None:
        self._stream, self._most = stream, most

    def __iter__(self) -> Iterator[bytes]:
        came = 0
        for chunk in self._stream:
            came += len(chunk)
            if came > self._most:
                raise httpx.RemoteProtocolError("the server sends without end")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _bounded(answer: httpx.Response) -> None:
    if isinstance(answer.stream, httpx.SyncByteStream):
        answer.stream = _AtMost(answer.stream, _LONGEST_ANSWER)


def check_codeless(bundle: bytes) -> None:
    """Raise BadInput unless a bundle holds no code and names the app that is installed here."""
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            names = set(archive.namelist())
            if archive.getinfo("pyproject.toml").file_size > _LONGEST_SETTINGS:
                raise ValueError
            told = tomllib.loads(archive.read("pyproject.toml").decode("utf-8"))
        named = told["tool"]["flwr"]["app"]["components"]["clientapp"]
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive fails in many ways
        raise BadInput("the run's bundle cannot be read") from error
    if names - _CODELESS:
        raise BadInput(f"the run's bundle carries {min(names - _CODELESS)[:80]!r}; only installed code is run here")
    if named != CLIENT_APP:
        raise BadInput(f"the run's bundle names another app, {str(named)[:80]!r}; only {CLIENT_APP} is run here")


def _code(answer: httpx.Response) -> int:
    """Flower's own number of an error; 0 where it says none."""
    try:
        return int(answer.json()["code"])
    except (ValueError, KeyError, TypeError):
        return 0


@contextmanager
def _explained() -> Iterator[None]:
    """Flower's errors as those that a device can act on."""
    try:
        yield
    except (BadInput, DecodeError, ValueError) as error:
        raise ServerUnreachable("the server's answer cannot be read") from error
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status == httpx.codes.FORBIDDEN and _code(error.response) in _OVER:
            raise RunOver("the run of a message is over") from error
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND):
            raise NodeUnknown() from error
        if status == httpx.codes.PRECONDITION_FAILED:
            raise RunOver("the run of a message is over") from error
        raise ServerUnreachable(f"the server answered {status}") from error
    except (httpx.HTTPError, ssl.SSLError, OSError) as error:
        raise ServerUnreachable(f"the server cannot be reached ({type(error).__name__})") from error
