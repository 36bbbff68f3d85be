"""Errors as OpenAI's clients expect them. None quotes a request, an answer or an exception's own words."""

import json
import math
from dataclasses import dataclass
from typing import Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tacit_clients.egress.breaker import CircuitOpen
from tacit_clients.slm.answers import LocalUnusable
from tacit_privacy.errors import BadInput, Busy, TacitError, TextRefused, UpstreamFailed, VaultLocked

_STATUS: Final = {"unreachable": 502, "timeout": 504, "malformed": 502, "cut_off": 502, "open_circuit": 503}
_UPSTREAM_SAYS: Final = {
    "unreachable": "the large model's endpoint cannot be reached; check --upstream and the network, or ask tacit/local",
    "timeout": "the large model's endpoint took too long; try again, ask for less, or raise upstream.total_s",
    "malformed": (
        "the large model's endpoint answered in a form that is not understood, and nothing of it is shown; check that "
        "--upstream is the base URL of an OpenAI-compatible server"
    ),
    "cut_off": "the large model's answer broke off; try again",
    "open_circuit": "the large model's endpoint failed repeatedly and is left alone for a while; try again later",
}
_KEY_REFUSED: Final = "the large model's endpoint refused the device's key; check TACIT_UPSTREAM_KEY"
_MALFORMED: Final = (
    "the large model's endpoint refused the request as malformed; check that --model takes the settings it has"
)
_STATUS_SAYS: Final = {
    400: _MALFORMED,
    401: _KEY_REFUSED,
    403: _KEY_REFUSED,
    404: "the large model's endpoint knows no such model or path; check --upstream and --model",
    413: "the large model's endpoint found the request too long; shorten it",
    422: _MALFORMED,
    429: "the large model's endpoint is busy or its quota is spent; try again later",
}
_TAKE_OUT: Final = "take it out, or change the policy"
_DISGUISED: Final = "take it out, or write it plainly so that it can be masked"
_REMEDIES: Final = {
    "block": _TAKE_OUT,
    "local_only": f"ask tacit/local, {_TAKE_OUT}",
    "known_value": _DISGUISED,
    "pattern": f"{_DISGUISED}, or change the policy",
    "gate_error": "try again, or see the gateway's log; leave out what is unusual in the request",
    "not_recorded": "make room where the vault lies, and see that it can be written",
    "paused": "the owner resumes it on the owner's page",
}
_LOCKED: Final = (
    "the key of the gateway's vault is another one by now; its owner must start the gateway again with the new one"
)
_INSTEAD: Final = {"known_value": "a name or number that this device masks was about to leave unmasked"}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a client is told."""

    status: int
    kind: str  # OpenAI's error.type
    code: str
    message: str
    retry_after: int = 0

    def row(self) -> dict[str, object]:
        return {"error": {"message": self.message, "type": self.kind, "param": None, "code": self.code}}

    def body(self) -> bytes:
        return json.dumps(self.row()).encode("utf-8")


class Refused(TacitError):
    """A request that the gateway itself turns away."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem.code


def refuse(status: int, code: str, message: str, retry_after: int = 0) -> Refused:
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return Refused(Problem(status, kind, code, message, retry_after))


def problem_of(error: BaseException) -> Problem:
    """What is said of ``error``. Of an error that is not the project's own nothing is told but that there was one."""
    if isinstance(error, Refused):
        return error.problem
    if isinstance(error, TextRefused):
        return Problem(403, "tacit_refused", error.reason, _refusal(error))
    if isinstance(error, UpstreamFailed):
        return _upstream(error)
    if isinstance(error, Busy):
        return Problem(429, "rate_limit_error", "busy", "the local model has all it can do; try again", 1)
    if isinstance(error, HTTPException):
        return refuse(error.status_code, "not_found", "there is no such route, or not by this method").problem
    if isinstance(error, RequestValidationError):
        return refuse(400, "bad_request", "the request does not fit the route").problem
    if isinstance(error, LocalUnusable):
        return Problem(503, "server_error", "local_unusable", f"the local model cannot be used: {error}")
    if isinstance(error, VaultLocked):
        return Problem(503, "server_error", "vault_locked", _LOCKED)
    if isinstance(error, BadInput):
        return Problem(400, "invalid_request_error", "bad_request", str(error))
    return Problem(500, "server_error", "internal", "the gateway failed; nothing was shown that should not be")


def _refusal(error: TextRefused) -> str:
    detail = _INSTEAD.get(error.reason, error.detail)
    why = f"this text may not leave the device ({error.reason})" + (f": {detail}" if detail else "")
    return "; ".join(filter(None, (why, _REMEDIES.get(error.reason))))


def _upstream(error: UpstreamFailed) -> Problem:
    if error.reason != "status":
        status = _STATUS.get(error.reason, 502)
        says = _UPSTREAM_SAYS.get(error.reason, "the upstream failed")
        wait = max(1, math.ceil(error.wait_s)) if isinstance(error, CircuitOpen) else 0
        return Problem(status, "upstream_error", error.reason, says, wait)
    says = _STATUS_SAYS.get(error.status, f"the large model's endpoint failed with status {error.status}; see its log")
    status = error.status if error.status in (400, 404, 413, 422, 429) else 502
    kind = "invalid_request_error" if status in (400, 404, 413, 422) else "upstream_error"
    return Problem(status, kind, f"upstream_{error.status}", says, 1 if status == 429 else 0)
