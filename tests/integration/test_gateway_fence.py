"""The gateway where every other connection is forbidden: nothing but the upstream is ever reached."""

import socket
import subprocess
import sys

import httpx
from gateways import ANNA, EMAIL, user
from processes import FENCE, gateway
from upstreams import Upstream, upstream


def port_of(end: Upstream) -> int:
    return int(end.url.split(":")[2].split("/")[0])


def test_nothing_else_leaves() -> None:
    with (
        upstream() as end,
        gateway(
            "--upstream", end.url, "--model", "up-1", fenced_to=port_of(end), TACIT_UPSTREAM_KEY="sk-fence"
        ) as process,
        httpx.Client(base_url=process.base_url, trust_env=False, timeout=60) as client,
    ):
        text = f"Please write to {ANNA} at {EMAIL}."
        for model in ("tacit/auto", "tacit/local", "tacit/llm"):
            for stream in (False, True):
                body = {"model": model, "messages": [user(text)], "stream": stream, "max_tokens": 8}
                assert client.post("/chat/completions", json=body).status_code == 200
                body = {"model": model, "input": text, "stream": stream, "max_output_tokens": 8}
                assert client.post("/responses", json=body).status_code == 200
        assert client.post("/preview", json={"messages": [user(text)]}).status_code == 200
        assert process.stop() == 0
        assert len(end.received) >= 4 and {head["authorization"] for head in end.heads} == {"Bearer sk-fence"}
        assert {path for path in end.paths} == {"/v1/chat/completions?"}
        for value in (ANNA, "Kowalska", EMAIL):
            assert value.encode() not in end.everything and value not in process.stderr
        assert "sk-fence" not in process.stderr and "fence" not in process.stderr


def test_the_fence_holds() -> None:
    """The test above can fail: a process behind the fence that reaches elsewhere ends."""
    with socket.create_server(("127.0.0.1", 0)) as open_port:
        other = open_port.getsockname()[1]
        words = f"import sys; sys.argv = ['x', '1']; exec(open({str(FENCE)!r}).read().split('if __name__')[0]);"
        words += f"sys.addaudithook(fence); import socket; socket.create_connection(('127.0.0.1', {other}))"
        assert subprocess.run([sys.executable, "-c", words], capture_output=True).returncode == 97
