"""The command reference, written from the code: ``python -m tacit_simulations.commands._reference > docs/cli.md``."""

import inspect
from collections.abc import Iterator

import click

from tacit_privacy import cli, errors
from tacit_privacy.errors import TacitError

CONTRACT = """\
# Commands

Written by `make reference` from the code; a test keeps it current.

- `--json` prints one JSON document on stdout and nothing else there: progress, logs and whatever libraries print go to
  stderr. A check that fails (exit code 1) prints its document too; bad input leaves stdout empty. A number that is not
  finite is null.
- A command reads settings from files and options alone; the variables at the end change where it looks and how much it
  says, never a result.
- `tacit --help` imports neither torch nor Flower. A command is an entry point in the group `tacit.commands`, so another
  distribution can add one; it cannot take the name of one that is here.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a check failed, the budget refused, or a defect |
| 2 | bad usage or bad input: one sentence on stderr with the remedy, nothing half-written |
| 130 | interrupted |
"""

VARIABLES = """\
## Environment

| variable | meaning |
|---|---|
| `TACIT_DATA` | folder of the public data sets that some scenarios read; see [Datasets](datasets.md) |
| `TACIT_DATABASE` | URL of a server's database, in place of `database` in server.toml: for one that holds a password |
| `TACIT_CONSOLE_PASSWORD` | password for `tacit server user add`, where there is no terminal to ask at |
| `TACIT_ENROLMENT_TOKEN` | token for `tacit device enroll`, in place of `--token` |
| `TACIT_DEBUG` | `1` shows the whole trace of an error; it may quote data |
| `RAY_ADDRESS` | a Ray cluster for `tacit doctor --deep` to reach; a run takes `runtime.ray_address` |
| `_TACIT_COMPLETE` | `eval "$(_TACIT_COMPLETE=bash_source tacit)"` completes words in a shell |

Unless they are set, a command turns off what libraries send home: {quiet}.
"""


def page() -> str:
    """Markdown of ``docs/cli.md``."""
    root = cli.root()
    parts = [CONTRACT, *_commands(root), *_errors()]
    parts.append(VARIABLES.format(quiet=", ".join(f"`{name}={value}`" for name, value in cli.QUIET_LIBRARIES.items())))
    return "\n".join(parts)


def _commands(root: cli.CommandGroup) -> Iterator[str]:
    with click.Context(root, info_name="tacit") as context:
        for name in root.list_commands(context):
            if cli.distribution(root.registered[name]) == "tacit":
                command = root.get_command(context, name)
                if command is not None:
                    yield from _command(command, name, context, level=2)


def _command(command: click.Command, name: str, parent: click.Context, level: int) -> Iterator[str]:
    """A heading, usage, help and options of ``command``, then the same for those below it."""
    with click.Context(command, info_name=name, parent=parent) as context:
        yield f"{'#' * level} {context.command_path}\n"
        yield f"{inspect.cleandoc(command.help or '')}\n"
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                inner = command.get_command(context, below)
                if inner is not None:
                    yield from _command(inner, below, context, level + 1)
            return
        pieces = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{context.command_path} {pieces}\n```\n"
        rows = [_row(parameter, context) for parameter in command.params if parameter.name != "help"]
        if rows:
            yield "\n".join(["| argument or option | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _row(parameter: click.Parameter, context: click.Context) -> str:
    words = ", ".join(f"`{word}`" for word in [*parameter.opts, *parameter.secondary_opts])
    if isinstance(parameter, click.Argument):
        words = f"`{parameter.make_metavar(context)}`"
    default = parameter.default if isinstance(parameter.default, str | int | float) else None
    shown = "required" if parameter.required else "" if default is None or default is False else f"`{default}`"
    meaning = str(getattr(parameter, "help", None) or "").replace("|", "\\|")
    return f"| {words} | {shown} | {meaning} |"


def _errors() -> Iterator[str]:
    """Every error class of the project, the tree as it is drawn and a line for each."""
    rows = ["| error | exit code | when |", "|---|---|---|"]
    for kind in error_classes():
        rows.append(f"| `{kind.__name__}` | {kind.exit_code} | {(inspect.getdoc(kind) or '').splitlines()[0]} |")
    yield "## Errors\n"
    yield "A program that drives Tacit catches these, from `tacit_privacy.errors`:\n"
    yield "\n".join(rows) + "\n"


def error_classes() -> list[type[TacitError]]:
    """The classes of ``tacit_privacy.errors``, in the order of the file."""
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TacitError)]
    return [kind for kind in found if kind.__module__ == errors.__name__]


if __name__ == "__main__":
    print(page(), end="")
