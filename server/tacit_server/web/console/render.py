"""Pages from templates, and files from memory: what the console answers with."""

from functools import lru_cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlencode

from jinja2 import Environment
from starlette.responses import RedirectResponse, Response

from tacit_privacy.templating import templates
from tacit_server.web.console import wording
from tacit_server.web.console.asked import Answer, Asked, File, Moved, Shown
from tacit_server.web.console.door import ALONE, HEADERS

NAVIGATION: Final[tuple[tuple[str, str], ...]] = (
    ("/console", "Overview"),
    ("/console/devices", "Devices"),
    ("/console/enrolment", "Enrolment"),
    ("/console/runs", "Runs"),
    ("/console/adapters", "Adapters"),
    ("/console/budget", "Budget"),
    ("/console/ledger", "Ledger"),
    ("/console/report", "Report"),
    ("/console/log", "Audit log"),
    ("/console/users", "Users"),
)
_KINDS: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
STATIC: Final = ("console.css", "console.js", "icon.svg")


def answered(answer: Answer, asked: Asked) -> Response:
    """An answer as it goes out."""
    match answer:
        case Shown():
            return page(answer, asked)
        case Moved():
            end = f"?{urlencode({'done': answer.done})}" if answer.done else ""
            return RedirectResponse(answer.to + end, 303, HEADERS)
        case File():
            how = "inline" if answer.inline else "attachment"
            headers = (ALONE if answer.inline else HEADERS) | {
                "content-disposition": f'{how}; filename="{answer.name}"'
            }
            return Response(answer.content, 200, headers, answer.kind)


def page(shown: Shown, asked: Asked | None = None) -> Response:
    """A page; without ``asked`` for somebody who is not logged in."""
    login = asked.login if asked is not None else None
    operator = login is not None and login.role == "operator"
    values: dict[str, Any] = {
        "title": shown.title,
        "login": login,
        "operator": operator,
        "csrf": login.csrf if login is not None else "",
        "url": asked.url if asked is not None else "",
        "problem": asked.problem if asked is not None else "",
        "typed": asked.fields if asked is not None else {},
        "done": wording.DONE.get(asked.query.get("done", "") if asked is not None else "", ""),
        "navigation": [each for each in NAVIGATION if operator or each[1] != "Users"],
        **shown.values,
    }
    text = environment().get_template(shown.template).render(values)
    return Response(text, shown.status, HEADERS, "text/html; charset=utf-8")


def static(name: str) -> Response:
    """The style, the script and the icon; the same for everybody."""
    kind = _KINDS[name.rpartition(".")[2]]
    return Response(_static(name), 200, HEADERS | {"cache-control": "public, max-age=300"}, f"{kind}; charset=utf-8")


@lru_cache(maxsize=len(STATIC))
def _static(name: str) -> bytes:
    return (files("tacit_server.web.console") / "static" / name).read_bytes()


@lru_cache(maxsize=1)
def environment() -> Environment:
    found = templates("tacit_server.web.console")
    found.filters |= {
        "name": wording.name,
        "plain": wording.plain,
        "when": wording.when,
        "ago": wording.ago,
        "lasting": wording.lasting,
        "epsilon": wording.epsilon,
        "size": wording.size,
        "short": wording.short,
        "acted": wording.acted,
    }
    return found
