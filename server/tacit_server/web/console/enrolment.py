"""Who asks to be let in, and the one-time tokens that devices enrol with."""

from typing import Any, Final

from tacit_privacy.errors import BadInput
from tacit_server.deployment import admission
from tacit_server.web.console.asked import Answer, Asked, Moved, Page, Shown

_ID = 12  # digits of a token's digest: what it is called by


def show(asked: Asked) -> Answer:
    return _page(asked)


def _page(asked: Asked, made: dict[str, Any] | None = None) -> Shown:
    """``made``: a token that was made just now, and is shown this once."""
    with asked.desk.database.begin() as session:
        applicants = admission.applicants(session)
        rows = admission.open_tokens(session)
        tokens = [(row.digest[:_ID], row.note, row.created, row.expires, row.device) for row in rows]
        session.expunge_all()
    listen = asked.desk.directory.settings.listen
    values = {"applicants": applicants, "tokens": tokens, "made": made, "hours": admission.TOKEN_HOURS}
    address = f"https://{listen.names[0]}:{listen.port}"
    return Shown("enrolment.html.j2", "Enrolment", {**values, "address": address})


def approve(asked: Asked) -> Answer:
    with asked.desk.database.begin() as session:
        admission.approve(session, asked.actor, asked.words("key"))
    return Moved(asked.url, "approved")


def reject(asked: Asked) -> Answer:
    with asked.desk.database.begin() as session:
        admission.reject(session, asked.actor, asked.words("key"))
    return Moved(asked.url, "rejected")


def new_token(asked: Asked) -> Answer:
    """Made and shown on the answer to the form itself: no page that can be called up again ever holds it."""
    note, device = asked.words("note")[:100], asked.words("device")
    try:
        hours = float(asked.words("hours"))
    except ValueError as error:
        raise BadInput("how long the token is good for is no number of hours") from error
    fingerprint = asked.desk.directory.fingerprint
    with asked.desk.database.begin() as session:
        token = admission.new_token(session, asked.actor, fingerprint, note=note, hours=hours, device=device)
    return _page(asked, {"token": token, "note": note, "hours": hours})


def revoke_token(asked: Asked) -> Answer:
    """One by its name; all of them where ``all`` is ticked. Nothing at all where neither is said."""
    prefix = asked.words("token")
    if asked.words("all") != "yes" and len(prefix) != _ID:
        raise BadInput("say which token is to be revoked, or tick that all of them are")
    with asked.desk.database.begin() as session:
        admission.revoke_tokens(session, asked.actor, "" if asked.words("all") == "yes" else prefix)
    return Moved(asked.url, "tokens")


PAGES: Final = (
    Page(
        "/console/enrolment",
        show,
        {"approve": approve, "reject": reject, "token": new_token, "revoke": revoke_token},
    ),
)
