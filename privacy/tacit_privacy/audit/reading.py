"""An audit report in sentences: what must not be missed, and what its figures mean to one who is no statistician."""

import math
from decimal import ROUND_CEILING, Context, Decimal

from tacit_privacy.accounting.events import Adjacency
from tacit_privacy.audit.document import BudgetLeft, Detection, Empirical, Guarantee, Note, Participation, Verified
from tacit_privacy.audit.guarantee import Span
from tacit_privacy.wording import rounded_down, rounded_up

_THREE_UP = Context(prec=3, rounding=ROUND_CEILING)
_NAMED = 5  # problems that are named at the top
SEEDED = "seeded noise: protects nobody"


def as_given(value: float) -> str:
    """A number that somebody chose, as it was typed; rounded up where it has too many digits."""
    return f"{value:g}" if float(f"{value:g}") == value else rounded_up(value)


def percent_up(share: float) -> str:
    """A share as a percentage of three significant digits, rounded up; a bound of 1 is 100 %."""
    if not math.isfinite(share):
        return "100 %"
    shown = _THREE_UP.multiply(Decimal(repr(min(1.0, float(share)))), Decimal(100))
    return f"{float(shown):.3g} %"


def notes_of(verified: Verified, noise_source: str, empirical: Empirical | None) -> tuple[Note, ...]:
    """Red ones first: a ledger that does not verify, a claim that is refuted, noise that protects nobody."""
    found = []
    if not verified.ok:
        body = f"{_problems(verified)}. Figures are as far as it could be read; do not rely on any of them."
        found.append(Note(title="This ledger does NOT verify.", body=body, alarm=True))
    if empirical is not None and empirical.refuted:
        found.append(Note(title="The claim is refuted.", body=empirical.said, alarm=True))
    if noise_source == "seeded":
        found.append(
            Note(
                title="Seeded noise protects nobody.",
                body="Noise was drawn from a seed, as simulations do: whoever knows the seed can take it away. Epsilon "
                "here says what the same releases would promise with noise from the operating system; it promises "
                "nothing about these.",
                alarm=True,
            )
        )
    if not verified.key_vouched_for:
        found.append(
            Note(
                title="Nobody vouched for the key.",
                body="No public key was given, so the ledger was checked against the key that it names itself. That "
                "shows that it hangs together, not whose it is: anybody can write a ledger and sign it. Ask the "
                "operator for the key in another way, and give it with --key.",
                alarm=False,
            )
        )
    if verified.ok and verified.state == "open":
        found.append(
            Note(
                title="The ledger is open.",
                body="It goes on, was stopped, or its last entries were cut off. A head noted earlier, given with "
                "--witness, shows a cut.",
                alarm=False,
            )
        )
    return tuple(found)


def _problems(verified: Verified) -> str:
    """The first few by name."""
    listed = list(dict.fromkeys(f"entry {wrong.index}: {wrong.kind}, {wrong.detail}" for wrong in verified.problems))
    named, more = listed[:_NAMED], len(listed[_NAMED:])
    return "; ".join(named) + (f"; and {more} more below" if more else "")


def reading_of(
    verified: Verified,
    span: Span | None,
    guarantee: Guarantee | None,
    participation: Participation | None,
    budget: BudgetLeft | None,
    empirical: Empirical | None,
    noise_source: str,
) -> tuple[str, ...]:
    """A few sentences, with the numbers rounded to the side that claims less."""
    if span is None or guarantee is None or participation is None or budget is None:
        return ("The first entry of this ledger could not be read, so nobody can say what it promises.",)
    if not verified.ok:
        return (_what(verified, span, participation), "So nothing that it promises can be relied on.", _TRUST)
    said = [_what(verified, span, participation), _promise(span, guarantee, budget, noise_source)]
    if math.isfinite(guarantee.epsilon):
        said += [_odds(span, guarantee), _alarms(span, guarantee)]
    if budget.lifetime_epsilon is not None:
        said.append(
            f"That is for one period of the budget; of all periods together epsilon is at most "
            f"{rounded_up(budget.lifetime_epsilon)}."
        )
    said.append(_measured(empirical))
    return (*said, _TRUST)


_TRUST = "All this rests on a server that adds the noise it charges for and shows nothing else: no ledger proves that."


def _what(verified: Verified, span: Span, told: Participation) -> str:
    checked = "Every entry of it verifies" if verified.ok else "It does not verify"
    releases = f"{told.releases:,} release{'s' if told.releases != 1 else ''}"
    return (
        f"This ledger records {releases} made from the updates of at most {span.policy.population:,} "
        f"{span.policy.unit}s. {checked}, and it is {verified.state}."
    )


def _promise(span: Span, guarantee: Guarantee, budget: BudgetLeft, noise_source: str) -> str:
    if not math.isfinite(guarantee.epsilon):
        return "No bound on epsilon holds: the noise is too little, or there is none."
    unit = span.policy.unit
    other = "nothing" if span.policy.adjacency is Adjacency.ZERO_OUT else "something else"
    seeded = f" ({SEEDED})" if noise_source == "seeded" else ""
    return (
        f"Whether one {unit} contributed what it did or {other} is hidden up to epsilon "
        f"{rounded_up(guarantee.epsilon)} at delta {as_given(guarantee.delta)}{seeded}, even from somebody who knows "
        f"everything about all the others; the agreed cap is {as_given(budget.epsilon)}."
    )


def _odds(span: Span, guarantee: Guarantee) -> str:
    return (
        f"In other words: somebody who sees every release and has to say which of the two it was, even odds "
        f"beforehand, is right at most {percent_up(guarantee.right_guess)} of the time; a coin is right half of it."
    )


def _alarms(span: Span, guarantee: Guarantee) -> str:
    strict: Detection = next(test for test in guarantee.tests if test.false_positive_rate >= 0.01)
    return (
        f"A test that wrongly accuses {percent_up(strict.false_positive_rate)} of the {span.policy.unit}s that did not "
        f"contribute recognises at most {percent_up(strict.true_positive_rate)} of those that did."
    )


def _measured(empirical: Empirical | None) -> str:
    if empirical is None or empirical.lower_bound is None:
        return "No attack was measured against these releases."
    if empirical.lower_bound == 0:
        return "The attack that was tried proved nothing against these releases, which is no proof of privacy."
    return (
        f"The attack that was tried shows that epsilon is at least {rounded_down(empirical.lower_bound)}, with "
        f"confidence {as_given(empirical.confidence or 0.0)}; that says nothing about attacks that were not tried."
    )
