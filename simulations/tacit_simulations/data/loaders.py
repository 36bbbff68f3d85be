"""Reads public sets and a user's own files into plain columns."""

import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tacit_clients.training.examples import Task
from tacit_privacy.errors import BadInput, MissingExtra
from tacit_simulations.data.config import DataConfig


@dataclass
class Columns:
    """A set before it is partitioned. ``labels`` and ``users`` are empty where a set has none."""

    task: Task
    texts: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    test: "Columns | None" = None


_SOURCES = {
    "banking77": "github.com/PolyAI-LDN/task-specific-datasets (CC BY 4.0)",
    "clinc150": "github.com/clinc/oos-eval (CC BY 3.0)",
    "sms": "github.com/kite1988/nus-sms-corpus (public corpus, Chen and Kan 2013)",
    "shakespeare": "github.com/karpathy/char-rnn, data/tinyshakespeare (public domain)",
}
_FOLDERS = {"sms": "nus_sms", "shakespeare": "tinyshakespeare"}


def load(config: DataConfig) -> Columns:
    """The columns of ``config``'s set. Raises BadInput with one sentence on anything missing or broken."""
    found = _load(config)
    if not found.texts:
        raise BadInput(f"{config.path or config.kind} holds no examples; check data.path")
    return found


def _load(config: DataConfig) -> Columns:
    match config.kind:
        case "banking77":
            folder = _folder(config)
            return _banking(folder / "train.csv", _banking(folder / "test.csv", None))
        case "clinc150":
            return _clinc(_folder(config) / "data_full.json")
        case "sms":
            return _sms(_folder(config) / "sms_en.jsonl.gz")
        case "shakespeare":
            return _speeches(_folder(config) / "input.txt")
        case "hub":
            return _rows(config, _hub(config.path), config.path)
        case _:
            return _rows(config, _file(Path(config.path)), config.path)


def _folder(config: DataConfig) -> Path:
    if config.path:
        return Path(config.path)
    root = os.environ.get("TACIT_DATA")
    if not root:
        raise BadInput(
            f"data.kind {config.kind} needs its files: get them from {_SOURCES[config.kind]} and set data.path to "
            "their folder, or set TACIT_DATA to the folder above it"
        )
    return Path(root) / _FOLDERS.get(config.kind, config.kind)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text; save it as UTF-8") from error


def _banking(path: Path, test: Columns | None) -> Columns:
    rows = list(csv.DictReader(io.StringIO(_decoded(path, _read(path)), newline="")))
    if not rows or any(row.get("text") is None or row.get("category") is None for row in rows):
        raise BadInput(f"{path} has no columns text and category in every row")
    texts = [" ".join(row["text"].split("\n")).strip() for row in rows]  # a few questions are several lines
    return Columns(Task.CLASSIFY, texts, labels=[row["category"] for row in rows], test=test)


def _clinc(path: Path) -> Columns:
    try:
        parsed = json.loads(_read(path))
        train, test = ([(str(text), str(label)) for text, label in parsed[part]] for part in ("train", "test"))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not CLINC150's data_full.json ({type(error).__name__})") from error
    scored = Columns(Task.CLASSIFY, [text for text, _ in test], labels=[label for _, label in test])
    return Columns(Task.CLASSIFY, [text for text, _ in train], labels=[label for _, label in train], test=scored)


def _sms(path: Path) -> Columns:
    try:
        content = gzip.decompress(_read(path))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadInput(f"{path} is not a whole gzip file; get it again from {_SOURCES['sms']}") from error
    columns = Columns(Task.LANGUAGE)
    for number, line in enumerate(_decoded(path, content).splitlines(), 1):
        row = _json_line(line, path, number)
        user, text = row.get("user"), row.get("text")
        if not isinstance(user, str) or not isinstance(text, str):
            raise BadInput(f"{path}, line {number}: a message has a user and a text, both strings")
        if user != "0" and text.strip():  # user 0 collects everybody whose number was not recorded
            columns.texts.append(text)
            columns.users.append(user)
    return columns


def _speeches(path: Path) -> Columns:
    columns = Columns(Task.LANGUAGE)
    for speech in re.split(r"\n\s*\n", _decoded(path, _read(path))):
        speaker, _, words = speech.strip().partition(":\n")
        if words:
            columns.users.append(speaker)
            columns.texts.append(" ".join(words.split()))
    return columns


def _file(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise BadInput(f"there is no data file {path}; set data.path to a JSONL or CSV file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                yield from csv.DictReader(file)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _json_line(line, path, number)
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise BadInput(f"{path} is not readable as CSV ({error}); repair it or use JSONL") from error


def _json_line(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadInput(f"{path}, line {number}: not valid JSON ({getattr(error, 'msg', 'nested too deep')})") from error
    if not isinstance(row, dict):
        raise BadInput(f"{path}, line {number}: a row is an object with named columns")
    return row


def _hub(name: str) -> Iterator[dict[str, Any]]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("data.kind hub needs the datasets library: pip install 'tacit[hub]'") from error
    try:
        yield from datasets.load_dataset(name, split="train")
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(f"cannot load the dataset {name}: {str(error).splitlines()[0]}") from error


def _rows(config: DataConfig, rows: Iterator[dict[str, Any]], name: str) -> Columns:
    columns = Columns(config.task or Task.LANGUAGE)
    wanted = {config.text: columns.texts}
    if config.task is Task.INSTRUCT:
        wanted[config.target] = columns.targets
    if config.task is Task.CLASSIFY:
        wanted[config.label] = columns.labels
    if config.partition == "natural":
        wanted[config.user] = columns.users
    for number, row in enumerate(islice(rows, 5_000_000), 1):
        for column, values in wanted.items():
            if row.get(column) is None:
                missing = f"column {column} is empty" if column in row else f"no column {column}"
                raise BadInput(f"{name}, row {number}: {missing}; it has {', '.join(map(str, row))}")
            values.append(str(row[column]))
    return columns
