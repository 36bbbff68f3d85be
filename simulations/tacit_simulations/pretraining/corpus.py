"""What tacit-nano reads: homes of the base dialect, generated without end, and openly licensed requests where found."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tacit_privacy.contract import digest
from tacit_privacy.errors import BadInput
from tacit_simulations.data.home import grammar
from tacit_simulations.data.home.household import Household

PRETRAINING_SEED = 20_000_001  # households of pre-training share no random stream with any scenario's


@dataclass(frozen=True, slots=True)
class OpenSet:
    """A public set that may enter the training, and why."""

    name: str
    licence: str
    source: str
    pattern: str


OPEN_SETS = (
    OpenSet("snips", "CC0 1.0", "github.com/sonos/nlu-benchmark", "snips/*/train_*_full.json"),
    OpenSet("restaurant8k", "CC BY 4.0", "github.com/PolyAI-LDN/task-specific-datasets", "restaurant8k/train_0.json"),
)


def home_pairs(first: int, count: int) -> Iterator[tuple[str, str]]:
    """(utterance, action) of ``count`` households of the base dialect."""
    for index in range(first, first + count):
        for utterance in Household(PRETRAINING_SEED, index, grammar.BASE).say(24):
            yield utterance.text, utterance.action


def open_texts(data: Path | None) -> tuple[list[str], dict[str, str]]:
    """Texts of the open sets under ``data``, and the digest of every file read. Nothing where ``data`` is None."""
    texts: list[str] = []
    read: dict[str, str] = {}
    for entry in OPEN_SETS if data else ():
        for path in sorted(data.glob(entry.pattern)) if data else ():
            content = path.read_bytes()
            read[str(path.relative_to(data))] = digest(content)  # type: ignore[arg-type]
            texts += _texts(entry.name, path, content)
    return texts, read


def _texts(name: str, path: Path, content: bytes) -> list[str]:
    try:
        parsed = json.loads(content.decode("utf-8", errors="replace"))
    except json.JSONDecodeError as error:
        raise BadInput(f"{path} is not JSON: {error}") from error
    if name == "restaurant8k":
        return [row["userInput"]["text"] for row in parsed]
    return ["".join(part["text"] for part in row["data"]).strip() for rows in parsed.values() for row in rows]
