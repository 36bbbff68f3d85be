"""What was promised, what of it is spent, by which runs, and what that means for one device."""

import time
from dataclasses import dataclass
from typing import Any, Final

from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.ledger.account import Account
from tacit_server.deployment import looking, runs
from tacit_server.web.console import drawing
from tacit_server.web.console.asked import Answer, Asked, Page, Shown


@dataclass(frozen=True, slots=True)
class Share:
    """What a run charged. Epsilons do not add up: ``before`` and ``after`` are of the whole budget."""

    run: str
    releases: int
    before: float
    after: float
    noise: float  # the smallest multiplier


@dataclass(frozen=True, slots=True)
class Spent:
    """Devices that took part equally often, and what each of them has spent, at most."""

    times: int
    devices: int
    epsilon: float


def show(asked: Asked) -> Answer:
    desk = asked.desk
    settings = desk.directory.settings.privacy
    checked = desk.checking.verification()
    account = checked.found.account if checked is not None else None
    if account is None or account.policy is None:
        return Shown("budget.html.j2", "Budget", {"spent": None, "settings": settings, "sealed": asked.sealed})
    policy = account.policy
    period = account.period(time.time())
    spent = account.spent(period)
    shares = shares_of(account)
    with desk.database.begin() as session:
        known = {row.name for row in runs.listed(session)}  # a restored server's ledger has runs beside these
    values: dict[str, Any] = {
        "settings": settings,
        "policy": policy,
        "spent": spent,
        "period": period,
        "ever": account.spent_ever() if policy.period_s is not None else None,
        "gauge": drawing.gauge(spent.epsilon, policy.epsilon),
        "curve": drawing.steps(_curve(account), policy.epsilon, "release"),
        "shares": shares,
        "known": known,
        "devices": None if asked.sealed else _by_device(asked, account, policy),
        "most": account.longest,
        "sealed": asked.sealed,
        "noise_source": account.noise_source,
    }
    return Shown("budget.html.j2", "Budget", values)


def _curve(account: Account) -> list[tuple[int, float]]:
    return [(place, charge.epsilon) for place, charge in enumerate(account.charged.values(), 1)]


def shares_of(account: Account) -> list[Share]:
    """By run, in order of their first charge."""
    found: dict[str, Share] = {}
    last = 0.0
    for charge in account.charged.values():
        name, noise = looking.plain_name(charge.run), charge.event.noise_multiplier
        own = found.get(name) or Share(name, 0, last, last, noise)
        found[name] = Share(name, own.releases + 1, own.before, charge.epsilon, min(own.noise, noise))
        last = charge.epsilon
    return list(found.values())


def _by_device(asked: Asked, account: Account, policy: BudgetPolicy) -> list[Spent]:
    with asked.desk.database.begin() as session:
        often = looking.often(session)
    return [Spent(times, number, looking.epsilon_after(account, policy, times)) for times, number in often]


PAGES: Final = (Page("/console/budget", show),)
