"""What an entry of each kind says, as a verifier reads it: exactly these fields, of exactly these types."""

from typing import Annotated, Any

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from tacit_privacy.accounting.events import Arithmetic, GaussianEvent
from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.contract import Digest, Fact, canonical

Name = Annotated[str, Field(pattern=r"^[ -~]{1,40}$")]  # it is shown on terminals
Run = Annotated[str, Field(pattern=r"^[ -~]{1,200}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Epsilon = Annotated[FiniteFloat, Field(ge=0)]


class Opened(Fact):
    """The promise, and the key that its entries are signed with until another takes over."""

    policy: BudgetPolicy
    public_key: Key


class Begun(Fact):
    """A run charges this ledger from here on, and what it makes its releases with."""

    run: Run
    config: Digest
    code: str = Field(pattern=r"^[ -~]{1,80}$")  # of the coordinator, as its package calls itself
    clip_norm: Annotated[FiniteFloat, Field(gt=0)]
    arithmetic: Arithmetic
    noise_source: Name


class Lifetime(Fact):
    """Where budgets are renewed by period: what all periods together add up to."""

    participations: NonNegativeInt
    epsilon: Epsilon


class Reserved(Fact):
    """A release is paid for."""

    reservation: Name
    run: Run
    round: PositiveInt
    stream: Name
    event: GaussianEvent
    participations: NonNegativeInt
    epsilon: Epsilon
    lifetime: Lifetime | None = None


class Committed(Fact):
    """It was released. ``realised``: the noise multiplier that came about, where devices' shares made it larger than
    what was paid for; ``completed``: how many devices it is of, unsaid behind a sealed roster.
    """

    reservation: Name
    release: Digest
    receipts: Digest
    completed: NonNegativeInt | None = None
    realised: PositiveFloat | None = None


class Abandoned(Fact):
    """It was given back: nothing was released."""

    reservation: Name
    why: str


class Lost(Fact):
    """A crash cut it off: it stays charged."""

    reservation: Name


class Rotated(Fact):
    """From the next entry on another key signs. ``endorsement``: the new key's signature over the hash before."""

    public_key: Key
    endorsement: str = Field(pattern=r"^[0-9a-f]{128}$")


class Restored(Fact):
    """The ledger was put back to an older copy. Somebody saw it with ``length`` entries, ``head`` the newest; what is
    missing is charged as ``releases`` reservations that follow, lost ones.
    """

    length: PositiveInt
    head: Digest
    releases: NonNegativeInt


class Ended(Fact):
    """A run charges nothing any more."""

    run: Run


class Closed(Fact):
    """Nothing follows."""

    releases: NonNegativeInt
    epsilon: Epsilon


Body = Opened | Begun | Reserved | Committed | Abandoned | Lost | Rotated | Restored | Ended | Closed
KINDS: dict[str, type[Body]] = {
    "open": Opened,
    "run": Begun,
    "reserve": Reserved,
    "commit": Committed,
    "abandon": Abandoned,
    "lost": Lost,
    "rotate": Rotated,
    "restore": Restored,
    "end": Ended,
    "close": Closed,
}
NAMES = {model: kind for kind, model in KINDS.items()}


def releases_within(missing: int) -> int:
    """The most releases that ``missing`` entries can be of, where one run at a time charges a ledger: a release is a
    reservation and its end, and one run may have been cut off between the two.
    """
    return missing // 2 + 1


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
