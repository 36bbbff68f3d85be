"""Logging in."""

import secrets

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tacit_privacy.errors import RequestRefused, TacitError
from tacit_server.deployment import people
from tacit_server.deployment.audit import Actor
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.settings import ConsoleSettings
from tacit_server.web.console.asked import Shown
from tacit_server.web.console.door import HEADERS, Attempts, Cookies, brings_token, form_of, from_own_page, safe_path
from tacit_server.web.console.render import page
from tacit_server.web.console.wording import DONE
from tacit_server.web.counting import Counts
from tacit_server.web.wall import address_of

_log = structlog.get_logger("tacit.console")
_WRONG = "Name or password is wrong, or there were too many attempts: then it helps to wait five minutes."
_BUSY = "Too many attempts at once. Wait a little and try again."
_STRANGER = "a stranger"  # in the audit log: a name that was only typed is nobody's
_STALE = "The form was too old, or another site's. Try again."


class Entrance:
    """The log-in form and what is done with it."""

    def __init__(self, database: ServerDatabase, settings: ConsoleSettings, cookies: Cookies, counts: Counts) -> None:
        self._database, self._settings, self._cookies, self._counts = database, settings, cookies, counts
        self._attempts = Attempts()

    async def show(self, request: Request) -> Response:
        query = request.query_params
        return self._form(request, safe_path(query.get("next", "")), said=DONE.get(query.get("done", ""), ""))

    async def enter(self, request: Request) -> Response:
        try:
            fields = await form_of(request)
        except RequestRefused:
            return self._form(request, "/console", _STALE, 400)
        target, visit = safe_path(fields.get("next", "")), request.cookies.get(self._cookies.visit, "")
        if not visit or not brings_token(visit, fields) or not from_own_page(request, self._cookies.secure):
            self._counts.refused("console_token")
            return self._form(request, target, _STALE, 403)
        address = address_of(request.scope)
        if not self._attempts.begin(address):
            self._counts.refused("console_attempts")
            return self._form(request, target, _BUSY, 429)
        cookie = None
        try:
            cookie = await run_in_threadpool(self._log_in, address, fields)
        except TacitError as error:
            return self._form(request, target, str(error), 503)
        finally:
            self._attempts.end(address, right=cookie is not None)
        if cookie is None:
            self._counts.refused("console_password")
            return self._form(request, target, _WRONG, 403)
        response = RedirectResponse(target, 303, HEADERS)
        self._cookies.give(response, self._cookies.login, cookie)
        self._cookies.take(response, self._cookies.visit)
        return response

    def _log_in(self, address: str, fields: dict[str, str]) -> str | None:
        """The database is not held while the password is looked at: others have work to do."""
        said = fields.get("name", "").strip()
        name = said if said.isprintable() and len(said) <= 60 else "(no name)"
        with self._database.begin() as session:
            stored = people.password_of(session, name)
        right = people.is_password(stored, fields.get("password", ""))
        with self._database.begin() as session:
            people.forget_ended(session, self._settings)
            return people.admit(session, Actor(name if right else _STRANGER, address), name, stored, right)

    def _form(self, request: Request, target: str, problem: str = "", status: int = 200, said: str = "") -> Response:
        visit = request.cookies.get(self._cookies.visit, "") or secrets.token_urlsafe(32)
        values = {"csrf": people.csrf_of(visit), "next": target, "problem": problem, "done": said}
        response = page(Shown("login.html.j2", "Log in", values, status))
        self._cookies.give(response, self._cookies.visit, visit)
        return response
