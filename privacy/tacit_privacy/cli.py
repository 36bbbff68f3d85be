"""The `tacit` command: finds sub-commands by entry point, loads one only when it is called, turns errors into words.

A distribution adds a command by an entry point in the group ``tacit.commands`` whose object is a Typer app or a click
command. The listing of ``tacit --help`` is read from the first line of each module's docstring without importing it,
so that help never waits for torch or Flower.
"""

import ast
import contextlib
import difflib
import errno
import importlib.machinery
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from click.shell_completion import shell_complete

from tacit_privacy import __version__
from tacit_privacy.errors import BadInput, MissingExtra, TacitError

GROUP = "tacit.commands"
"""Entry-point group in which distributions register their commands."""

DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130

QUIET_LIBRARIES = {
    "FLWR_TELEMETRY_ENABLED": "0",  # on by default in Flower 1.41: telemetry.flower.ai
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",  # workers fork; the tokenizer's threads would not survive it
}
"""Set before any command is loaded, unless the caller's environment says otherwise."""

FRAMES = 12
"""Innermost frames shown of an error that is a defect."""

COMPLETION_OPTIONS = ("install_completion", "show_completion")

JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else there")]
"""The ``--json`` of every command; its body runs inside ``json_on_stdout``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed or refused, 2 bad usage or input, 130 interrupted.

    Every error the project can name becomes one sentence on stderr. An error it cannot name shows where it happened
    and never its message or the values of variables, which may hold people's text; ``TACIT_DEBUG=1`` shows all of it.
    """
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    command = root()
    if "_TACIT_COMPLETE" in os.environ:
        return shell_complete(command, {}, "tacit", "_TACIT_COMPLETE", os.environ["_TACIT_COMPLETE"])
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with command.make_context("tacit", words) as context:
            command.invoke(context)
        if sys.stdout is not None:
            sys.stdout.flush()  # a reader that went away is noticed here, not in the interpreter's shutdown
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show(file=sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        return _usage(error)
    except (KeyboardInterrupt, click.Abort, EOFError):
        _say("interrupted")
        return INTERRUPTED
    except TacitError as error:
        return _named(error)
    except OSError as error:
        return _operating_system(error)
    except MemoryError:
        _say("this machine has not enough memory for what was asked; ask for less, such as fewer devices")
        return FAILED
    except ModuleNotFoundError as error:
        return _named(missing(error, "this command"))
    except Exception as error:
        return _unnamed(error)
    return DONE


def root() -> "CommandGroup":
    """The top of the command tree, with the commands of every installed distribution."""
    version = click.version_option(__version__, prog_name="tacit", message="%(prog)s %(version)s")
    group = CommandGroup(
        "tacit",
        help="Federated learning and private collaboration between small and large language models.",
        epilog="Exit codes: 0 done, 1 a check failed or the budget refused, 2 bad usage or input, 130 interrupted.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        no_args_is_help=True,
    )
    return version(group)


class CommandGroup(click.Group):
    """A click group whose commands are entry points, imported when called and not before."""

    @cached_property
    def registered(self) -> dict[str, EntryPoint]:
        """Entry points by command name. No other distribution can take the name of one of Tacit's own."""
        found = sorted(entry_points(group=GROUP), key=lambda entry: (distribution(entry) == "tacit", entry.value))
        return {entry.name: entry for entry in found}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.registered, *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        entry = self.registered.get(cmd_name)
        return None if entry is None else load_command(entry)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0] if args else ""
        if word and not word.startswith("-") and word not in self.list_commands(ctx):
            near = difflib.get_close_matches(word, self.list_commands(ctx), n=1)
            hint = f"; did you mean {near[0]}" if near else ""
            raise click.UsageError(f"no command {word}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, summary(entry)) for name, entry in sorted(self.registered.items())]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def load_command(entry: EntryPoint) -> click.Command:
    """Import the command behind ``entry``.

    Raises MissingExtra when a library it needs is not installed, BadInput when the object is no command.
    """
    try:
        found = entry.load()
    except ModuleNotFoundError as error:
        raise missing(error, f"tacit {entry.name}") from error
    if isinstance(found, typer.Typer):
        command = typer.main.get_command(found)
        # completion belongs to the whole of tacit: _TACIT_COMPLETE=bash_source tacit
        command.params = [option for option in command.params if option.name not in COMPLETION_OPTIONS]
        return command
    if isinstance(found, click.Command):
        return found
    raise BadInput(f"entry point {entry.name} = {entry.value} is a {type(found).__name__}, not a Typer app or command")


def missing(error: ModuleNotFoundError, what: str) -> MissingExtra:
    """The sentence for a library that ``what`` needs and that is not there."""
    return MissingExtra(f"{what} needs the module {error.name}, which is not installed; tacit doctor says what to type")


def summary(entry: EntryPoint) -> str:
    """First line of the docstring of the entry point's module, read from its source; nothing is imported."""
    source = _source(entry.module)
    if source is None:
        return f"(not installed: {entry.module})"
    try:
        docstring = ast.get_docstring(ast.parse(source.read_bytes()))
    except (OSError, SyntaxError):
        return f"(unreadable: {entry.module})"
    return (docstring or "").partition("\n")[0]


@contextlib.contextmanager
def json_on_stdout(wanted: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Keep stdout for one JSON document: inside, everything else that is printed goes to stderr.

    Yields ``write(document)``, which prints the document, or does nothing when ``wanted`` is false. File descriptor 1
    is moved as well where stdout is the process's own, so that libraries, worker processes and C code obey too. An
    error that leaves the block before ``write`` leaves stdout empty: a reader gets the whole document or none.
    Non-finite numbers become null: JSON has no NaN.
    """
    if not wanted:
        yield lambda document: None
        return
    check_stdout()
    with contextlib.ExitStack() as stack:
        target = _own_stdout(stack)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))

        def write(document: Mapping[str, Any]) -> None:
            target.write(json.dumps(finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            target.flush()

        yield write


def check_stdout() -> None:
    """Raises BadInput where whoever started the command closed stdout: Python has no object for it then."""
    if sys.stdout is None:
        raise BadInput("stdout is closed, so there is nowhere to write; send it to a file or a pipe")


def finite(value: Any) -> Any:
    """``value`` with every NaN and infinity replaced by None, through dictionaries, lists and tuples."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _own_stdout(stack: contextlib.ExitStack) -> io.TextIOBase | Any:
    """A writer on the real stdout, while descriptor 1 points to stderr; the current stdout where it is no file."""
    stdout = sys.__stdout__
    if stdout is None or sys.stdout is not stdout:
        return sys.stdout
    try:
        descriptor, errors = stdout.fileno(), sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return stdout
    stdout.flush()
    _flush_c()
    kept = os.dup(descriptor)
    os.dup2(errors, descriptor)

    def restore() -> None:
        stdout.flush()
        _flush_c()
        os.dup2(kept, descriptor)

    stack.callback(os.close, kept)
    stack.callback(restore)
    return stack.enter_context(os.fdopen(os.dup(kept), "w", encoding="utf-8"))


def _flush_c() -> None:
    """Empty the C library's own buffer, which holds what native code printed until long after descriptors moved."""
    import ctypes

    ctypes.CDLL(None).fflush(None)


def _source(module: str) -> Path | None:
    """The file of ``module``, found without importing its parent packages."""
    search: Sequence[str] | None = None
    spec = None
    names = module.split(".")
    for end in range(1, len(names) + 1):
        spec = importlib.machinery.PathFinder.find_spec(".".join(names[:end]), search)
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def distribution(entry: EntryPoint) -> str:
    """Name of the distribution that registered ``entry``, or "" where none is known."""
    return entry.dist.name if entry.dist else ""


def _say(sentence: str) -> None:
    click.echo(f"tacit: {sentence}", err=True)


def _debug() -> bool:
    return os.environ.get("TACIT_DEBUG", "") not in ("", "0")


def _usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tacit"
    _say(f"{error.format_message().rstrip('.')}; {path} --help shows what can be typed")
    return error.exit_code


def _named(error: TacitError) -> int:
    if _debug():
        traceback.print_exception(error)
    _say(str(error))
    return error.exit_code


def _operating_system(error: OSError) -> int:
    """A missing file, a full disk, a closed pipe: the caller's surroundings, not a defect."""
    if error.errno == errno.EPIPE:
        # the reader has enough; without this the interpreter complains again at shutdown
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if error.errno is None:
        return _unnamed(error)
    if _debug():
        traceback.print_exception(error)
    remedy = {
        errno.ENOSPC: "free some space or choose another folder",
        errno.EACCES: "choose a place you may read and write",
        errno.ENOENT: "check the path",
    }.get(error.errno)
    where = f"{error.filename}: " if error.filename is not None else ""
    _say(f"{where}{(error.strerror or os.strerror(error.errno)).lower()}" + (f"; {remedy}" if remedy else ""))
    return BAD_USAGE


def _unnamed(error: Exception) -> int:
    """A defect: its kind and its road, frame by frame, without the message and without source lines."""
    if _debug():
        traceback.print_exception(error)
        return FAILED
    for frame in traceback.extract_tb(error.__traceback__)[-FRAMES:]:
        click.echo(f"  {frame.filename}:{frame.lineno} in {frame.name}", err=True)
    _say(f"{type(error).__name__}, which is a defect; TACIT_DEBUG=1 shows its message, which may quote your data")
    return FAILED
