"""What an entry of each kind says, as a verifier reads it: exactly these fields, of exactly these types."""

from typing import Annotated, Any

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, ValidationError

from tacit_privacy.accounting.budget import BudgetPolicy
from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.contract import Digest, Fact, canonical

Name = Annotated[str, Field(pattern=r"^[ -~]{1,40}$")]  # it is shown on terminals
Epsilon = Annotated[FiniteFloat, Field(ge=0)]


class Opened(Fact):
    """The promise, and what it is made with."""

    policy: BudgetPolicy
    clip_norm: Annotated[FiniteFloat, Field(gt=0)]
    levels: PositiveInt
    noise_source: Name
    config: str
    public_key: str


class Reserved(Fact):
    """A release is paid for."""

    reservation: Name
    round: PositiveInt
    event: GaussianEvent
    participations: NonNegativeInt
    epsilon: Epsilon


class Committed(Fact):
    """It was released."""

    reservation: Name
    release: Digest
    receipts: Digest


class Abandoned(Fact):
    """It was given back: nothing was released."""

    reservation: Name
    why: str


class Lost(Fact):
    """A crash cut it off: it stays charged."""

    reservation: Name


class Closed(Fact):
    """Nothing follows."""

    releases: NonNegativeInt
    epsilon: Epsilon


Body = Opened | Reserved | Committed | Abandoned | Lost | Closed
KINDS: dict[str, type[Body]] = {
    "open": Opened,
    "reserve": Reserved,
    "commit": Committed,
    "abandon": Abandoned,
    "lost": Lost,
    "close": Closed,
}


def parse(kind: str, body: dict[str, Any]) -> Body:
    """The body of an entry of a known ``kind``. Raises ValueError on anything else than such a body.

    Strict: 1.0 is no count, and a number in quotation marks is text.
    """
    try:
        return KINDS[kind].model_validate_json(canonical(body), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise ValueError(f"{where.encode('unicode_escape').decode()}: {first['msg'].lower()}") from error
