"""How things are said on the console's pages."""

import time
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from tacit_privacy.wording import rounded_up

DONE: Final = {
    "approved": "The device is let in; it notices within a minute.",
    "rejected": "The applicant was sent away.",
    "tokens": "What was open of them can no longer be used.",
    "revoked": "The device takes part no more. What it contributed stays counted.",
    "restored": "The device may take part again.",
    "erased": "What was known of the device is forgotten, but its key and its count.",
    "scheduled": "The run is planned.",
    "paused": "The run rests once its round is over.",
    "resumed": "The run goes on.",
    "stopped": "The run ends once its round is over; what it has learnt stays.",
    "added": "The user may log in now.",
    "removed": "The user was removed, and every log-in of theirs ended.",
    "password": "Your password is changed. Log in with the new one.",
    "left": "You are logged out.",
    "ended": "Your log-in has ended, and nothing was changed. Log in again.",
}
"""What is said after a change; pages name a sentence of these and never bring one along."""

KINDS: Final = {
    "open": "The ledger begins: the promise and the key",
    "run": "A run begins",
    "reserve": "A release is paid for",
    "commit": "It was released",
    "abandon": "It was given back: nothing was released",
    "lost": "A crash cut it off: it stays charged",
    "rotate": "Another key signs from here on",
    "restore": "A server that was put back owns up: what it lost is charged",
    "end": "A run ends",
    "close": "The ledger is closed",
}

ACTIONS: Final = {
    "adapter.download": "took an adapter along",
    "certificate.rotate": "renewed the certificate",
    "console.change": "asked for a change",
    "device.apply": "asked to be let in",
    "device.approve": "let in",
    "device.enrol": "enrolled",
    "device.erase": "erased",
    "device.reject": "sent away",
    "device.restore": "restored",
    "device.revoke": "revoked",
    "key.rotate": "handed the ledger over to the key",
    "ledger.download": "took along",
    "ledger.resolve": "owned up to a ledger of",
    "login": "logged in",
    "logout": "logged out",
    "report.download": "took along",
    "run.crash": "lost the coordinator of",
    "run.failed": "gave up",
    "run.finished": "finished",
    "run.pause": "paused",
    "run.resume": "resumed",
    "run.schedule": "planned",
    "run.stop": "stopped",
    "run.stopped": "ended",
    "token.create": "made a token:",
    "token.revoke": "revoked a token:",
    "user.add": "added",
    "user.password": "changed the password of",
    "user.remove": "removed",
}
"""What the audit log's actions mean, where they stand between who did them and what to."""

NOTHING: Final = "\u2013"  # a dash
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONGEST: Final = 120


def plain(text: object) -> str:
    """On one line, not without end, and with every letter seen: one that turns or hides others is spelt out."""
    said = "".join(letter if letter.isprintable() else _spelt(letter) for letter in str(text)[: _LONGEST + 1])
    return said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"


def _spelt(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii")


def name(text: object) -> Markup:
    """A name that somebody chose, kept from reordering what stands beside it."""
    return Markup("<bdi>{}</bdi>").format(plain(text))


def when(moment: float | None) -> Markup:
    """A time, in UTC; a dash where there is none."""
    if not moment:
        return Markup(NOTHING)
    at = datetime.fromtimestamp(moment, UTC)
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="seconds"), f"{at:%Y-%m-%d %H:%M} UTC")


def ago(moment: float | None) -> str:
    """How long ago something was, or that it never was."""
    if not moment:
        return "never"
    passed = max(0.0, time.time() - moment)
    if passed < 2 * _MINUTE:
        return "just now"
    for length, unit in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if passed >= 2 * length:
            return f"{passed / length:.0f} {unit} ago"
    return "just now"


def lasting(seconds: float) -> str:
    """A length of time."""
    for length, unit in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def epsilon(value: float | None) -> str:
    """A bound, rounded up; a dash where nothing was released."""
    return NOTHING if value is None else rounded_up(value)


def acted(action: str) -> str:
    """An action of the audit log, in words where it is known."""
    return ACTIONS.get(action, action)


def size(count: int) -> str:
    """Bytes."""
    for unit, length in (("MB", 10**6), ("kB", 10**3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"


def short(digest: str) -> str:
    """The beginning of a digest or a key, in fours: enough to compare by eye."""
    begins = digest[:16]
    return " ".join(begins[place : place + 4] for place in range(0, len(begins), 4)) or NOTHING
