"""The devices of a measurement: resident ones, stock Flower SuperNodes, light ones; all enrolled in the same way."""

import json
import os
import sys
from pathlib import Path
from typing import Final

from tacit_clients.device.enrolling import fingerprint_of, signed_application
from tacit_clients.device.server import Server
from tacit_clients.flower_seam import NodeKey
from tacit_privacy.contract import AdapterSpec
from tacit_privacy.enrolment import Application, Placement, Token
from tacit_privacy.files import OWNER_ALONE, write_whole
from tacit_privacy.ledger.keys import SigningKey
from tacit_simulations.evaluation.deployment.children import Child
from tacit_simulations.evaluation.deployment.light import LightPlan
from tacit_simulations.evaluation.deployment.throwaway import TACIT, ThrowAway, free_port

SUPERNODE: Final = str(Path(sys.executable).with_name("flower-supernode"))
_PER_PROCESS: Final = 100  # light devices
_NOT_NICE: Final = "\n[limits]\nnice = 0\n"  # a SuperNode is not either, and they are compared


def start_resident(server: ThrowAway, devices: int, examples: int) -> list[Child]:
    """Enrol devices with data of their own by the command, and run them by the command."""
    names = [f"device{number}" for number in range(devices)]
    folder = server.children.folder
    for number, name in enumerate(names):
        _write_examples(folder / f"{name}.jsonl", examples, number)
    tokens = [{"TACIT_ENROLMENT_TOKEN": token} for token in server.tokens(devices)]
    server.children.run(*(_enrolment(server, name) for name in names), environments=tokens)
    for name in names:
        with (folder / name / "device.toml").open("a", encoding="utf-8") as config:
            config.write(_NOT_NICE)
    return [server.children.start(name, [TACIT, "device", "run", *_place(name)]) for name in names]


def start_stock(server: ThrowAway, devices: int) -> list[Child]:
    """Stock SuperNodes: a process for every message, which runs the installed ClientApp on generated conversations."""
    return [_stock(server, number, devices, token) for number, token in enumerate(server.tokens(devices))]


def start_light(server: ThrowAway, devices: int, spec: AdapterSpec) -> list[Child]:
    """Devices without a model, a hundred to a process and on as many processes as there are processors at least."""
    processes = max(min(os.cpu_count() or 1, devices), -(-devices // _PER_PROCESS))
    tokens, authority = server.tokens(devices), server.directory.authority.read_text(encoding="ascii")
    return [
        _light(server, f"light{number}", LightPlan(address=server.address, authority=authority, tokens=own, spec=spec))
        for number in range(processes)
        if (own := tuple(tokens[number::processes]))
    ]


def _enrolment(server: ThrowAway, name: str) -> list[str]:
    told = ("--server", f"https://{server.address}", "--data", f"{name}.jsonl", "--name", name)
    return [TACIT, "device", "enroll", *told, *_place(name)]


def _place(name: str) -> tuple[str, ...]:
    """The key of its store lies beside it: nothing here is worth a place in the owner's keyring."""
    return ("--dir", name, "--store-key", f"file:{name}.key")


def _write_examples(path: Path, examples: int, first: int) -> None:
    """Short requests of a made-up household, other ones for every device."""
    things, answers = ("lamp", "heater", "radio", "kettle"), ("done", "it is on", "as you wish")
    said = [(things[number % 4], answers[number % 3]) for number in range(first, first + examples)]
    rows = ({"prompt": f"turn on the {thing}", "target": answer} for thing, answer in said)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _stock(server: ThrowAway, number: int, devices: int, token: str) -> Child:
    signing, node = SigningKey.generate(), NodeKey.generate()
    placed = enrolled(server, f"stock{number}", token, signing, node)
    keys = server.children.folder / f"stock{number}"
    keys.mkdir(mode=0o700)
    signing.save(keys / "device.key")
    write_whole(keys / "node.key", node.to_openssh().decode("ascii"), mode=OWNER_ALONE)
    told = {
        "identity": placed.identity,
        "device-key": str(keys / "device.key"),
        "server-key": placed.server_key,
        "partition-id": number,
        "num-partitions": devices,
    }
    config = " ".join(f"{name}={json.dumps(value)}" for name, value in told.items())
    command = [SUPERNODE, "--superlink", server.address, "--root-certificates", str(server.directory.authority)]
    command += ["--auth-supernode-private-key", str(keys / "node.key"), "--port", str(free_port())]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {"FLWR_HOME": str(keys), "PATH": path}  # it looks for its own commands
    return server.children.start(f"stock{number}", [*command, "--node-config", config], environment)


def enrolled(server: ThrowAway, name: str, token: str, signing: SigningKey, node: NodeKey) -> Placement:
    """Let a device of these keys in, by a token."""
    read, authority = Token.read(token), server.directory.authority.read_text(encoding="ascii")
    asked = Application(
        server=read.fingerprint, public_key=signing.public, node_key=node.public, name=name, token=read.secret
    )
    connection = Server(server.address, authority, fingerprint_of(authority), signing)
    try:
        return connection.enrol(signed_application(asked, signing, node))
    finally:
        connection.close()


def _light(server: ThrowAway, name: str, plan: LightPlan) -> Child:
    path = server.children.folder / f"{name}.json"
    write_whole(path, plan.model_dump_json(), mode=OWNER_ALONE)
    return server.children.start(name, [sys.executable, "-m", LightPlan.__module__, str(path)])
