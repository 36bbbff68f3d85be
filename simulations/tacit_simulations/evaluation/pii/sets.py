"""Texts that redaction is measured on: rows of a file, and public sets where they lie on this machine."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation import lines
from tacit_simulations.evaluation.pii.scoring import Span
from tacit_simulations.pretraining.recogniser import texts


@dataclass(frozen=True, slots=True)
class Sample:
    """One text. ``spans`` None: nobody marked it; ``marks`` None: the types that occur in its set."""

    id: str
    text: str
    spans: tuple[Span, ...] | None = None
    marks: frozenset[str] | None = None
    units: tuple[str, ...] | None = None  # strings that must not leave
    reference: str | None = None  # what another redactor made of it, published with the set


@dataclass(frozen=True, slots=True)
class DataSet:
    """A named source; ``samples`` reads it anew at every call."""

    name: str
    samples: Callable[[], Iterator[Sample]]


# --- rows of a file


def from_file(file: Path) -> DataSet:
    """JSON lines {"id", "text"} with "spans" or "units" or both; "-" is stdin. Rows are read as they are needed."""
    if str(file) == "-":
        return DataSet("stdin", lambda: _samples(None))
    return DataSet(file.name, lambda: _samples(file))


def _samples(file: Path | None) -> Iterator[Sample]:
    return (sample for _, sample in lines.rows(file, _sample))


def _sample(row: Any) -> Sample:
    """A row, checked. Messages name fields and offsets, never text."""
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise BadInput('not a row {"id", "text"} with "spans" or "units"')
    if not isinstance(row.get("id"), str | int):
        raise BadInput('"id" is neither a string nor a whole number')
    if "spans" not in row and "units" not in row:
        raise BadInput('neither "spans" nor "units": an empty list says that nothing must be found')
    text, spans, units = row["text"], row.get("spans"), row.get("units")
    if units is not None and not (isinstance(units, list) and all(isinstance(unit, str) for unit in units)):
        raise BadInput('"units" is no list of strings')
    if spans is not None and not isinstance(spans, list):
        raise BadInput('"spans" is no list')
    return Sample(
        str(row["id"]),
        text,
        None if spans is None else tuple(_span(span, len(text)) for span in spans),
        units=None if units is None else tuple(units),
    )


def _span(span: Any, length: int) -> Span:
    if not isinstance(span, dict):
        raise BadInput('a span is {"start", "end", "type"}')
    start, end, kind = (span.get(key) for key in ("start", "end", "type"))
    if type(start) is not int or type(end) is not int or not isinstance(kind, str) or not kind:
        raise BadInput('a span has whole numbers "start" and "end" and a string "type"')
    lines.check_text(kind)
    if not 0 <= start < end <= length:
        raise BadInput(f"the span {start} to {end} does not lie in a text of {length} code points")
    return start, end, kind


# --- public sets


def public_sets(data: Path) -> list[DataSet]:
    """Every set that lies in ``data`` and no part of which the recogniser was trained on. Raises BadInput on none."""
    if not data.is_dir():
        raise BadInput(f"{data} is no folder; --data or TACIT_DATA names the one above the public sets")
    known: dict[str, tuple[Path, Callable[[Path], Iterator[Sample]]]] = {
        "presidio_synth": (data / "presidio_synth", presidio_synth),
        "ambientmeta_pii": (data / "ambientmeta_pii" / "standard_entities.jsonl", ambientmeta),
        "wnut17": (data / "wnut17" / "emerging.dev.conll", _conll),
        "btc_ner": (data / "btc_ner" / "h.conll", _conll),
        "pupa_tnb": (data / "pupa" / "PUPA_TNB.csv", pupa),
        "clinc150": (data / "clinc150" / "data_full.json", clinc150),
    }
    found = [DataSet(name, _reading(read, path)) for name, (path, read) in known.items() if path.exists()]
    if not found:
        raise BadInput(f"none of {', '.join(known)} lies in {data}")
    return found


def _reading(read: Callable[[Path], Iterator[Sample]], path: Path) -> Callable[[], Iterator[Sample]]:
    return lambda: read(path)


def presidio_synth(folder: Path) -> Iterator[Sample]:
    """The texts whose template no training text has, with all their types. Each file marks the types it holds."""
    for name in ("generated_large", "synth_dataset_v2", "generated_small"):
        rows = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        marks = frozenset(span["entity_type"] for row in rows for span in row["spans"])
        for number, row in enumerate(rows):
            if texts.held_out(row["masked"]):
                spans = sorted((s["start_position"], s["end_position"], s["entity_type"]) for s in row["spans"])
                yield Sample(f"{name}-{number}", row["full_text"], tuple(spans), marks)


def ambientmeta(path: Path) -> Iterator[Sample]:
    """Forms and messages of several makers. Not every name in them is marked, so extras say little."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Sample(
            row["id"], row["text"], tuple((s["start"], s["end"], s["entity_type"]) for s in row["annotations"])
        )


def _conll(path: Path) -> Iterator[Sample]:
    for number, example in enumerate(texts.conll([path], path.stem)):
        yield Sample(str(number), example.text, example.spans, example.known)


def pupa(path: Path) -> Iterator[Sample]:
    """Prompts that people sent to a large model, the units in them, and a large model's own redaction."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            units = tuple(row["pii_units"].split("||"))
            yield Sample(
                row["conversation_hash"], row["user_query"], units=units, reference=row["redacted_query"] or None
            )


def clinc150(path: Path) -> Iterator[Sample]:
    """Test requests to an assistant. Nobody marked them, and hardly any names a person: what is masked is lost."""
    for number, (text, _) in enumerate(json.loads(path.read_text(encoding="utf-8"))["test"]):
        yield Sample(str(number), text)


def batches(samples: Iterable[Sample], limit: int | None, size: int) -> Iterator[list[Sample]]:
    """The first ``limit`` samples, ``size`` at a time."""
    rest = islice(samples, limit)
    while batch := list(islice(rest, size)):
        yield batch
