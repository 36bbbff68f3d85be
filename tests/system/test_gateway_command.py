"""``tacit gateway`` as a command: what it prints, what it refuses, how it ends, what it keeps."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from gateways import ANNA, EMAIL, user
from processes import gateway
from upstreams import upstream

from tacit_clients.commands import gateway as command

TACIT = [sys.executable, "-c", "import sys; from tacit_privacy.cli import main; sys.exit(main())"]
WITH_LOCAL = ("--upstream", "https://api.example/v1", "--model", "m")
UP = (*WITH_LOCAL, "--no-local")


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    surroundings = {k: v for k, v in os.environ.items() if k not in ("TACIT_TOKEN", "TACIT_UPSTREAM_KEY")}
    surroundings |= {"HF_HUB_OFFLINE": "1", **environment}
    return subprocess.run([*TACIT, "gateway", *arguments], capture_output=True, text=True, timeout=60, env=surroundings)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "--upstream"),
        (("--upstream", "https://api.example/v1"), "--model"),
        ((*UP, "--host", "0.0.0.0"), "TACIT_TOKEN"),
        ((*UP, "--host", "192.0.2.1"), "TACIT_TOKEN"),
        (("--upstream", "http://api.example/v1", "--model", "m"), "allow_http"),
        ((*UP, "--config", "/nowhere.toml"), "cannot read"),
        ((*UP, "--policy", "/nowhere.toml"), "cannot read"),
        ((*UP, "--key-file", "/nowhere.key"), "cannot read"),
        ((*UP, "--port", "70000"), "port"),
        ((*WITH_LOCAL, "--slm", "/nofolder"), "there is no model folder /nofolder"),
        ((*WITH_LOCAL, "--slm", "nofolder"), "there is no folder nofolder"),
        ((*WITH_LOCAL, "--adapter", "/nofolder"), "no adapter in /nofolder"),
        ((*UP, "--slm", "/nofolder"), "--no-local means no local model"),
        ((*UP, "--device", "/nofolder"), "--no-local means no local model"),
        ((*WITH_LOCAL, "--device", "/nofolder"), "/nofolder holds no device"),
        ((*WITH_LOCAL, "--device", "/nofolder", "--adapter", "/nofolder"), "leave out --adapter"),
        ((*UP, "--vault-key", "file"), "add --vault FILE"),
        ((*UP, "--vault-key", "auto"), "add --vault FILE"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(arguments: tuple[str, ...], word: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and word in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_key_file_that_others_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-secret\n")
    key.chmod(0o644)
    done = run(*UP, "--key-file", str(key))
    assert done.returncode == 2 and "chmod 600" in done.stderr and "sk-secret" not in done.stderr


def test_help_loads_nothing_heavy() -> None:
    words = "import sys; from tacit_privacy.cli import main; main(['gateway', '--help']); "
    words += "sys.exit(any(m in sys.modules for m in ('torch', 'aiohttp', 'httpx', 'fastapi', 'presidio_analyzer')))"
    assert subprocess.run([sys.executable, "-c", words], capture_output=True).returncode == 0


def test_without_the_fast_loop_it_runs_on_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    loop = command._loop()
    loop.close()
    assert type(loop).__module__.startswith("asyncio.")


def test_without_a_local_model_torch_is_never_loaded() -> None:
    with upstream() as end, gateway("--upstream", end.url, "--model", "m", "--no-local") as process:
        answered = httpx.post(
            f"{process.base_url}/chat/completions",
            json={"model": "tacit/llm", "messages": [user(f"I am {ANNA}, {EMAIL}")]},
            trust_env=False,
            timeout=60,
        )
        assert answered.status_code == 200
        mapped = Path(f"/proc/{process.child.pid}/maps").read_text()
        status = Path(f"/proc/{process.child.pid}/status").read_text()
        words = Path(f"/proc/{process.child.pid}/cmdline").read_bytes()
    assert "libtorch" not in mapped and b"sk-" not in words
    assert (find_spec("uvloop") is None) != ("uvloop" in mapped)
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident < 500_000  # kB


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_ends_gracefully(number: int, code: int) -> None:
    with upstream() as end, gateway("--upstream", end.url, "--model", "m", "--no-local") as process:
        start = time.monotonic()
        assert process.stop(number) == code
        assert time.monotonic() - start < 10 and "Traceback" not in process.stderr


def test_key_file_config_vault_and_page(tmp_path: Path) -> None:
    key, config, vault = tmp_path / "key", tmp_path / "gateway.toml", tmp_path / "device.vault"
    key.write_text("sk-from-file\n")
    key.chmod(0o600)
    with upstream() as end:
        config.write_text(f'[upstream]\nurl = "{end.url}"\nmodel = "from-file"\n[local]\nenabled = false\n')
        arguments = ("--config", str(config), "--key-file", str(key), "--vault", str(vault), "--vault-key", "file")
        with gateway(*arguments) as process, httpx.Client(trust_env=False, timeout=60) as client:
            body = {"model": "tacit/llm", "messages": [user(f"I am {ANNA}, {EMAIL}")]}
            head = {"x-tacit-conversation": "mine"}
            for _ in range(2):
                assert client.post(f"{process.base_url}/chat/completions", json=body, headers=head).status_code == 200
            opened = client.get(process.page)
            assert opened.status_code == 303 and client.get(process.page).status_code == 401
            assert process.stop() == 0
        with gateway(*arguments) as process:
            httpx.post(f"{process.base_url}/chat/completions", json=body, headers=head, trust_env=False, timeout=60)
        assert len(set(end.received)) == 1 and end.bodies[0]["model"] == "from-file"
        assert {head["authorization"] for head in end.heads} == {"Bearer sk-from-file"}
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("device.vault"))
    assert b"Kowalska" not in kept and b"kowalska" not in kept


def test_a_taken_port_is_said_in_a_sentence() -> None:
    with upstream() as end:
        done = run("--upstream", end.url, "--model", "m", "--no-local", "--port", end.url.split(":")[2].split("/")[0])
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "is taken; choose another with --port, or 0 for any that is free" in done.stderr


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "x" * 70])
def test_an_address_of_nobody_here_is_said_in_a_sentence(host: str) -> None:
    done = run(*UP, "--host", host, "--port", "0", TACIT_TOKEN="secret-token")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert host in done.stderr and "choose another with --host" in done.stderr and "secret" not in done.stderr


@pytest.mark.parametrize(
    ("table", "arguments", "sentence"),
    [
        ("[upstream]\nretires = 3", UP, "{file}: unknown setting upstream.retires; did you mean upstream.retries?"),
        ("[server]\nport = 70000", UP, "{file}: server.port: "),
        ("[server]\nhost = '0.0.0.0'", UP, "{file}: server: host 0.0.0.0 lets other machines in"),
        ("server = 3", (*UP, "--port", "0"), "{file}: server must be a table of settings"),
        ("[keeping]\nkey = 'file'", UP, "{file}: keeping: a vault's key is named but no vault"),
        ("gate_threads = 1", (*UP, "--port", "70000"), "server.port: "),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(
    tmp_path: Path, table: str, arguments: tuple[str, ...], sentence: str
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(table)
    done = run(*arguments, "--config", str(file), TACIT_UPSTREAM_KEY="sk-secret")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "sk-secret" not in done.stderr
    assert done.stderr.startswith(f"tacit: {sentence.format(file=file)}")
