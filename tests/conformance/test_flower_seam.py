"""The parts of Flower that are private by convention are as they were when the seams were written: 1.41.

A release that changes one fails here, by name, and not in a fleet.
"""

import inspect
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import flwr.supernode.fleet_http_client as fleet
import pytest
import uvicorn
from flwr.common import constant
from flwr.proto import control_pb2, fleet_pb2, heartbeat_pb2, message_pb2, runtime_pb2
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink import extensions, main
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
from flwr.superlink.runtime import run_serverapp
from flwr.superlink.servicer.fleet import fleet_handlers

from tacit_clients import flower_seam as device_side
from tacit_server import flower_seam as server_side


def test_the_release_is_the_one_that_the_seams_were_written_for() -> None:
    assert version("flwr").split(".")[:2] == ["1", "41"]


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (
            run_serverapp,
            "runtime_api_address log_queue token insecure certificates parent_pid runtime_dependency_install",
        ),
        (
            ControlHttpClient.from_server_address,
            "server_address insecure root_certificates interceptors retry_invoker",
        ),
        (extensions.get_middleware, ""),
    ],
)
def test_functions_take_what_they_took(function: Callable[..., Any], names: str) -> None:
    assert list(inspect.signature(function).parameters) == names.split()


@pytest.mark.parametrize(
    ("client", "calls"),
    [
        (fleet.FleetHttpClient, "SendNodeHeartbeat DeactivateNode PullMessages PushMessages GetRun GetFab"),
        (fleet.FleetHttpClient, "PushObject PullObject ConfirmMessageReceived"),
        (ControlHttpClient, "StartRun StopRun"),
        (RuntimeHttpClient, "AcquireTask PushMessages"),
    ],
)
def test_clients_have_the_calls_that_are_made(client: type, calls: str) -> None:
    assert [name for name in calls.split() if not callable(getattr(client, name, None))] == []


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (fleet_pb2.PullMessagesResponse, "messages_list message_object_trees"),
        (fleet_pb2.PushMessagesRequest, "node messages_list message_object_trees clientapp_runtime_list"),
        (fleet_pb2.PushMessagesResponse, "objects_to_push session_id"),
        (heartbeat_pb2.SendNodeHeartbeatRequest, "node heartbeat_interval"),
        (message_pb2.PushObjectRequest, "node run_id object_id object_content session_id"),
        (message_pb2.PullObjectResponse, "object_found object_available object_content"),
        (message_pb2.ConfirmMessageReceivedRequest, "node run_id message_object_id"),
        (control_pb2.StartRunRequest, "fab override_config"),
        (runtime_pb2.AcquireTaskRequest, "supported_task_types"),
        (runtime_pb2.PushAppMessagesRequest, "messages_list"),
    ],
)
def test_messages_have_the_fields_that_are_read(message: Any, fields: str) -> None:
    assert [name for name in fields.split() if name not in message.DESCRIPTOR.fields_by_name] == []


def test_superlink_asks_for_middleware_where_the_wall_is_put() -> None:
    """Without this hook every interface would be open, so its absence must not go unnoticed."""
    assert "*extensions.get_middleware()" in inspect.getsource(main._get_middleware)
    assert "middleware=_get_middleware()" in inspect.getsource(main.create_app)
    command = sys.modules[SuperLinkLifespan.__module__]
    assert "create_app(lifespan_config, SuperLinkLifespan)" in inspect.getsource(command._run_superlink_http_api)


def test_superlink_is_served_by_the_one_call_that_is_told_how_long_to_wait() -> None:
    serving = inspect.getsource(sys.modules[SuperLinkLifespan.__module__])
    assert serving.count("uvicorn.run(") == 1 and serving.count("uvicorn.") == 1
    assert "timeout_graceful_shutdown" not in serving
    told = inspect.signature(uvicorn.run).parameters
    assert "timeout_graceful_shutdown" in told


def test_superlink_asks_in_one_place_whether_a_run_goes_on() -> None:
    """Where a run that is not known is made one that is over: every call of a node about a run asks there."""
    calls = inspect.getsource(fleet_handlers)
    assert calls.count("check_abort(") == 6 and "import check_abort" in calls
    assert list(inspect.signature(vars(fleet_handlers)["check_abort"]).parameters) == [
        "run_id",
        "abort_status_list",
        "state",
    ]


def test_the_interfaces_have_the_paths_that_the_wall_knows() -> None:
    application = main.create_app.__globals__
    routers = {name: application[name].prefix for name in ("control_router", "fleet_router")}
    assert routers == {"control_router": server_side.CONTROL.rstrip("/"), "fleet_router": server_side.FLEET.rstrip("/")}
    assert server_side.PUSHED in inspect.getsource(RuntimeHttpClient.PushMessages)


def test_nodes_are_taken_for_gone_after_the_heartbeats_that_are_counted_on() -> None:
    assert constant.HEARTBEAT_MIN_INTERVAL <= device_side.HEARTBEAT_S <= constant.HEARTBEAT_MAX_INTERVAL
    assert constant.HEARTBEAT_PATIENCE == 2


def test_a_process_says_who_it_is_in_one_place() -> None:
    device_side.adopt_identity(5, 6, 7)
    assert (TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id) == (5, 6, 7)
    device_side.adopt_identity()
