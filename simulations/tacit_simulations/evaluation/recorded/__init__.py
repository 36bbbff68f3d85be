"""Recorded answers of pairs of real models, replayed: a cascade that reads the answer, and a choice of two."""

from tacit_simulations.evaluation.recorded.pairs import RecordedCrowd, RecordedPair, public_pairs

__all__ = ["RecordedCrowd", "RecordedPair", "public_pairs"]
