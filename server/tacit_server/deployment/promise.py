"""What the server's ledger promised when it was opened, and whether ``server.toml`` still says the same."""

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.tables import LedgerRow
from tacit_server.deployment.settings import DeploymentSettings


def promised(session: Session) -> dict[str, Any] | None:
    """The policy of the ledger's first entry, by the names of settings; None before a first run, or where nobody can
    read it, which the verifier and the coordinator say by themselves.
    """
    payload = session.scalar(select(LedgerRow.payload).where(LedgerRow.position == 0))
    try:
        policy = json.loads(payload or "")["body"]["policy"]
        return {
            "fleet.devices": policy["population"],
            **{f"privacy.{name}": policy[name] for name in ("epsilon", "delta", "participations", "separation")},
            "privacy.adjacency": policy["adjacency"],
            "privacy.period_s": policy.get("period_s"),  # an entry leaves out what is not set
            "privacy.roster": "sealed" if policy["roster_sealed"] else "open",
        }
    except (ValueError, KeyError, TypeError):
        return None


def broken_by(session: Session, settings: DeploymentSettings) -> str:
    """How settings say other than what was promised, and what to do, in a sentence; empty where they do not."""
    told, privacy = promised(session), settings.privacy
    if told is None:
        return ""
    names = ("epsilon", "participations", "separation", "period_s", "adjacency", "roster")
    said: dict[str, Any] = {"fleet.devices": settings.fleet.devices}
    said |= {f"privacy.{name}": getattr(privacy, name) for name in names}
    said |= {"privacy.delta": privacy.delta_for(settings.fleet.devices)}
    for name, value in said.items():
        if value != told[name]:
            was = "none" if told[name] is None else told[name]
            return (
                f"server.toml says {name} {value}, and the ledger was opened with the promise of {was}, which stands "
                "for good: set it back, or begin another server"
            )
    return ""


def check(session: Session, settings: DeploymentSettings) -> None:
    """Raises BadInput where settings say other than what was promised."""
    if broken := broken_by(session, settings):
        raise BadInput(broken)
