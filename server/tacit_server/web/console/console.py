"""The console's routes, and what each request passes on its way to a page: log-in, role, and for changes a token."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final
from urllib.parse import quote

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tacit_privacy.errors import BadInput, RequestRefused, TacitError
from tacit_server.deployment import audit, looking, people
from tacit_server.deployment.audit import Actor
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.deployment.people import Login
from tacit_server.web.console import catalogue
from tacit_server.web.console.asked import LOGIN, Answer, Asked, Desk, Moved, Page, Shown, View
from tacit_server.web.console.checking import Checking
from tacit_server.web.console.door import HEADERS, POLL, Cookies, brings_token, form_of, from_own_page
from tacit_server.web.console.entrance import Entrance
from tacit_server.web.console.render import STATIC, answered, page, static
from tacit_server.web.counting import Counts
from tacit_server.web.wall import address_of

_log = structlog.get_logger("tacit.console")
_Handler = Callable[[Request], Awaitable[Response]]

_REFUSED: Final = {
    "role": "You are an auditor: you see everything and change nothing. This was not done, and the audit log says so.",
    "operators": "Only operators see who may log in.",
    "token": "The form was not made for your log-in, so nothing was changed. Load the page anew and try again.",
    "origin": "The request came from another site's page, so nothing was changed.",
    "unknown": "There is no such change, so nothing was done.",
}


class Console:
    """Everything below ``/console``. Pages touch the database in threads."""

    def __init__(
        self, directory: ServerDirectory, database: ServerDatabase, public_key: str, cookies: Cookies, counts: Counts
    ) -> None:
        self._desk = Desk(directory, database, Checking(database, public_key))
        self._database, self._cookies, self._counts = database, cookies, counts
        self._settings = directory.settings
        self._entrance = Entrance(database, directory.settings.console, cookies, counts)

    def routes(self) -> list[Route]:
        pages = [Route(each.path, self._served(each), methods=["GET", "POST"]) for each in catalogue.PAGES]
        return [
            Route("/", self._front, methods=["GET"]),
            Route(LOGIN, self._entrance.show, methods=["GET"]),
            Route(LOGIN, self._entrance.enter, methods=["POST"]),
            Route("/console/static/{name}", self._static, methods=["GET"]),
            *pages,
            Route("/console/{rest:path}", self._served(catalogue.NOWHERE), methods=["GET", "POST"]),
        ]

    async def _front(self, request: Request) -> Response:
        return RedirectResponse("/console", 303, HEADERS)

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        return static(name) if name in STATIC else PlainTextResponse("no such file\n", 404, HEADERS)

    def _served(self, of: Page) -> _Handler:
        async def serve(request: Request) -> Response:
            cookie = request.cookies.get(self._cookies.login, "")
            using = POLL not in request.headers
            try:
                login, sealed = await run_in_threadpool(self._login_of, cookie, using) if cookie else (None, True)
            except TacitError as error:
                return page(_failed(error))
            if login is None:
                return self._stranger(request)
            asked = self._asked(request, login, cookie, sealed)
            found = of if asked.url.isprintable() else catalogue.NOWHERE  # such names are nobody's, and no database's
            if request.method == "POST":
                return await self._changed(found, asked, request)
            if found.operators and login.role != "operator":
                return page(_refusal("operators"), asked)
            return await run_in_threadpool(self._looked, found.show, asked)

        return serve

    def _login_of(self, cookie: str, using: bool) -> tuple[Login | None, bool]:
        """Whose log-in it is, and whether rosters are sealed: by the settings, or by what the ledger promised."""
        with self._database.begin() as session:
            login = people.login_of(session, cookie, self._settings.console, using=using)
            return login, self._settings.privacy.roster == "sealed" or looking.is_sealed(session)

    def _stranger(self, request: Request) -> Response:
        """Nobody's request goes to the log-in; a change that it asked for is not even looked at."""
        if POLL in request.headers:
            return PlainTextResponse("log in again\n", 401, HEADERS)
        if request.method == "POST":
            self._counts.refused("console_login")
            return RedirectResponse(f"{LOGIN}?done=ended", 303, HEADERS)
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{LOGIN}?next={quote(target, safe='/')}", 303, HEADERS)

    def _asked(self, request: Request, login: Login, cookie: str, sealed: bool) -> Asked:
        return Asked(
            desk=self._desk,
            login=login,
            address=address_of(request.scope),
            url=request.url.path,
            sealed=sealed,
            path=request.path_params,
            query=dict(request.query_params),
            cookie=cookie,
        )

    def _looked(self, view: View, asked: Asked) -> Response:
        """A page, or why there is none; what a defect says is in no log and on no page."""
        try:
            return answered(view(asked), asked)
        except TacitError as error:
            return page(_failed(error), asked)
        except Exception as error:
            _log.error("a page failed", path=asked.url[:200], kind=type(error).__name__)
            return page(Shown("problem.html.j2", "Something failed", {"said": "The server's log says what kind."}, 500))

    async def _changed(self, of: Page, asked: Asked, request: Request) -> Response:
        try:
            fields = await form_of(request)
        except RequestRefused as refused:
            return await self._refused(asked, refused.reason, "")
        asked = replace(asked, fields=fields)
        do = fields.get("do", "")
        if not from_own_page(request, self._cookies.secure):
            return await self._refused(asked, "origin", do)
        if not brings_token(asked.cookie, fields):
            return await self._refused(asked, "token", do)
        if asked.login.role != "operator" and do not in of.own:
            return await self._refused(asked, "role", do)
        if do not in of.changes:
            return await self._refused(asked, "unknown", do)
        return await run_in_threadpool(self._tried, of, of.changes[do], do, asked)

    async def _refused(self, asked: Asked, why: str, do: str) -> Response:
        """Nothing is changed, and the audit log says who asked for what."""
        _log.warning("change refused", why=why, path=asked.url[:200], address=asked.address)
        self._counts.refused(f"console_{why}")
        await run_in_threadpool(self._write_down, asked.actor, f"{asked.url} {do}".strip(), why)
        return page(_refusal(why), asked)

    def _write_down(self, actor: Actor, subject: str, why: str) -> None:
        with self._database.begin() as session:
            audit.record(session, actor, "console.change", subject, refused=why)

    def _tried(self, of: Page, change: View, do: str, asked: Asked) -> Response:
        """Make a change, or show its form again with what was wrong and what was typed."""
        try:
            answer = change(asked)
            response = answered(answer, asked)
            if isinstance(answer, Moved) and answer.to == LOGIN:
                self._cookies.take(response, self._cookies.login)
            return response
        except BadInput as error:
            self._write_down(asked.actor, f"{asked.url} {do}", str(error))
            return self._looked(_with_status(of.show, 400), replace(asked, problem=str(error)))
        except TacitError as error:
            self._write_down(asked.actor, f"{asked.url} {do}", str(error))
            return page(_failed(error), asked)


def _refusal(why: str) -> Shown:
    status = 400 if why in ("unknown", "malformed", "oversized") else 403
    return Shown("problem.html.j2", "Refused", {"said": _REFUSED.get(why, "The form could not be read.")}, status)


def _failed(error: TacitError) -> Shown:
    return Shown("problem.html.j2", "That cannot be shown", {"said": str(error)}, 503)


def _with_status(view: View, status: int) -> View:
    def shown(asked: Asked) -> Answer:
        found = view(asked)
        return replace(found, status=status) if isinstance(found, Shown) else found

    return shown
