"""Progress on stderr: a bar per stage where a person watches, a line per stage where nobody does."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Watcher(Protocol):
    """What a run tells about itself while it goes on."""

    def stage(self, name: str, total: int) -> None:
        """A new stage of ``total`` steps begins; the one before is over."""
        ...

    def step(self, note: str = "") -> None:
        """One step of the stage is done."""
        ...


class Silent:
    """Tells nothing; for tests and callers of the library."""

    def stage(self, name: str, total: int) -> None: ...

    def step(self, note: str = "") -> None: ...


class RichProgress:
    """Bars on a terminal; plain lines in a log file."""

    def __init__(self, title: str) -> None:
        self._console = Console(stderr=True)
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        )
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task: TaskID | None = None
        self._console.print(f"[bold]Tacit[/] simulates [bold]{title}[/]", highlight=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, name: str, total: int) -> None:
        if self._console.is_terminal:
            self._task = self._progress.add_task(name, total=total, note="")
        else:
            self._console.print(f"{name} ({total} steps)", highlight=False)

    def step(self, note: str = "") -> None:
        if self._task is not None:
            self._progress.update(self._task, advance=1, note=note)
