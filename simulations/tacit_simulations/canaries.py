"""Canaries of a simulated fleet: devices that send a secret direction, or zeros, by the toss of a fair coin.

A random direction of full clip norm is the worst that one device can add, and nearly orthogonal to all others, so that
many can be measured in one run (Andrew et al. 2023, arXiv 2302.03098). Only a simulator, which knows the directions,
can score them; nothing of it crosses the Grid.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.audit.canaries import CONFIDENCE, CanaryRow, Claim, claim_of, measure_rows
from tacit_privacy.contract import AdapterSpec, RoundTerms, canonical
from tacit_privacy.randomness import stream
from tacit_server.config import PrivacyConfig
from tacit_server.rounds import RoundRecord
from tacit_simulations.outputs import Journal

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Canaries:
    """``count`` devices of a fleet, drawn by the run's seed. A function of its fields alone."""

    seed: int
    devices: int
    count: int

    @cached_property
    def members(self) -> tuple[int, ...]:
        """Device numbers, ascending."""
        drawn = stream(self.seed, "canaries").choice(self.devices, self.count, replace=False)
        return tuple(sorted(int(device) for device in drawn))

    @cached_property
    def _included(self) -> dict[int, bool]:
        coins = stream(self.seed, "canary-coins").random(self.count) < 0.5
        return {device: bool(coin) for device, coin in zip(self.members, coins, strict=True)}

    def __contains__(self, device: object) -> bool:
        return device in self._included

    def included(self, device: int) -> bool:
        """The canary's coin: whether it sends its direction, or zeros, as its neighbour under zero-out adjacency."""
        return self._included[device]

    def direction(self, device: int, length: int) -> F64:
        """The canary's secret: a unit vector, uniform over directions, of the prefix (length,) that its rank holds."""
        drawn = stream(self.seed, "canary-direction", device).standard_normal(length)
        return np.asarray(drawn / np.sqrt(np.sum(drawn * drawn)), dtype=np.float64)

    def contribution(self, device: int, terms: RoundTerms) -> NDArray[np.float32]:
        """What the canary sends in a round, (prefix,) float32: its direction, a hair longer than the clip, or zeros."""
        length = terms.spec.prefix(terms.rank)
        if not self.included(device):
            return np.zeros(length, dtype=np.float32)
        longer = terms.clip_norm * (1 + 1e-6)  # so that the clip sets the length, whatever float32 rounds
        return (self.direction(device, length) * longer).astype(np.float32)

    @property
    def others(self) -> NDArray[np.intp]:
        """Every other device: those that learn."""
        return np.setdiff1d(np.arange(self.devices), np.array(self.members, dtype=np.intp))


class CanaryWatch:
    """Scores canaries as rounds are released: what somebody could who sees every round and knows the directions."""

    def __init__(
        self, canaries: Canaries, spec: AdapterSpec, rank_of: Callable[[int], int], journal: Journal, adapter: F64
    ) -> None:
        """``adapter`` (d,) is where the next round starts from."""
        self._canaries, self._spec, self._rank_of = canaries, spec, rank_of
        self._journal, self._before = journal, adapter

    def see(self, record: RoundRecord, adapter: F64) -> None:
        """Score the canaries that a released round has summed, against what the round changed."""
        moved, self._before = adapter - self._before, adapter
        found = [device for device in record.accepted if device in self._canaries] if record.released else []
        if found:
            scores = {str(device): self._score(device, moved) for device in sorted(found)}
            self._journal.put(f"canary/{record.round}", scores)

    def finish(self, moved: F64, claim: Claim) -> list[dict[str, Any]]:
        """A row for every canary: ``moved`` (d,) is what the whole run changed."""
        rounds: dict[int, list[float]] = {device: [] for device in self._canaries.members}
        for key, row in self._journal.items():
            if key.startswith("canary/"):
                for device, score in row.items():
                    rounds[int(device)].append(score)
        rows = [
            CanaryRow(
                canary=number,
                device=device,
                included=self._canaries.included(device),
                participations=len(rounds[device]),
                score=self._score(device, moved) if claim == "any" else _together(rounds[device]),
            )
            for number, device in enumerate(self._canaries.members)
        ]
        return [row.model_dump(mode="json") for row in rows]

    def _score(self, device: int, moved: F64) -> float:
        """sqrt(p) times the cosine: N(0, 1) for a direction that had no part in ``moved``. 0 where nothing moved.

        A product and a sum, not a dot product: that one's last bit depends on the number of threads.
        """
        length = self._spec.prefix(self._rank_of(device))
        held = moved[:length]
        norm = float(np.sqrt(np.sum(held * held)))
        along = float(np.sum(self._canaries.direction(device, length) * held))
        return float(np.sqrt(length)) * along / norm if norm > 0 else 0.0


def _together(scores: Sequence[float]) -> float:
    """One score of a canary's releases: their sum, in the units of one."""
    return float(np.sum(scores) / np.sqrt(len(scores))) if scores else 0.0


def empirical(rows: Iterable[dict[str, Any]], privacy: PrivacyConfig, delta: float) -> dict[str, Any]:
    """``privacy.empirical`` of a result: what the canaries show. Numbers are None where none of them was asked."""
    found = [CanaryRow.model_validate(row) for row in rows]
    measured = measure_rows(found, delta, CONFIDENCE, claim_of(privacy.sampling, privacy.roster))
    head = {
        "method": "canary devices with secret random directions, each in or out by a fair coin",
        "planned": len(found),
        "asked": sum(row.participations > 0 for row in found),
        "simulator_only": True,
    }
    shown = measured.as_json() if measured else {"canaries": 0, "included": 0, "estimate": None, "lower_bound": None}
    return head | shown


def lines(rows: Iterable[dict[str, Any]]) -> str:
    """``canaries.jsonl``: one canary a line."""
    return "".join(canonical(row).decode() + "\n" for row in rows)
