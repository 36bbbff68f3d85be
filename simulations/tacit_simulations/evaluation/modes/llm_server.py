"""A large model of one's own: a causal model behind real HTTP on loopback, in a process that ends with this one.

``python -m tacit_simulations.evaluation.modes.llm_server MODEL MAX_TOKENS`` is that process: this project's gateway
with nothing but ``tacit/local``. It says its address in one line and serves until its standard input closes.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from tacit_privacy.errors import BadInput, EngineFailed

LOCAL: Final = "tacit/local"
_START_S, _END_S, _TAIL_BYTES = 300.0, 10.0, 2000
_OWN_PROXY: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # none, whatever the environment says


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a large model is: the OpenAI protocol at ``url``, and its name there and for people."""

    url: str
    model: str
    name: str


@contextmanager
def serving(model: str, max_tokens: int) -> Iterator[Endpoint]:
    """Serve ``model`` in a child process while the block runs; it has answered once before the block begins.

    Raises BadInput where there is no such model, EngineFailed with the child's last words where it does not start.
    """
    from tacit_clients.slm.generation import LocalModel

    LocalModel.open(model).check()  # in a sentence, before a process is started
    command = [sys.executable, "-m", __name__, model, str(max_tokens)]
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True
        )
        try:
            url = _address(child, said)
            _warm(url, child, said)
            yield Endpoint(url, LOCAL, model)
        finally:
            _end(child)


def _address(child: "subprocess.Popen[bytes]", said: IO[bytes]) -> str:
    """The base URL that the child prints once it listens. Raises EngineFailed."""
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.append(child.stdout.readline() if child.stdout else b""))
    reading.daemon = True
    reading.start()
    reading.join(_START_S)
    try:
        url = json.loads(found[0])["base_url"]
    except (IndexError, ValueError, KeyError, TypeError):
        raise EngineFailed(f"the large model's process did not start:\n{_tail(said)}") from None
    return str(url)


def _warm(url: str, child: "subprocess.Popen[bytes]", said: IO[bytes]) -> None:
    """Health, then one answer, so that no question pays for loading. Raises EngineFailed."""
    body = {"model": LOCAL, "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]}
    asked = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    end = time.monotonic() + _START_S
    try:
        with _OWN_PROXY.open(f"{url.removesuffix('/v1')}/health", timeout=_START_S) as reply:
            reply.read()
        with _OWN_PROXY.open(asked, timeout=max(1.0, end - time.monotonic())) as reply:
            reply.read()
    except OSError as error:
        state = "" if child.poll() is None else f"; it ended with {child.returncode}"
        raise EngineFailed(f"the large model's process does not answer ({error}){state}:\n{_tail(said)}") from None


def _tail(said: IO[bytes]) -> str:
    """The child's last words."""
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - _TAIL_BYTES))
    return said.read().decode("utf-8", "replace").strip() or "it said nothing"


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Close its standard input, then ask, then kill."""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        try:
            child.wait(_END_S)
            return
        except subprocess.TimeoutExpired:
            if number is not None:
                child.send_signal(number)


# --- the child


def main(model: str, max_tokens: int) -> None:
    """Serve until standard input closes: that also happens when the parent dies."""
    from tacit_clients.gateway.app import build
    from tacit_clients.gateway.serving import Server, listening
    from tacit_clients.gateway.settings import GatewaySettings
    from tacit_clients.slm.generation import LocalModel
    from tacit_privacy.pii.vault.store import Vault
    from tacit_simulations.evaluation.modes.asking import KEEP_ALL

    settings = GatewaySettings.read(
        None, {"upstream.url": "http://127.0.0.1:9/v1", "upstream.model": "none", "local.max_tokens": max_tokens}
    )

    async def serve(bound: Any) -> None:
        serving = Server(built)
        running = asyncio.create_task(serving.serve(sockets=[bound]))
        while not serving.started and not running.done():
            await asyncio.sleep(0.01)
        print(json.dumps({"base_url": f"http://127.0.0.1:{bound.getsockname()[1]}/v1"}), flush=True)
        threading.Thread(target=_until_closed, daemon=True).start()
        await running

    with Vault.ephemeral() as vault, listening("127.0.0.1", 0) as bound:
        built = build(settings, KEEP_ALL, vault, LocalModel.open(model, longest=max_tokens))
        asyncio.run(serve(bound))


def _until_closed() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise BadInput("usage: python -m tacit_simulations.evaluation.modes.llm_server MODEL MAX_TOKENS")
    main(sys.argv[1], int(sys.argv[2]))
