"""Other people's programs at both ends: ``transformers serve`` and LiteLLM's proxy as upstream, LiteLLM as client.

LiteLLM is no dependency: ``TACIT_LITELLM`` names the python of an environment that has ``litellm[proxy]``.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gateways import ANNA, EMAIL, user
from openai import OpenAI
from processes import gateway
from upstreams import Upstream, upstream

NANO = Path(__file__).parents[2] / "clients" / "tacit_clients" / "slm" / "nano"
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
TEXT = f"Write to {ANNA} at {EMAIL}."
POLICY = '[detection]\nrecogniser = "none"\ndeny = ["Anna Kowalska"]\n'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def served(command: list[str], health: str, log: Path, patience_s: float, **environment: str) -> Iterator[None]:
    """A server of somebody else's; the test is skipped, with what it said last, where it does not start."""
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment}
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=surroundings)
    try:
        until = time.monotonic() + patience_s
        while time.monotonic() < until and child.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(health, trust_env=False, timeout=2).status_code == 200:
                    yield
                    return
            time.sleep(0.3)
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        pytest.skip(f"{command[0]} did not start: {last}")
    finally:
        child.terminate()
        child.wait(20)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("policy") / "policy.toml"
    found.write_text(POLICY)
    return found


def test_transformers_serve_as_upstream(tmp_path: Path, policy: Path) -> None:
    program = Path(sys.executable).with_name("transformers")
    if not program.exists():
        pytest.skip("no transformers command in this environment")
    model = tmp_path / "nano"
    shutil.copytree(NANO, model)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    port = free_port()
    command = [str(program), "serve", str(model), "--port", str(port), "--host", "127.0.0.1", "--device", "cpu"]
    health, base = f"http://127.0.0.1:{port}/health", f"http://127.0.0.1:{port}/v1"
    with (
        served(command, health, tmp_path / "log", 90),
        gateway("--upstream", base, "--model", str(model), "--policy", str(policy), "--no-local") as process,
        OpenAI(base_url=process.base_url, api_key="none", max_retries=0, timeout=120) as client,
    ):
        whole = client.chat.completions.create(
            model="tacit/llm", messages=[{"role": "user", "content": TEXT}], max_tokens=8, temperature=0
        )
        parts = client.chat.completions.create(
            model="tacit/llm", messages=[{"role": "user", "content": TEXT}], max_tokens=8, temperature=0, stream=True
        )
        said = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        response = client.responses.create(model="tacit/llm", input=TEXT, max_output_tokens=8)
    assert whole.usage is not None and whole.usage.completion_tokens > 0
    assert said and response.output_text is not None
    assert ANNA not in (tmp_path / "log").read_text(errors="replace")


def litellm_python() -> str:
    """The python that has LiteLLM, or a skip with the reason."""
    named = os.environ.get("TACIT_LITELLM", "")
    if named and Path(named).exists():
        return named
    if importlib.util.find_spec("litellm") is not None:
        return sys.executable
    pytest.skip("LiteLLM is not installed; TACIT_LITELLM=/path/to/python names one that has it")


ASKING = """
import json, sys, litellm
base, text = sys.argv[1:]
settings = dict(model="openai/tacit/llm", api_base=base, api_key="none", messages=[{"role": "user", "content": text}])
whole = litellm.completion(**settings).choices[0].message.content
parts = [part.choices[0].delta.content or "" for part in litellm.completion(**settings, stream=True) if part.choices]
tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
tools = litellm.completion(**settings, tools=[tool]).choices[0].message.content
print(json.dumps([whole, "".join(parts), tools]))
"""


@pytest.fixture
def end() -> Iterator[Upstream]:
    with upstream() as found:
        yield found


def test_litellm_as_client(end: Upstream, policy: Path) -> None:
    python = litellm_python()
    with gateway("--upstream", end.url, "--model", "m", "--policy", str(policy), "--no-local") as process:
        done = subprocess.run(
            [python, "-c", ASKING, process.base_url, TEXT],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"},
        )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.strip().splitlines()[-1]) == [TEXT, TEXT, TEXT]
    assert ANNA.encode() not in end.everything and EMAIL.encode() not in end.everything


def test_litellms_proxy_as_upstream(end: Upstream, policy: Path, tmp_path: Path) -> None:
    program = Path(litellm_python()).with_name("litellm")
    if not program.exists():
        pytest.skip("LiteLLM's proxy is not installed: litellm[proxy]")
    config = tmp_path / "litellm.yaml"
    config.write_text(
        json.dumps(
            {
                "model_list": [
                    {"model_name": "m", "litellm_params": {"model": "openai/up", "api_base": end.url, "api_key": "x"}}
                ],
                "litellm_settings": {"telemetry": False},
            }
        )
    )  # JSON is YAML
    port = free_port()
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    quiet["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    health, base = f"http://127.0.0.1:{port}/health/liveliness", f"http://127.0.0.1:{port}/v1"
    with (
        served(command, health, tmp_path / "log", 240, **quiet),
        gateway("--upstream", base, "--model", "m", "--policy", str(policy), "--no-local") as process,
        httpx.Client(base_url=process.base_url, trust_env=False, timeout=60) as client,
    ):
        body = {"model": "tacit/llm", "messages": [user(TEXT)]}
        whole = client.post("/chat/completions", json=body).json()
        streamed = client.post("/chat/completions", json={**body, "stream": True}).text
    assert whole["choices"][0]["message"]["content"] == TEXT and whole["tacit"]["restored"] == 2
    assert "[DONE]" in streamed and '"error"' not in streamed
    assert ANNA.encode() not in end.everything and sum(b"CUSTOM_" in raw for raw in end.received) == 2
