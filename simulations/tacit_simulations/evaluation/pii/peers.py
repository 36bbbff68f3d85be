"""What others detect with, on the same texts in the same run, where it can be had on this machine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tacit_privacy.errors import MissingExtra
from tacit_simulations.evaluation.pii.scoring import Span
from tacit_simulations.evaluation.pii.sets import Sample
from tacit_simulations.evaluation.pii.subjects import Outcome, blanked

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine, RecognizerResult

LARGE_MODEL = "en_core_web_lg"


class Presidio:
    """Presidio's AnalyzerEngine with its own settings for English; overlaps go to the surer result, then the longer."""

    def __init__(self, engine: "AnalyzerEngine", name: str) -> None:
        self._engine, self.name = engine, name

    def read(self, samples: Sequence[Sample]) -> list[Outcome]:
        return [blanked(sample.text, self.detect(sample.text)) for sample in samples]

    def detect(self, text: str) -> list[Span]:
        """Spans apart from each other."""
        chosen: list[RecognizerResult] = []
        found = self._engine.analyze(text, language="en")
        for one in sorted(found, key=lambda result: (-result.score, result.start - result.end, result.start)):
            if all(one.end <= other.start or other.end <= one.start for other in chosen):
                chosen.append(one)
        return sorted((one.start, one.end, one.entity_type) for one in chosen)


def presidio(model: str | None = None) -> Presidio:
    """Without a model: patterns and checksums over a blank pipeline. Raises MissingExtra."""
    try:
        import spacy
        import tldextract
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError as error:
        raise MissingExtra(f"{error.name} is missing: pip install presidio-analyzer") from error

    # Presidio's e-mail recogniser would fetch the list of public suffixes; the copy in the package is what it falls to.
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())

    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": model or "blank"}])
    pipeline: Any = {"en": spacy.load(model) if model else spacy.blank("en")}
    engine.nlp = pipeline  # in place of load(), which would fetch a model that is not there
    name = f"Presidio, {model}" if model else "Presidio, no model"
    return Presidio(AnalyzerEngine(nlp_engine=engine, supported_languages=["en"]), name)


def installed() -> list[Presidio]:
    """Presidio without a model, and with spaCy's large English one where that is installed."""
    import spacy

    return [presidio(), *([presidio(LARGE_MODEL)] if spacy.util.is_package(LARGE_MODEL) else [])]
