"""An endpoint that is not ours: ``transformers serve`` behind the gateway, and behind a comparison of modes."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import httpx
import pytest
from processes import gateway
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tacit_privacy import cli
from tacit_simulations.data.errands import frozen

START_S = 120.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tacit-nano as a chat model, which a server of chats takes."""
    folder = tmp_path_factory.mktemp("large")
    with as_file(files("tacit_clients") / "slm" / "nano") as nano:
        LlamaForCausalLM.from_pretrained(nano).save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(nano)
    tokenizer.chat_template = "{{ messages[-1]['content'] }}<|act|>"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=surroundings)
    try:
        _until_healthy(f"http://127.0.0.1:{port}/health", child)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        child.terminate()
        child.wait(30)


def _until_healthy(url: str, child: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and child.poll() is None:
        try:
            if httpx.get(url, timeout=1, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"transformers serve is not up; it ended with {child.poll()}")


def test_the_gateway_speaks_with_it_whole_and_streamed(served: str, model: Path) -> None:
    with gateway("--upstream", served, "--model", str(model)) as process:
        body = {
            "model": "tacit/llm",
            "max_tokens": 12,
            "messages": [{"role": "user", "content": "turn on the kitchen light"}],
        }
        with httpx.Client(base_url=process.base_url, trust_env=False, timeout=60) as client:
            whole = client.post("/chat/completions", json=body).json()
            assert whole["choices"][0]["message"]["content"].strip() == "light on kitchen"
            assert whole["tacit"]["answered_by"] == "llm" and whole["usage"]["completion_tokens"] > 1
            streamed = client.post("/chat/completions", json=body | {"stream": True}).text
        events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
        pieces = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
        assert "".join(pieces).strip() == "light on kitchen"


def test_modes_are_compared_with_it(
    served: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "errands.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in frozen.rows()[:3]))
    command = ["bench", "modes", "--data", str(data), "--upstream", served, "--model", str(model), "--outage", "0"]
    assert cli.main([*command, "--slm", "tacit-nano", "--modes", "routing,fusion", "--no-sweep", "--json"]) == 0
    rows = {row["baseline"] or row["mode"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["always-llm-raw"]["failed"] == 0 and rows["always-llm-raw"]["calls"] == 1
    assert rows["fusion"]["tokens_told"] and rows["fusion"]["llm_tokens"] > 0
