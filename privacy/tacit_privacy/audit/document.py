"""The auditor's document: what a report says, field by field, before anybody draws it.

Every field's description is the label that stands beside it on the page; ``UP`` and ``DOWN`` say in which direction a
number is rounded there. The fields follow NIST SP 800-226 and the registry of DP deployments (arXiv 2509.13509).
"""

from enum import Enum
from typing import Annotated as A
from typing import Any

from pydantic import Field

from tacit_privacy.contract import Fact


class Shown(Enum):
    """How the page writes a number. An upper bound is rounded up, a lower bound down, so that neither claims more."""

    UP = "up"
    DOWN = "down"
    GIVEN = "as it was given, else up"
    PERCENT = "percent, up"
    TIME = "time"


UP, DOWN, GIVEN, PERCENT, TIME = Shown.UP, Shown.DOWN, Shown.GIVEN, Shown.PERCENT, Shown.TIME


def told(description: str) -> Any:
    """A field that has to be given, with its label."""
    return Field(description=description)


class Note(Fact):
    """Something that must not be missed. ``alarm``: in red."""

    title: str
    body: str
    alarm: bool


class Wrong(Fact):
    index: A[int, told("entry")]
    kind: A[str, told("what")]
    detail: A[str, told("detail")]


class Verified(Fact):
    """What the replay found, before anything else is believed."""

    ok: A[bool, told("everything holds")]
    state: A[str, told("state")]
    entries: A[int, told("entries")]
    head: A[str, told("head")]
    key: A[str, told("checked against the key")]
    key_vouched_for: A[bool, told("somebody outside the ledger vouched for that key")]
    witness: A[str | None, told("head seen earlier, that must occur")]
    receipts_checked: A[bool, told("receipts checked")]
    problems: A[tuple[Wrong, ...], told("problems")]


class Deployment(Fact):
    model: A[str, told("model")]
    trusted: A[tuple[str, ...], told("who is trusted, with what")]
    shown: A[tuple[str, ...], told("what this ledger shows")]
    believed: A[tuple[str, ...], told("what it cannot show")]


class Unit(Fact):
    unit: A[str, told("unit")]
    per_user: A[str, told("devices per user")]
    epsilon_two: A[float | None, UP, told("epsilon of two such units of one person together")]


class Neighbours(Fact):
    relation: A[str, told("relation")]
    meaning: A[str, told("meaning")]
    other: A[str, told("other relations")]


class Mechanism(Fact):
    """One kind of release. ``event_digest`` is that of its event in canonical JSON."""

    mechanism: A[str, told("mechanism")]
    noise_multiplier: A[float, DOWN, told("noise multiplier")]
    sampling: A[str, told("cohort")]
    parts: A[str, told("parts")]
    count: A[int, told("times")]
    event_digest: A[str, told("digest")]


class Mechanisms(Fact):
    events: A[tuple[Mechanism, ...], told("events")]
    tally_digest: A[str, told("digest of all events and their counts")]


class Clipping(Fact):
    rule: A[str, told("rule")]
    clip_norm: A[tuple[float, ...], told("clip norm at the start of each run")]
    largest_weight: A[float, told("largest weight of a device")]
    denominators: A[tuple[int, ...], told("denominators")]
    public: A[str, told("why they are public")]


class Cohorts(Fact):
    used: A[tuple[str, ...], told("cohorts")]
    roster_sealed: A[bool, told("who took part stays sealed")]
    seen_by: A[str, told("who can see who took part")]
    amplification: A[str, told("what is claimed from sampling")]


class Round(Fact):
    run: A[str, told("run")]
    round: A[int, told("round")]
    planned: A[int, told("planned")]
    completed: A[int | None, told("completed")]
    fate: A[str, told("what became of it")]


class Often(Fact):
    times: A[int, told("releases")]
    devices: A[int, told("devices")]


class Participation(Fact):
    releases: A[int, told("releases")]
    charged: A[int, told("releases that are charged")]
    completed: A[str, told("devices in a release")]
    separation: A[int, told("least rounds from one participation of a device to its next")]
    cap: A[int, told("most participations of a device")]
    most: A[int, told("most that any device had, as charged")]
    histogram: A[tuple[Often, ...] | None, told("devices by how often they took part")]
    histogram_from: A[str, told("where that is from")]
    rounds: A[tuple[Round, ...], told("rounds")]


class AtDelta(Fact):
    delta: A[float, GIVEN, told("delta")]
    epsilon: A[float, UP, told("epsilon")]


class Detection(Fact):
    """What a test can find at most (true positives) at a rate of false alarms."""

    false_positive_rate: A[float, PERCENT, told("false alarms")]
    true_positive_rate: A[float, PERCENT, told("found, at most")]


class Guarantee(Fact):
    """Of one span of time: the run, the period that spent most, or all periods together."""

    span: A[str, told("of")]
    epsilon: A[float, UP, told("epsilon")]
    delta: A[float, GIVEN, told("delta")]
    assumption: A[str, told("assumption")]
    adjacency: A[str, told("neighbouring relation")]
    mu: A[float | None, UP, told("mu (Gaussian DP)")]
    rho: A[float | None, UP, told("rho (zCDP)")]
    gaussian: A[str, told("about mu and rho")]
    right_guess: A[float, PERCENT, told("right guesses between even odds, at most")]
    epsilons: A[tuple[AtDelta, ...], told("epsilon at other deltas")]
    curve: A[tuple[AtDelta, ...], told("curve")]
    tests: A[tuple[Detection, ...], told("tests")]


class Alternative(Fact):
    span: A[str, told("of")]
    assumption: A[str, told("assumption")]
    adjacency: A[str, told("neighbouring relation")]
    epsilon: A[float, UP, told("epsilon")]
    accountant: A[str, told("accountant")]
    chosen: A[bool, told("chosen")]


class Unlisted(Fact):
    assumption: A[str, told("assumption")]
    why: A[str, told("why no figure is given")]


class Bounds(Fact):
    listed: A[tuple[Alternative, ...], told("bounds that hold")]
    why: A[str, told("why that one")]
    unlisted: A[tuple[Unlisted, ...], told("assumptions that do not hold")]


class Accountant(Fact):
    name: A[str, told("accountant")]
    version: A[str, told("version")]
    grid: A[str, told("grid")]
    error: A[str, told("numerical error")]


class SecondOpinion(Fact):
    assumption: A[str, told("assumption")]
    epsilon: A[float, UP, told("epsilon (continuous noise)")]
    accountant: A[str, told("second accountant")]
    version: A[str, told("version")]
    second_epsilon: A[float | None, UP, told("its epsilon")]
    disagreement: A[float | None, UP, told("disagreement")]
    outcome: A[str, told("outcome")]


class Accounting(Fact):
    accountants: A[tuple[Accountant, ...], told("accountants")]
    second: A[tuple[SecondOpinion, ...], told("second accountants")]
    largest_disagreement: A[float | None, UP, told("largest disagreement, in epsilon")]
    second_said: A[str, told("about the second accountant")]


class Noise(Fact):
    source: A[str, told("noise source")]
    meaning: A[str, told("what that means")]
    arithmetic: A[str, told("arithmetic")]
    levels: A[int | None, told("grid steps per clip norm")]
    dimension: A[int | None, told("numbers in a release")]
    epsilon_continuous: A[float, UP, told("epsilon were noise continuous")]
    charged: A[float | None, UP, told("what integers cost on top, in epsilon")]


class Counted(Fact):
    what: A[str, told("what")]
    count: A[int, told("count")]


class Dropouts(Fact):
    planned: A[int, told("devices planned, over all releases")]
    completed: A[int | None, told("devices completed, over all releases")]
    meaning: A[str, told("what dropouts do to the noise")]
    least_realised: A[float | None, DOWN, told("least noise multiplier that came about")]
    given_back: A[tuple[Counted, ...], told("rounds given back")]
    lost: A[int, told("reservations lost to a crash, still charged")]


class Outside(Fact):
    inside: A[tuple[str, ...], told("released under this account")]
    outside: A[tuple[str, ...], told("outside it, as far as is known")]
    unseen: A[tuple[str, ...], told("what no ledger can see")]
    example_level: A[str, told("example-level guarantee on the device")]


class Empirical(Fact):
    measured: A[bool, told("measured")]
    said: A[str, told("reading")]
    lower_bound: A[float | None, DOWN, told("epsilon, at least")]
    upper_bound: A[float, UP, told("epsilon, at most")]
    delta: A[float, GIVEN, told("both at delta")]
    confidence: A[float | None, told("confidence of the lower bound")]
    refuted: A[bool, told("the lower bound passes the upper one")]
    estimate: A[float | None, told("estimate, which proves nothing")]
    design: A[str, told("canary design")]
    canaries: A[int | None, told("canaries scored")]
    included: A[int | None, told("of them included")]


class KeyPeriod(Fact):
    since: A[int, told("from entry")]
    public_key: A[str, told("public key")]
    time: A[float, TIME, told("time")]
    endorsed: A[str, told("endorsed by")]


class RunOf(Fact):
    run: A[str, told("run")]
    ended: A[bool, told("ended")]
    code: A[str, told("code digest")]
    config: A[str, told("configuration digest")]
    noise_source: A[str, told("noise source")]


class Book(Fact):
    head: A[str, told("head (SHA-256 chain)")]
    state: A[str, told("state")]
    entries: A[int, told("entries")]
    signatures: A[int, told("Ed25519 signatures that hold")]
    first: A[float | None, TIME, told("first entry")]
    last: A[float | None, TIME, told("last entry")]
    keys: A[tuple[KeyPeriod, ...], told("keys")]
    runs: A[tuple[RunOf, ...], told("runs")]
    receipts: A[str, told("receipts")]


class PeriodSpent(Fact):
    period: A[int, told("period")]
    releases: A[int, told("releases charged")]
    epsilon: A[float, UP, told("epsilon")]


class BudgetLeft(Fact):
    epsilon: A[float, GIVEN, told("cap on epsilon")]
    delta: A[float, GIVEN, told("at delta")]
    participations: A[int, told("cap on participations")]
    separation: A[int, told("separation in rounds")]
    population: A[int, told("population")]
    spent: A[float, UP, told("epsilon spent")]
    remaining: A[float, DOWN, told("epsilon left under the cap")]
    remaining_said: A[str, told("what that allows")]
    filter: A[str, told("filter")]
    period_s: A[float | None, told("seconds of a budget period")]
    periods: A[tuple[PeriodSpent, ...], told("periods")]
    lifetime_epsilon: A[float | None, UP, told("epsilon of all periods together")]


class Report(Fact):
    """The whole. A part is None where the ledger's first entry, which holds the policy, could not be read."""

    ledger: A[str, told("ledger")]
    tacit: A[str, told("version of Tacit that wrote this report")]
    notes: A[tuple[Note, ...], told("what must not be missed")]
    reading: A[tuple[str, ...], told("in plain language")]
    verification: A[Verified, told("Verification")]
    deployment: A[Deployment, told("Deployment model and trust")]
    unit: A[Unit | None, told("Unit of privacy")]
    neighbours: A[Neighbours | None, told("Neighbouring relation")]
    mechanisms: A[Mechanisms, told("Mechanisms")]
    clipping: A[Clipping, told("Clipping, weights, denominators")]
    sampling: A[Cohorts | None, told("Sampling")]
    participation: A[Participation | None, told("Rounds and participations")]
    guarantees: A[tuple[Guarantee, ...] | None, told("The guarantee as a curve")]
    bounds: A[Bounds | None, told("Every bound and its assumption")]
    accounting: A[Accounting | None, told("Accountants")]
    noise: A[Noise | None, told("Randomness and arithmetic")]
    dropouts: A[Dropouts, told("Dropouts and realised noise")]
    outside: A[Outside, told("Data touched outside this account")]
    empirical: A[Empirical | None, told("Epsilon from below")]
    book: A[Book, told("Ledger, keys and code")]
    budget: A[BudgetLeft | None, told("Budget")]

    @property
    def refuted(self) -> bool:
        """Whether a measured lower bound passes what is claimed."""
        return self.empirical is not None and self.empirical.refuted

    def as_json(self) -> dict[str, Any]:
        """Plain values; infinities are still in it."""
        return self.model_dump()
