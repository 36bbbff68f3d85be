"""How well redaction works: spans found, units that leak, characters masked for nothing, and the way back.

``evaluate`` puts sets of texts to subjects, ours and others, and every figure comes from the same texts in one run.
"""

from tacit_simulations.evaluation.pii.evaluate import evaluate
from tacit_simulations.evaluation.pii.sets import DataSet, Sample, from_file, public_sets
from tacit_simulations.evaluation.pii.subjects import Outcome, Subject, Tacit

__all__ = ["DataSet", "Outcome", "Sample", "Subject", "Tacit", "evaluate", "from_file", "public_sets"]
