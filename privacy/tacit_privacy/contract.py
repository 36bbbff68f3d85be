"""What server and device promise each other: the shape of an adapter, the terms of a round, the receipt of an update.

Everything here crosses the wire as canonical JSON beside one flat vector, and is validated where it arrives.
"""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, model_validator

from tacit_privacy.schedules import Schedule

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_WIDEST = 1e300  # half a range beyond it, and the middle of one, would be no number
Bits = Literal[32, 8, 4]  # of a coordinate of an update on the wire; 32: the grid vector as it is
LEVELS = 2**20  # integer grid steps per clip norm: rounding costs less than 1e-6 of the clip per coordinate


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Digests and signatures are over these bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode()


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def commitment(nonce: bytes, data: bytes) -> str:
    """What stands for ``data`` in a receipt. ``nonce``, 32 bytes that are never written down, keeps it from being a
    digest of an exact update, which whoever guesses a device's data could recognise: no noise covers that.
    """
    return digest(nonce + data)


class Fact(BaseModel, frozen=True, extra="forbid"):
    """A frozen record that refuses unknown keys and has one canonical text."""

    def to_bytes(self) -> bytes:
        return canonical(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls.model_validate_json(data)

    @cached_property
    def digest(self) -> str:
        return digest(self.to_bytes())


class LinearSpec(Fact):
    """One adapted linear module: ``weight`` has shape (rows, columns); B is (rows, rank), A is (rank, columns)."""

    name: str
    rows: PositiveInt
    columns: PositiveInt


class DenseSpec(Fact):
    """A tensor trained whole (a classification head), of the given shape."""

    name: str
    shape: tuple[PositiveInt, ...]

    @property
    def size(self) -> int:
        size = 1
        for length in self.shape:
            size *= length
        return size


class AdapterSpec(Fact):
    """How a flat vector of ``dimension`` floats maps onto a model.

    Layout: the dense tensors first, row-major; then, rank by rank, for every linear module in order the column
    ``B[:, k]`` (and for method ``lora`` then the row ``A[k, :]``). A device of lower rank therefore owns a prefix.
    The adapted weight is ``W + (alpha / rank) * B @ A``; a lower-rank device keeps the scale alpha / rank of the spec.
    Method ``ffa`` freezes A at ``randomness.frozen_factor(seed, name, rank, columns)`` and trains B alone, from zero.
    """

    model: str
    method: Literal["ffa", "lora"]
    rank: PositiveInt
    alpha: PositiveFloat
    seed: int
    linear: tuple[LinearSpec, ...]
    dense: tuple[DenseSpec, ...] = ()

    @property
    def dense_size(self) -> int:
        return sum(tensor.size for tensor in self.dense)

    @property
    def width(self) -> int:
        """Floats per unit of rank."""
        return sum(m.rows + (m.columns if self.method == "lora" else 0) for m in self.linear)

    def prefix(self, rank: int) -> int:
        """Length of the part of the vector that a device of ``rank`` holds."""
        return self.dense_size + min(rank, self.rank) * self.width

    @property
    def dimension(self) -> int:
        return self.prefix(self.rank)


class ExampleDp(Fact, allow_inf_nan=False):
    """Example-level DP-SGD on the device (Abadi et al. 2016): a second, separate guarantee for a device's examples."""

    noise_multiplier: PositiveFloat = Field(description="noise standard deviation / example clip norm")
    clip_norm: PositiveFloat = Field(description="L2 norm that an example's gradient is clipped to")
    # a public constant: never derived from how much data a device has
    expected_batch: PositiveInt = Field(description="examples that a step expects, public")
    delta: float = Field(default=1e-5, gt=0, lt=1, description="delta of the example-level guarantee")


class LocalTraining(Fact, allow_inf_nan=False):
    """How a device trains in one round. Lengths in tokens, batches in examples."""

    optimizer: Literal["sgd", "adamw"] = Field(default="adamw", description="the device's own optimizer")
    learning_rate: PositiveFloat = Field(default=0.01, description="the device's learning rate")
    schedule: Schedule = Field(default="constant", description="the device's learning rate over its own steps")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay")
    epochs: PositiveInt = Field(default=1, description="passes over the device's examples in a round")
    max_steps: int = Field(default=0, ge=0, description="steps after which a device stops; 0: as its epochs say")
    batch_size: PositiveInt = Field(default=8, description="examples of one gradient")
    accumulation: PositiveInt = Field(default=1, description="gradients that are averaged for one step")
    max_length: PositiveInt = Field(default=48, description="longest example in tokens; longer ones are cut")
    example_dp: ExampleDp | None = Field(default=None, description="example-level DP-SGD, a second guarantee")


class Statistic(Fact, allow_inf_nan=False):
    """A number of every device that is released as part of the update, under the same noise as the adapter.

    The device's value is cut to ``low`` to ``high``, centred and sent in grid steps, so that a device that sends
    nothing is the middle and one device moves the sum by at most ``levels`` steps. ``within_clip``: 1 where the norm of
    its update is at most the clip, else 0 (Andrew et al. 2021). ``loss`` and ``metric``: of the adapter as it was sent,
    on the device's own held-out examples, before training.
    """

    name: Literal["within_clip", "loss", "metric"]
    low: float = Field(ge=-_WIDEST, le=_WIDEST)
    high: float = Field(ge=-_WIDEST, le=_WIDEST)

    @model_validator(mode="after")
    def _spans(self) -> Self:
        if not 0 < (self.high - self.low) / 2 < _WIDEST:  # halved, as devices do
            raise ValueError(f"statistic {self.name} spans nothing, or too much, from {self.low:g} to {self.high:g}")
        return self


class RoundTerms(Fact):
    """What the server asks of one device in one round, and promises it, signed by the server before it is sent.

    A device holds the server to the strictest promise that it ever heard in a run.
    """

    protocol: Literal[2] = 2
    run: str
    round: PositiveInt
    version: int = Field(ge=0)  # how many server steps the adapter that is sent has seen
    spec: AdapterSpec
    rank: PositiveInt
    clip_norm: PositiveFloat
    levels: PositiveInt = LEVELS
    bits: Bits = 32  # of a coordinate of the update
    quantum: PositiveInt = 1  # grid steps of one step of a code, a public constant; see mechanisms.coding
    statistics: tuple[Statistic, ...] = ()  # one slot each behind the adapter's part of the update
    training: LocalTraining
    noise_multiplier: float = Field(
        default=0.0, ge=0, allow_inf_nan=False
    )  # of the whole release; 0: comparison runs without privacy
    clip_limit: PositiveFloat | None = None  # the clip norm never passes it; None: it never changes
    participations: PositiveInt  # the most rounds a device may contribute to in this run
    separation: PositiveInt = 1  # rounds from one participation of a device to its next, at least
    period_s: PositiveFloat | None = None  # after which participations are new, by the device's own clock; None: never
    deadline: float  # server clock, seconds
    ledger: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")  # its first entry's hash; empty: nothing is charged
    ledger_head: Digest  # the ledger's newest entry, which a device remembers and may ask for again
    ledger_length: int = Field(ge=0)


class Receipt(Fact):
    """What a device says it did, signed with the key it names where it has one: a leaf of the round's Merkle tree.

    It echoes the head of the ledger that the device was shown, so that a fork shows where receipts meet a ledger.
    """

    protocol: Literal[2] = 2
    run: str
    round: PositiveInt
    device: str
    public_key: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    terms: Digest  # of the RoundTerms it acted on
    update: Digest  # ``commitment`` to all bytes of the array it sent
    participation: PositiveInt  # the how-manieth of this device in this run
    ledger_head: Digest
    ledger_length: int = Field(ge=0)


# Names of the records inside a Flower message, and of its own keys.
RECORD_ADAPTER = "adapter"  # ArrayRecord: one float32 array (prefix,)
RECORD_TERMS = "terms"  # ConfigRecord {"payload": bytes, "signature": bytes}
# ArrayRecord: one array, the clipped delta and the statistics behind it: in grid steps, int32 (prefix + statistics,),
# or in 8 or 4 bits a coordinate, uint8, as mechanisms.coding says
RECORD_UPDATE = "update"
RECORD_RECEIPT = "receipt"  # ConfigRecord {"payload": bytes, "signature": bytes, "nonce": bytes}
RECORD_REFUSAL = "refusal"  # ConfigRecord {"reason": str}: the device's guard or its data said no
QUERY_DESCRIBE = "query.describe"  # asks a device who it is: stable identity, tier rank, adapter spec
# ConfigRecord {"identity": str, "rank": int, "spec": str, "public-key": str}: answers QUERY_DESCRIBE
RECORD_DESCRIPTION = "description"
