"""What the entries of a ledger add up to, entry by entry: a charge need not read those before it again."""

from dataclasses import dataclass, field

from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.ledger.chain import GENESIS, Entry


@dataclass(frozen=True, slots=True)
class Reservation:
    """Paid for, not yet released. ``label`` names the noise draw: a new reservation never draws the same noise."""

    id: str
    round: int
    epsilon: float  # after this release, if every reserved device contributes
    label: str


@dataclass(frozen=True, slots=True)
class Charge:
    """A release that is charged, and the most releases that any one device contributed to with it."""

    event: GaussianEvent
    participations: int


@dataclass
class Account:
    """The sum of the first ``read`` entries, of which the newest has the hash ``head``."""

    read: int = 0
    head: str = GENESIS
    previous: str = GENESIS
    first: Entry | None = None
    charged: dict[str, Charge] = field(default_factory=dict)  # by reservation, in order
    waiting: Reservation | None = None  # the newest entry, where that is a reservation
    releases: int = 0
    closed: bool = False

    def take(self, entry: Entry) -> None:
        """Add the next entry."""
        self.read, self.head, self.previous = self.read + 1, entry.hash, entry.previous
        self.first = self.first or entry
        body, self.waiting, self.closed = entry.body, None, entry.kind == "close"
        match entry.kind:
            case "reserve":
                name, event = body["reservation"], GaussianEvent.model_validate(body["event"])
                self.charged[name] = Charge(event, body["participations"])
                self.waiting = Reservation(name, body["round"], body["epsilon"], f"release {name}")
            case "abandon":
                self.charged.pop(body["reservation"], None)
            case "commit":
                self.releases += 1
