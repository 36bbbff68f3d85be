"""Recognisers that a policy names: spaCy pipelines, transformers models, GLiNER, Presidio classes.

Each is loaded once, reads pieces of bounded length and is used by one thread at a time. What goes wrong inside one
refuses the text and says nothing of it.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Any, Final

from tacit_privacy.errors import BadInput, MissingExtra, TextRefused
from tacit_privacy.pii.detection.borrowed import light
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import Plugin

Rows = Iterable[tuple[int, int, str, float]]
"""Start, end, label and score of what a library found in one piece."""

_MARGIN: Final = 32  # tokens: two parts of a piece share half as many, and a part may grow when it is cut inside a word
_PIECE: Final = {"spacy": 50_000, "transformers": 800, "gliner": 1_200, "presidio": 50_000}  # characters


class PluginDetector:
    """A library's model behind the interface of a detector."""

    def __init__(self, plugin: Plugin, read: Callable[[list[str]], Iterable[Rows]]) -> None:
        self._plugin, self._read, self._lock = plugin, read, Lock()

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        """For each text its entities. Raises TextRefused where the library fails."""
        found: list[list[Entity]] = [[] for _ in texts]
        where = [(index, at, piece) for index, text in enumerate(texts) for at, piece in pieces(text, self._length)]
        try:
            with self._lock:
                rows = [list(some) for some in self._read([piece for _, _, piece in where])]
        except Exception as error:  # whatever a third party raises may quote the text
            raise TextRefused("detection_failed", f"the {self._plugin.kind} plug-in: {type(error).__name__}") from None
        for (index, at, piece), some in zip(where, rows, strict=True):
            for start, end, label, score in some:
                type_ = self._type(label)
                if type_ is not None and score >= self._plugin.threshold and 0 <= start < end <= len(piece):
                    found[index].append(Entity(at + start, at + end, type_, min(max(float(score), 0.0), 0.99)))
        return found

    @property
    def _length(self) -> int:
        return _PIECE[self._plugin.kind]

    def _type(self, label: str) -> str | None:
        """The policy's name of a label; without a mapping its own, in the form of a type."""
        if self._plugin.labels:
            return self._plugin.labels.get(label)
        plain = "".join(char if char.isascii() and char.isalnum() else "_" for char in label.upper())[:40].strip("_")
        return plain if plain[:1].isalpha() else None


def pieces(text: str, length: int) -> Iterator[tuple[int, str]]:
    """``text`` in pieces of at most ``length`` characters with their offsets, cut at white space where there is any."""
    at = 0
    while at < len(text):
        end = min(at + length, len(text))
        if end < len(text):
            for space in ("\n", " "):
                cut = text.rfind(space, at + length // 2, end)
                if cut > at:
                    end = cut + 1
                    break
        if not text[at:end].isspace():
            yield at, text[at:end]
        at = end


def load(plugin: Plugin) -> PluginDetector:
    """The recogniser that ``plugin`` names. Raises MissingExtra without its library, BadInput without its model."""
    return PluginDetector(plugin, _LOADERS[plugin.kind](plugin))


def _require(module: str, package: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"a plug-in needs {package}, which is missing: pip install {package}") from error


def _opened(plugin: Plugin, open_model: Callable[[], Any]) -> Any:
    try:
        return open_model()
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise BadInput(f"cannot load the {plugin.kind} model {plugin.model}: {type(error).__name__}") from error


def _spacy(plugin: Plugin) -> Callable[[list[str]], Iterable[Rows]]:
    spacy = _require("spacy", "spacy")
    pipeline = _opened(plugin, lambda: spacy.load(plugin.model))

    def read(texts: list[str]) -> Iterable[Rows]:
        with pipeline.memory_zone():  # frees what the vocabulary learnt from these texts
            for document in pipeline.pipe(texts):
                yield [(span.start_char, span.end_char, span.label_, plugin.score) for span in document.ents]

    return read


def _transformers(plugin: Plugin) -> Callable[[list[str]], Iterable[Rows]]:
    transformers = _require("transformers", "transformers")
    _require("torch", "torch")
    tagger = _opened(
        plugin,
        lambda: transformers.pipeline(
            "token-classification", model=plugin.model, aggregation_strategy="simple", device=-1
        ),
    )
    tokenizer = tagger.tokenizer
    if not tokenizer.is_fast:
        raise BadInput(
            f"the model {plugin.model} has no fast tokenizer, so nothing says where its words are; use another"
        )
    places = getattr(tagger.model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    tokenizer.model_max_length = min(tokenizer.model_max_length, places - 2)  # RoBERTa's positions start at 2
    room = max(tokenizer.model_max_length - 2 * _MARGIN, _MARGIN)

    def read(texts: list[str]) -> Iterable[Rows]:
        for text in texts:  # one by one: a batch pads to its longest, and scores would depend on the company
            yield [
                (at + row["start"], at + row["end"], row["entity_group"], float(row["score"]))
                for at, part in _parts(tokenizer, text, room)
                for row in tagger(part)
            ]

    return read


def _parts(tokenizer: Any, text: str, room: int) -> Iterator[tuple[int, str]]:
    """``text`` in parts of at most ``room`` tokens that share some; the pipeline's own stride drops what crosses."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    if len(offsets) <= room:
        yield 0, text
        return
    for first in range(0, len(offsets), room - _MARGIN // 2):
        some = offsets[first : first + room]
        yield some[0][0], text[some[0][0] : some[-1][1]]


def _gliner(plugin: Plugin) -> Callable[[list[str]], Iterable[Rows]]:
    gliner = _require("gliner", "gliner")
    model = _opened(plugin, lambda: gliner.GLiNER.from_pretrained(plugin.model))
    labels = list(plugin.labels)

    def read(texts: list[str]) -> Iterable[Rows]:
        for text in texts:
            rows = model.predict_entities(text, labels, threshold=plugin.threshold)
            yield [(row["start"], row["end"], row["label"], float(row["score"])) for row in rows]

    return read


def _presidio(plugin: Plugin) -> Callable[[list[str]], Iterable[Rows]]:
    module_name, _, class_name = plugin.model.partition(":")
    recogniser = _opened(plugin, lambda: _class(module_name, class_name)())
    if not callable(getattr(recogniser, "analyze", None)):
        raise BadInput(f"{plugin.model} is no recogniser: it has no analyze(text, entities, nlp_artifacts)")
    entities = list(recogniser.supported_entities)

    def read(texts: list[str]) -> Iterable[Rows]:
        for text in texts:
            rows = recogniser.analyze(text, entities, None)
            yield [(row.start, row.end, row.entity_type, float(row.score)) for row in rows]

    return read


def _class(module_name: str, class_name: str) -> Any:
    """A class of a module that may import Presidio: without spaCy and torch where that is enough, else with them."""
    before = set(sys.modules)
    try:
        with light():
            return getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError):
        for name in set(sys.modules) - before:
            if name == module_name or name.startswith(f"{module_name}."):
                del sys.modules[name]
    try:
        return getattr(import_module(module_name), class_name)
    except AttributeError as error:
        raise ImportError(f"{module_name} has no {class_name}") from error


_LOADERS: Final[Mapping[str, Callable[[Plugin], Callable[[list[str]], Iterable[Rows]]]]] = {
    "spacy": _spacy,
    "transformers": _transformers,
    "gliner": _gliner,
    "presidio": _presidio,
}
