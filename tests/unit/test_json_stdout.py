"""``--json`` is a promise of every command: one document on stdout or nothing, whatever libraries print or warn."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from ledgers import FIXED, KEY, Books, policy

from tacit_privacy import cli
from tacit_privacy.accounting.bounds import Bound
from tacit_privacy.accounting.events import Adjacency, GaussianEvent
from tacit_privacy.accounting.plan import Plan

# Wraps one function of a command so that, before it works, everything that can print to stdout does so.
NOISY = """
import ctypes, importlib, logging, os, subprocess, sys, warnings
from tacit_privacy import cli

module, _, name = sys.argv[1].rpartition(".")
logging.basicConfig(stream=sys.stdout, level=logging.INFO)
inner = getattr(importlib.import_module(module), name)

def noisy(*arguments, **named):
    print("stray print")
    os.write(1, b"stray write\\n")
    ctypes.CDLL(None).puts(b"stray C")
    subprocess.run([sys.executable, "-c", "print('stray child')"], check=True)
    logging.info("stray log")
    warnings.warn("stray warning")
    return inner(*arguments, **named)

setattr(importlib.import_module(module), name, noisy)
sys.exit(cli.main(sys.argv[2:]))
"""
STRAYS = ("print", "write", "C", "child", "log", "warning")

EPSILON = "privacy epsilon --noise-multiplier 1 --rounds 3 --delta 1e-5 --json"
CALIBRATE = "privacy calibrate --epsilon 2 --rounds 3 --delta 1e-5 --json"
BENCH = "bench simulation --devices 200 --cohort 20 --rounds 2 --json"
SIMULATE = "simulate million --devices 200 --rounds 2 --set federation.cohort=20 --out run --json"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a closed ledger that verifies, one that does not, and things that are no ledger."""
    folder = tmp_path_factory.mktemp("ledger")
    run = Books(policy(), GaussianEvent(noise_multiplier=2.0, sampling=FIXED))
    run.close()
    lines = run.lines()
    (folder / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "broken.jsonl").write_text(lines[0].replace('"device"', '"person"') + "\n")
    (folder / "ledger.pub").write_text(KEY.public + "\n")
    (folder / "bytes").write_bytes(b"\xff\xfe\x00")
    return folder


def run(words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("tacit")), *words.split()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("words", "wrapped", "key"),
    [
        ("audit verify ledger.jsonl --key ledger.pub --json", "tacit_privacy.ledger.verify.verify", "ok"),
        (EPSILON, "tacit_privacy.accounting.plan.Plan.bounds", "bounds"),
        (CALIBRATE, "tacit_privacy.accounting.plan.Plan.calibrate", "noise_multiplier"),
        ("models list --json", "tacit_simulations.commands._nano.facts", "models"),
        ("models train --out m --json", "tacit_simulations.pretraining.train.train", "path"),
        ("config check home --json", "tacit_simulations.scenario.load_scenario", "digest"),
        ("doctor --json", "tacit_simulations.commands._checkup.examine", "findings"),
        (BENCH, "tacit_simulations.evaluation.speed.measure_fleet", "fleet"),
        (SIMULATE, "tacit_simulations.run.simulate", "rounds"),
    ],
)
def test_whatever_else_is_printed_goes_to_stderr(
    ledger: Path, tmp_path: Path, words: str, wrapped: str, key: str
) -> None:
    script = NOISY
    if wrapped.startswith("tacit_privacy.accounting.plan.Plan."):  # a method: its class is no module
        script = script.replace("importlib.import_module(module)", "importlib.import_module(module[:-5]).Plan")
    if "models train" in words:  # hours of work: only what it says is looked at
        script = script.replace("return inner(*arguments, **named)", "return None")
    folder = ledger if "audit" in words else tmp_path
    command = [sys.executable, "-c", script, wrapped, *words.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert key in json.loads(done.stdout)
    for stray in STRAYS:
        assert f"stray {stray}" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("audit verify nowhere.jsonl --key ledger.pub", "cannot read nowhere.jsonl: no such file"),
        ("audit verify ledger.jsonl --key nowhere.pub", "cannot read nowhere.pub: no such file"),
        ("audit verify ledger.jsonl --key ledger.jsonl", "does not hold a public key of 64 hexadecimal digits"),
        ("audit verify bytes --key ledger.pub", "cannot read bytes: it is not UTF-8 text"),
        ("audit verify ledger.jsonl", "--key"),
        ("privacy epsilon --noise-multiplier 1 --rounds 3 --delta 2", "delta"),
        ("privacy epsilon --noise-multiplier 1 --rounds 0 --delta 0.1", "0"),
        ("privacy epsilon --noise-multiplier 1e-200 --rounds 3 --delta 0.1", "1e-200"),
        ("privacy epsilon --noise-multiplier 5e-324 --rounds 3 --delta 0.1 --sampling fixed", "raise it"),
        (f"{EPSILON[:-7]} --noise-multiplier 1e-200 --sampling poisson --cohort 2 --population 9", "raise it"),
        ("privacy calibrate --epsilon inf --rounds 3 --delta 0.1", "epsilon"),
        ("privacy epsilon --noise-multiplier 1 --rounds 3 --delta 0.1 --sampling poisson", "--cohort"),
        ("privacy calibrate --epsilon 1 --rounds 3 --delta 0.1 --adjacency sideways", "sideways"),
        ("privacy calibrate --rounds 3 --delta 0.1", "--epsilon"),
        ("models list --no-such-option", "--no-such-option"),
        ("models train --out ledger.jsonl --steps 1", "ledger.jsonl"),
        ("models train --out . --steps 1", "is not an empty folder"),
        ("audit verify ledger.jsonl --key ledger.pub --witness abc", "64 hexadecimal digits"),
        ("privacy epsilon --noise-multiplier 1 --rounds 1" + "0" * 400 + " --delta 0.1", "range"),
        ("config check home --set privacy.epsilon=inf", "privacy.epsilon: input should be a finite number"),
        ("config check home --set training.learning_rate=1e400", "training.learning_rate"),
        ("config check home --set evaluation.personal.weight_decay=nan", "evaluation.personal.weight_decay"),
        ("config check home --set fleet.stragglers.longest=inf", "fleet.stragglers.longest"),
        ("simulate home --set federation.tau=inf", "federation.tau"),
        ("simulate million --devices 99999999999999999999", "fleet.devices"),
        ("config check nowhere.toml", "no scenario nowhere.toml"),
        ("config check home --set federation.cohrt=3", "unknown setting federation.cohrt"),
        ("doctor --dep", "--dep"),
        ("bench simulation --devices 10 --cohort 20", "cohort"),
        ("simulate home --resume", "--out"),
        ("simulate nowhere", "no scenario nowhere"),
    ],
)
def test_bad_input_is_one_sentence_on_stderr_and_nothing_on_stdout(
    ledger: Path, words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ledger)
    code = cli.main([*words.split(), "--json"])
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, ""), printed.err
    (sentence,) = printed.err.splitlines()
    assert sentence.startswith("tacit: ")
    assert said in sentence


def test_a_check_that_fails_still_prints_its_document(ledger: Path) -> None:
    done = run("audit verify broken.jsonl --key ledger.pub --json", ledger)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert not found["ok"]
    assert found["problems"][0]["kind"] == "hash"
    assert done.stderr == ""


def test_without_json_a_command_speaks_on_stdout(ledger: Path) -> None:
    done = run("audit verify ledger.jsonl --key ledger.pub", ledger)
    assert done.returncode == 0
    assert "ledger.jsonl verifies: closed, 3 entries" in done.stdout
    assert done.stderr == ""
    (head,) = (line.removeprefix("head ") for line in done.stdout.splitlines() if line.startswith("head "))
    assert run(f"audit verify ledger.jsonl --key ledger.pub --witness {head.upper()}", ledger).returncode == 0


def test_a_ledger_may_come_on_stdin(ledger: Path) -> None:
    command = [str(Path(sys.executable).with_name("tacit")), "audit", "verify", "-", "--key", "ledger.pub"]
    text = (ledger / "ledger.jsonl").read_text()
    done = subprocess.run(command, cwd=ledger, input=text, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("stdin verifies: closed, 3 entries")


def test_a_cut_ledger_is_said_to_be_open_and_a_witness_finds_the_cut(ledger: Path) -> None:
    *first, last = (ledger / "ledger.jsonl").read_text().splitlines()
    (ledger / "cut.jsonl").write_text("\n".join(first) + "\n")
    cut = run("audit verify cut.jsonl --key ledger.pub", ledger)
    assert (cut.returncode, "last entries were cut off" in cut.stdout) == (0, True)
    found = run(f"audit verify cut.jsonl --key ledger.pub --witness {json.loads(last)['hash']}", ledger)
    assert found.returncode == 1
    assert "not to be relied on" in found.stdout and "\n  witness: " in found.stdout


def test_no_epsilon_is_claimed_for_what_is_no_ledger(ledger: Path) -> None:
    (ledger / "other.jsonl").write_text("{}\n")
    done = run("audit verify other.jsonl --key ledger.pub", ledger)
    assert (done.returncode, "epsilon" in done.stdout) == (1, False)


def test_an_unbounded_epsilon_is_null_because_json_has_no_infinity(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    unbounded = Bound("nothing", Adjacency.ZERO_OUT, math.inf, "none")
    monkeypatch.setattr(Plan, "bounds", lambda self, noise: ((unbounded,), unbounded))
    assert cli.main(EPSILON.split()) == 0
    assert json.loads(capsys.readouterr().out, parse_constant=refuse)["epsilon"] is None


def runnable(group: click.Command, context: click.Context, path: tuple[str, ...] = ()) -> dict[str, click.Command]:
    """Every command below ``group`` that can be run, by its words."""
    if not isinstance(group, click.Group):
        return {" ".join(path): group}
    below = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {k: v for name, inner in below.items() if inner for k, v in runnable(inner, context, (*path, name)).items()}


def test_every_command_has_the_same_json_option() -> None:
    root = cli.root()
    for words, command in runnable(root, click.Context(root)).items():
        option = next((parameter for parameter in command.params if "--json" in parameter.opts), None)
        assert option is not None, f"tacit {words} has no --json"
        assert getattr(option, "help", "") == "print one JSON document on stdout and nothing else there", words
