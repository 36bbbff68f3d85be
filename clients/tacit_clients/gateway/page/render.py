"""Templates to responses. Everything is escaped; nothing of another origin is loaded, and nothing inline runs."""

from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment

from tacit_clients.gateway.errors import Problem, refuse
from tacit_clients.gateway.page import wording
from tacit_privacy.templating import templates

_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
# same-origin, not no-referrer: under the latter browsers send "Origin: null" with forms, which the gateway refuses.
# Other origins are told nothing either way.
HEADERS: Final = {
    "content-security-policy": _CSP,
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_STATIC: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """One page of the owner's, with what every page needs."""
    gateway = request.app.state.gateway
    values |= {
        "csrf": request.scope["state"]["session"].csrf,
        "switches": gateway.runtime.switches,
        "done": wording.DONE.get(request.query_params.get("done", ""), ""),
        "here": name,
    }
    return HTMLResponse(_environment().get_template(f"{name}.html.j2").render(values), status, HEADERS)


def back(path: str, done: str = "") -> RedirectResponse:
    """After a change: a page to be looked at, so that reloading it changes nothing."""
    return RedirectResponse(f"{path}?done={done}" if done else path, 303, HEADERS)


def static(name: str) -> Response:
    """Raises Refused for a file that is not there."""
    if name not in _STATIC:
        raise refuse(404, "not_found", "there is no such file")
    return Response(_file(name), 200, HEADERS, _STATIC[name])


def refusal(problem: Problem) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """What a person reads in place of an error's JSON."""
    title, advice = wording.PROBLEMS.get(problem.code, ("That did not work", ""))
    html = _environment().get_template("refusal.html.j2").render(problem=problem, title=title, advice=advice)
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    return html.encode("utf-8"), [*headers, (b"content-type", b"text/html; charset=utf-8")]


@lru_cache(maxsize=len(_STATIC))
def _file(name: str) -> bytes:
    return files("tacit_clients.gateway.page").joinpath("static", name).read_bytes()


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = templates("tacit_clients.gateway.page")
    environment.filters |= {
        "size": wording.size,
        "moment": wording.moment,
        "machine_time": wording.machine_time,
        "why": wording.why,
        "outcome": wording.outcome,
        "type_name": wording.type_name,
        "counted": wording.counted,
    }
    return environment
