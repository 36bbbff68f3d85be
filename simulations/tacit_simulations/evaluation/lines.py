"""JSON lines that somebody hands in: what cannot be read is one sentence with its line, and never quoted."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, TypeVar

from tacit_privacy.errors import BadInput

T = TypeVar("T")
_TOO_DEEP: Final = "JSON that is nested too deep to be read"


def rows(file: Path | None, make: Callable[[Any], T]) -> Iterator[tuple[str, T]]:
    """What ``make`` makes of each line's JSON, with its place, "FILE, line N"; None is stdin.

    Lines are read as they are needed; empty ones count and hold nothing. Raises BadInput, with the place for a line
    that is no JSON and for one that ``make`` refuses.
    """
    name = "stdin" if file is None else str(file)
    try:
        opened = nullcontext(sys.stdin) if file is None else file.open(encoding="utf-8-sig")
        with opened as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    place = f"{name}, line {number}"
                    try:
                        found = make(_value(line))
                    except BadInput as error:
                        raise BadInput(f"{place}: {error}") from error
                    yield place, found
    except UnicodeDecodeError as error:
        raise BadInput(f"cannot read {name}: it is not UTF-8 text") from error
    except OSError as error:
        raise BadInput(f"cannot read {name}: {error.strerror}; name a file of JSON lines") from error


def check_text(row: Any) -> None:
    """Raises BadInput for half a surrogate pair, which JSON can hold and no file can: before work, not after it."""
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise BadInput(_TOO_DEEP) from None
    except UnicodeEncodeError:
        raise BadInput(r'half of a surrogate pair, such as "\ud800", is no text; take it out') from None


def _value(line: str) -> Any:
    """A line's JSON. Causes are left out: they hold the line."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        raise BadInput("not JSON") from None
    except RecursionError:
        raise BadInput(_TOO_DEEP) from None
    except ValueError:
        raise BadInput(f"a number of more than {sys.get_int_max_str_digits():,} digits, too long to be read") from None
