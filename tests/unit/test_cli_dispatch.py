"""The `tacit` command: what it imports, what it returns, what it prints where."""

import errno
import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from tacit_privacy import __version__, cli
from tacit_privacy.errors import BadInput, BudgetExhausted, MissingExtra

HEAVY = ("torch", "flwr", "transformers", "ray", "plotly", "peft", "opacus", "dp_accounting", "scipy", "pandas", "rich")
MODULES_OF_HELP = 400  # 272 on CPython 3.11 with typer 0.20; torch alone adds about 1,500


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter: only there do the modules it imports mean anything."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> dict[str, click.Command]:
    """A table of commands that stands in for the installed entry points."""
    table: dict[str, click.Command] = {}

    def load(entry: EntryPoint) -> click.Command:
        return table[entry.name]

    def entries(group: str) -> list[EntryPoint]:
        return [EntryPoint(name, f"nowhere.{name}:app", group) for name in table]

    monkeypatch.setattr(cli, "entry_points", entries)
    monkeypatch.setattr(cli, "load_command", load)
    return table


def failing(error: BaseException) -> click.Command:
    def work() -> None:
        raise error

    return click.Command("work", callback=work)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from tacit_privacy.cli import main; code = main(['--help']); print(code, *sys.modules)"
    *_, last = python(code).stdout.splitlines()
    returned, *modules = last.split()
    assert returned == "0"
    assert not {name.partition(".")[0] for name in modules} & set(HEAVY)
    assert len(modules) < MODULES_OF_HELP


def test_help_lists_every_registered_command_with_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    registered = cli.root().registered
    assert {"config", "doctor", "simulate"} <= set(registered)
    for name, entry in registered.items():
        assert f"  {name} " in printed
        assert cli.summary(entry).split()[0] in printed
    assert "not installed" not in printed
    assert "Tell what is installed, what is missing, and what to type." in printed


def test_the_summary_is_the_docstring_and_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "loud" / "inner"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "command.py").write_text('"""Say one thing.\n\nAnd more."""\nraise RuntimeError("imported")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli.summary(EntryPoint("loud", "loud.inner.command:app", cli.GROUP)) == "Say one thing."


def test_a_command_that_is_not_there_is_listed_as_such() -> None:
    assert cli.summary(EntryPoint("x", "no_such_package.module:app", cli.GROUP)) == (
        "(not installed: no_such_package.module)"
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tacit {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (BadInput("no file a.toml: name one that exists"), 2, "tacit: no file a.toml: name one that exists\n"),
        (BudgetExhausted(9.0, 8.0), 1, f"tacit: {BudgetExhausted(9.0, 8.0)}\n"),
        (KeyboardInterrupt(), 130, "tacit: interrupted\n"),
        (click.Abort(), 130, "tacit: interrupted\n"),
        (MemoryError(), 1, None),
        (click.UsageError("rounds must be positive, got -1"), 2, None),
        (typer.BadParameter("rounds must be positive, got -1"), 2, None),
        (typer.Exit(1), 1, ""),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/result.json"), 2, None),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a.toml"), 2, None),
    ],
)
def test_what_can_be_named_becomes_one_sentence_and_its_exit_code(
    commands: dict[str, click.Command],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    sentence: str | None,
) -> None:
    commands["work"] = failing(error)
    assert cli.main(["work"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) <= 1
    if sentence is None:
        assert printed.err.startswith("tacit: ")
    else:
        assert printed.err == sentence


def test_a_full_disk_says_what_to_do(commands: dict[str, click.Command], capsys: pytest.CaptureFixture[str]) -> None:
    commands["work"] = failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/result.json"))
    assert cli.main(["work"]) == 2
    assert capsys.readouterr().err == (
        "tacit: out/result.json: no space left on device; free some space or choose another folder\n"
    )


@pytest.mark.parametrize("error", [ValueError("Mrs Example lives in Oslo"), OSError("Mrs Example lives in Oslo")])
def test_a_defect_shows_its_road_and_never_its_words(
    commands: dict[str, click.Command],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    monkeypatch.delenv("TACIT_DEBUG", raising=False)
    commands["work"] = failing(error)
    assert cli.main(["work"]) == 1
    printed = capsys.readouterr()
    assert "Example" not in printed.out + printed.err
    assert f"{Path(__file__).name}:" in printed.err
    assert type(error).__name__ in printed.err
    monkeypatch.setenv("TACIT_DEBUG", "1")
    assert cli.main(["work"]) == 1
    assert "Mrs Example lives in Oslo" in capsys.readouterr().err


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulat"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "tacit: no command simulat; did you mean simulate; tacit --help shows what can be typed\n"


def test_nothing_typed_shows_help_and_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_a_missing_library_says_where_to_look() -> None:
    with pytest.raises(MissingExtra, match=r"needs the module no_such_package, .* tacit doctor"):
        cli.load_command(EntryPoint("x", "no_such_package.module:app", cli.GROUP))


def test_an_entry_point_that_is_no_command_is_refused() -> None:
    with pytest.raises(BadInput, match="is a function, not a Typer app or command"):
        cli.load_command(EntryPoint("x", "json:dumps", cli.GROUP))


def test_another_distribution_cannot_take_the_name_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = dict(cli.root().registered)["doctor"]
    theirs = EntryPoint("doctor", "aaa_evil.module:app", cli.GROUP)
    for order in ([ours, theirs], [theirs, ours]):
        monkeypatch.setattr(cli, "entry_points", lambda group, order=order: order)
        assert cli.root().registered["doctor"] == ours


def test_libraries_are_told_to_be_quiet_but_the_caller_has_the_last_word() -> None:
    code = (
        "import os; from tacit_privacy import cli; cli.main(['--version']); print(os.environ['FLWR_TELEMETRY_ENABLED'])"
    )
    for given_value, seen in ((None, "0"), ("1", "1")):
        environment = {k: v for k, v in os.environ.items() if k != "FLWR_TELEMETRY_ENABLED"}
        if given_value is not None:
            environment["FLWR_TELEMETRY_ENABLED"] = given_value
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
        assert done.stdout.splitlines()[-1] == seen


def test_with_json_stdout_holds_the_document_and_nothing_else() -> None:
    code = (
        "import os, subprocess, sys\n"
        "from tacit_privacy.cli import json_on_stdout\n"
        "with json_on_stdout(True) as write:\n"
        "    print('a library prints')\n"
        "    os.write(1, b'C code prints\\n')\n"
        "    subprocess.run([sys.executable, '-c', 'print(\"a worker prints\")'], check=True)\n"
        "    write({'name': 'Æ', 'loss': float('nan')})\n"
        "print('after')\n"
    )
    done = python(code)
    document, after = done.stdout.rstrip("\n").rsplit("\n", 1)
    assert json.loads(document) == {"name": "Æ", "loss": None}
    assert after == "after"
    assert {"a library prints", "C code prints", "a worker prints"} <= set(done.stderr.splitlines())


def test_without_json_nothing_is_written_or_moved(capsys: pytest.CaptureFixture[str]) -> None:
    with cli.json_on_stdout(False) as write:
        print("for people")
        write({"ok": True})
    assert capsys.readouterr().out == "for people\n"


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(value=JSON_LIKE)
def test_finite_gives_strict_json_and_leaves_finite_values_alone(value: Any) -> None:
    clean = cli.finite(value)
    text = json.dumps(clean, allow_nan=False)
    assert json.loads(text) == json.loads(json.dumps(cli.finite(clean), allow_nan=False))
    if "NaN" not in (loose := json.dumps(value)) and "Infinity" not in loose:
        assert text == loose


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    code = "import sys; from tacit_privacy.cli import main; sys.exit(main(['--help']))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""
