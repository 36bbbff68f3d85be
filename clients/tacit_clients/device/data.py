"""What a device learns from: its owner's file, or answers that the gateway's owner accepted. Read anew every round."""

import json
from pathlib import Path
from typing import Any, Final

from tacit_clients.device.settings import DataSettings
from tacit_clients.training.examples import DeviceData, Example, Task
from tacit_privacy.errors import BadInput

_LONGEST_LINE: Final = 1_000_000


def device_data(settings: DataSettings) -> DeviceData:
    """The newest examples, one in ``held_out`` for scoring. No source, or an empty one, is no data and no error.

    Raises BadInput where a source is there and cannot be read.
    """
    if settings.path is not None:
        examples = _of_file(settings.path, settings.most)
    elif settings.vault is not None:
        examples = _of_gateway(settings.vault, settings.vault_key)[-settings.most :]
    else:
        examples = []
    test = tuple(examples[settings.held_out - 1 :: settings.held_out])
    train = tuple(example for number, example in enumerate(examples, 1) if number % settings.held_out)
    return DeviceData(train, test)


def task_of(settings: DataSettings) -> Task:
    return Task(settings.task)


def _of_file(path: Path, most: int) -> list[Example]:
    """The last ``most`` lines, without holding the file whole."""
    found: list[Example] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found.append(_example(line, path, number))
                if len(found) > 2 * most:
                    del found[:-most]
    except OSError as error:
        raise BadInput(f"cannot read the examples {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"the examples {path} are not UTF-8") from error
    return found[-most:]


def _example(line: str, path: Path, number: int) -> Example:
    """One line. The error names the line and quotes nothing of it."""
    try:
        row: Any = json.loads(line) if len(line) <= _LONGEST_LINE else None
    except json.JSONDecodeError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise BadInput(f'line {number} of {path} is no example; write {{"prompt": "...", "target": "..."}}')
    target = row.get("target", row.get("answer", ""))
    if not isinstance(target, str):
        raise BadInput(f"line {number} of {path}: target is not text")
    return Example(row["prompt"], target)


def _of_gateway(vault: Path, key: str) -> list[Example]:
    """What the owner accepted or corrected, in placeholder space, and what was distilled; oldest first."""
    from tacit_clients.distilling.buffer import DistillationBuffer
    from tacit_clients.gateway.collecting import EXAMPLE
    from tacit_privacy.pii.vault.opening import open_vault

    if not vault.is_file():
        return []
    with open_vault(vault, key, create=False) as opened:
        told = [json.loads(record.row) for record in opened.rows(EXAMPLE)]
        accepted = [Example(row["prompt"], row["answer"]) for row in told]
        return [*accepted, *DistillationBuffer(opened).examples()]
