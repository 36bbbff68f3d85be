"""What a federation promises and how it runs. What changes a guarantee and what changes learning are separate types."""

from math import ceil
from typing import Literal

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, model_validator

from tacit_privacy.accounting.events import Adjacency
from tacit_privacy.contract import Bits
from tacit_privacy.schedules import Schedule


class PrivacyConfig(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """The guarantee. Nothing outside this table can weaken it."""

    enabled: bool = Field(default=True, description="false: no clipping to speak of, no noise, no guarantee")
    epsilon: PositiveFloat = Field(default=8.0, description="cap that the run is refused beyond")
    delta: float | None = Field(default=None, gt=0, lt=1, description="default: population to the power -1.1")
    noise_multiplier: PositiveFloat | None = Field(
        default=None,
        description="noise standard deviation / sensitivity of all that a round releases; default: the least that "
        "keeps within epsilon",
    )
    clip_norm: PositiveFloat = Field(
        default=1.0, description="L2 norm that a device's update is clipped to, at first where it adapts"
    )
    clip_quantile: float | None = Field(
        default=None, gt=0, lt=1, description="share of updates that the clip comes to fit; default: the clip stays"
    )
    clip_learning_rate: PositiveFloat = Field(default=0.2, description="how fast the clip follows, per round")
    clip_bit_noise: PositiveFloat | None = Field(
        default=None,
        description="noise standard deviation on the number of updates within the clip; default: a twentieth of the "
        "cohort, or what costs 1 % of a round where that is more",
    )
    clip_limit: PositiveFloat | None = Field(
        default=None, description="what devices are promised the clip never passes; default: 100 times clip_norm"
    )
    clip_least: PositiveFloat | None = Field(
        default=None, description="what the clip never falls below; default: a thousandth of clip_norm"
    )
    metrics: bool = Field(
        default=False, description="release every round's loss and metric on devices' own held-out examples, noised"
    )
    metric_noise: PositiveFloat | None = Field(
        default=None,
        description="noise standard deviation on a released mean, as a share of its range; default: 0.05, or what "
        "costs 1 % of a round where that is more",
    )
    largest_loss: PositiveFloat = Field(
        default=10.0, description="range of the released loss, from 0; a larger one counts as this"
    )
    participations: PositiveInt = Field(
        default=1, le=60_000, description="most releases that one device contributes to"
    )
    separation: PositiveInt = Field(
        default=1, description="rounds from one participation of a device to its next, at least"
    )
    period_s: PositiveFloat | None = Field(
        default=None, description="seconds after which participations and the budget are new; default: never"
    )
    noise: Literal["independent", "correlated"] = Field(
        default="independent", description="correlated: later rounds take back a part of the noise of earlier ones"
    )
    bands: PositiveInt | None = Field(
        default=None, le=256, description="correlated: rounds that noise reaches over; default: the separation"
    )
    adjacency: Adjacency = Field(default=Adjacency.ZERO_OUT, description="which two fleets must be hard to tell apart")
    sampling: Literal["fixed", "uniform", "poisson"] = Field(
        default="fixed", description="how a round's cohort comes about"
    )
    cohort_cap: PositiveInt | None = Field(
        default=None, description="poisson: a larger cohort is cut down to this many, in secret; default: never"
    )
    roster: Literal["open", "sealed"] = Field(
        default="open",
        description="sealed: nobody but the server sees who took part; amplification by sampling needs it",
    )

    @model_validator(mode="after")
    def _clips(self) -> "PrivacyConfig":
        least, most = self.clip_range
        if not least <= self.clip_norm <= most:
            raise ValueError(
                f"privacy.clip_norm {self.clip_norm:g} is not within clip_least {least:g} and clip_limit {most:g}"
            )
        return self

    @model_validator(mode="after")
    def _correlates(self) -> "PrivacyConfig":
        if self.noise == "independent":
            return self
        if self.reach > self.separation or self.reach < 2:
            raise ValueError(
                f"correlated noise over {self.reach} rounds needs 2 or more, and as long a pause between two "
                f"participations of a device; set privacy.separation ({self.separation}) to at least privacy.bands"
            )
        if self.secret:
            raise ValueError('correlated noise gains nothing from sampling; set privacy.sampling = "fixed"')
        return self

    @property
    def reach(self) -> int:
        """Rounds that noise reaches over."""
        return (self.bands or min(self.separation, 256)) if self.noise == "correlated" else 1

    @property
    def clip_range(self) -> tuple[float, float]:
        """What an adaptive clip stays within."""
        return self.clip_least or self.clip_norm / 1000, self.clip_limit or 100 * self.clip_norm

    @property
    def secret(self) -> bool:
        """Whether a cohort is drawn from everybody, in secret: who cannot be asked then contributes nothing."""
        return self.sampling != "fixed"

    canaries: int = Field(
        default=0, ge=0, description="simulations: devices that send secret directions, to measure epsilon from below"
    )

    @model_validator(mode="after")
    def _measures(self) -> "PrivacyConfig":
        if self.canaries and not self.enabled:
            raise ValueError("canaries measure a guarantee and privacy.enabled = false has none; set canaries = 0")
        return self

    def delta_for(self, population: int) -> float:
        """The delta of the guarantee: as set, else population^-1.1."""
        return self.delta if self.delta is not None else min(0.5, float(population) ** -1.1)


class FederationConfig(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """How rounds are run and what the server does with their mean."""

    rounds: PositiveInt = Field(default=10, description="rounds to run")
    cohort: PositiveInt = Field(default=100, description="updates that a round waits for, and its public denominator")
    over_selection: float = Field(default=1.0, ge=1, le=10, description="devices asked per update waited for")
    deadline_s: PositiveFloat = Field(default=1800.0, description="seconds after which a round closes")
    minimum_share: float = Field(
        default=0.2, ge=0, le=1, description="share of the cohort below which a round is given up"
    )
    update_bits: Bits = Field(
        default=32,
        description="bits that a coordinate of a device's update travels in; 8 and 4 round at random, within the clip",
    )
    policy: Literal["sync", "buffered"] = Field(
        default="sync", description="sync: rounds open and close; buffered: a step whenever a cohort of replies is in"
    )
    concurrency: int = Field(default=0, ge=0, description="buffered: devices kept at work; 0: twice the cohort")
    staleness_exponent: float = Field(
        default=0.5,
        ge=0,
        le=4,
        description="buffered: an update s versions old counts (1 + s) to the power of minus this",
    )
    optimizer: Literal["fedavg", "fedavgm", "fedadam"] = Field(default="fedavg", description="server optimizer")
    learning_rate: PositiveFloat = Field(default=1.0, description="server learning rate")
    schedule: Schedule = Field(default="constant", description="server learning rate over the planned rounds")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="fedavgm: momentum; fedadam: beta 1")
    second_moment: float = Field(default=0.99, ge=0, lt=1, description="fedadam: beta 2")
    tau: PositiveFloat = Field(default=1e-3, description="fedadam: adaptivity; smaller adapts more")

    @model_validator(mode="after")
    def _fills(self) -> "FederationConfig":
        if self.policy == "buffered" and 0 < self.concurrency < self.cohort:
            raise ValueError(f"concurrency {self.concurrency} never fills a buffer of {self.cohort}; raise it")
        return self

    @property
    def at_work(self) -> int:
        """Devices that buffered rounds keep at work."""
        return self.concurrency or 2 * self.cohort

    @property
    def asked(self) -> int:
        """Devices that a round asks."""
        return round(self.cohort * self.over_selection)

    @property
    def minimum(self) -> int:
        """Updates below which a round of a fixed cohort is given up."""
        return max(1, ceil(self.minimum_share * self.cohort))


class AdapterConfig(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """The adapter that the fleet shares."""

    method: Literal["ffa", "lora"] = Field(default="ffa", description="ffa: A frozen and seeded, B learnt; lora: both")
    rank: PositiveInt = Field(default=8, description="rank of the shared adapter")
    alpha: PositiveFloat = Field(default=16.0, description="LoRA scale; a weight moves by alpha / rank * B A")
    targets: tuple[str, ...] = Field(default=(), description="linear modules to adapt; empty: the architecture's usual")
    seed: int = Field(default=7, description="seed of the frozen factor A, public")
    tiers: dict[str, PositiveInt] = Field(default={}, description="tier = rank, for tiers below the full rank")

    @model_validator(mode="after")
    def _within(self) -> "AdapterConfig":
        for tier, rank in self.tiers.items():
            if rank > self.rank:
                raise ValueError(f"adapter.tiers.{tier} is {rank} but adapter.rank is {self.rank}; lower it")
        return self


def bits_for(federation: FederationConfig, privacy: PrivacyConfig) -> Bits:
    """What a coordinate of an update travels in: whole where there is no clip, since nothing then says how far codes
    have to reach.
    """
    return federation.update_bits if privacy.enabled else 32


class JoiningConfig(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """How a run waits for its fleet before the first round."""

    nodes: int = Field(default=0, ge=0, description="devices to wait for; 0: a cohort, and until no more appear")
    patience_s: PositiveFloat = Field(default=600.0, description="seconds after which the run starts with who is there")
    answer_s: PositiveFloat = Field(default=180.0, description="seconds in which a node says which device it is")


def check_together(federation: FederationConfig, privacy: PrivacyConfig) -> None:
    """Raise ValueError, one sentence, where the two tables cannot hold at once."""
    if bits_for(federation, privacy) != federation.update_bits:
        raise ValueError(
            f"updates in {federation.update_bits} bits reach as far as the clip and privacy.enabled = false has none; "
            "leave federation.update_bits out"
        )
    if federation.policy == "buffered" and privacy.secret:
        raise ValueError(
            f'buffered rounds draw no cohort of sampling {privacy.sampling}; set privacy.sampling = "fixed"'
        )
    if privacy.cohort_cap is not None and (privacy.sampling != "poisson" or privacy.cohort_cap < federation.cohort):
        raise ValueError(
            f"privacy.cohort_cap {privacy.cohort_cap} cuts Poisson cohorts of {federation.cohort} on average; "
            'set privacy.sampling = "poisson" and a cap of at least federation.cohort, or leave it out'
        )
    if privacy.cohort_cap is not None and (privacy.participations < federation.rounds or privacy.separation > 1):
        raise ValueError(
            "who is cut from a capped cohort would still have to count it as a participation; with privacy.cohort_cap "
            "set privacy.participations to at least federation.rounds and leave privacy.separation out"
        )
    if privacy.period_s is not None and privacy.noise == "correlated":
        raise ValueError("correlated noise is charged over all rounds; leave privacy.period_s out")
    if federation.policy == "buffered" and privacy.clip_quantile is not None:
        raise ValueError("a buffer would hold updates of different clips; leave privacy.clip_quantile out")
