"""Who may use the console: users with a role, passwords by scrypt, log-ins by a cookie kept as its digest alone."""

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from typing import Final, Literal, get_args

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from tacit_privacy.errors import BadInput
from tacit_server.deployment import audit
from tacit_server.deployment.audit import Actor
from tacit_server.deployment.settings import ConsoleSettings
from tacit_server.store.tables import SessionRow, UserRow

Role = Literal["operator", "auditor"]
LEAST_CHARACTERS: Final = 15  # NIST SP 800-63B-4, for a password without another factor beside it
_MOST_CHARACTERS: Final = 1000
_N, _R, _P = (
    2**15,
    8,
    3,
)  # OWASP's cheat sheet of password storage, 2025: as strong as 2^17, 8, 1 in a quarter of the memory
_MEMORY: Final = 64 * 2**20
_FAILURES, _LOCKED_S = 5, 300.0


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who is logged in. ``csrf`` goes into every form of theirs."""

    user: str
    role: Role
    csrf: str


def add_user(session: Session, actor: Actor, name: str, role: str, password: str) -> None:
    """Raises BadInput."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,59}", name):
        raise BadInput(f"a user cannot be called {name!r}; use up to 60 small letters, digits, dots and dashes")
    if role not in get_args(Role):
        raise BadInput(f"no role {role!r}; choose operator or auditor")
    if name == audit.SERVER.name:
        raise BadInput(f"a user called {name} could not be told from the server itself; choose another name")
    if session.get(UserRow, name) is not None:
        raise BadInput(f"there is a user {name} already; tacit server user password changes the password")
    session.add(UserRow(name=name, role=role, password=hashed(password), created=time.time()))
    audit.record(session, actor, "user.add", name, detail={"role": role})


def set_password(session: Session, actor: Actor, name: str, password: str) -> None:
    """Change a password, which ends the user's log-ins. Raises BadInput."""
    row = _user(session, name)
    row.password, row.failures, row.locked = hashed(password), 0, 0.0
    session.execute(delete(SessionRow).where(SessionRow.user == name))
    audit.record(session, actor, "user.password", name)


def remove_user(session: Session, actor: Actor, name: str) -> None:
    """Raises BadInput."""
    session.delete(_user(session, name))
    session.execute(delete(SessionRow).where(SessionRow.user == name))
    audit.record(session, actor, "user.remove", name)


def users(session: Session) -> list[UserRow]:
    return list(session.scalars(select(UserRow).order_by(UserRow.name)))


def log_in(session: Session, actor: Actor, name: str, password: str) -> str | None:
    """The cookie of a new log-in; None where name or password is wrong, or the user is locked out for a while.

    It takes as long for a name that nobody has, and holds the database for all that time: a server that has other work
    takes the three steps by themselves.
    """
    stored = password_of(session, name)
    return admit(session, actor, name, stored, is_password(stored, password))


def password_of(session: Session, name: str) -> str:
    """What a password is compared with; where there is no such user, something that no password fits."""
    row = session.get(UserRow, name)
    return row.password if row is not None else _NOBODY


def is_password(stored: str, password: str) -> bool:
    """Whether it is the password behind ``stored``: a fifth of a second and 32 MiB, whatever the answer."""
    _, n, r, p, salt, key = stored.split("$")
    derived = _derive(password[:_MOST_CHARACTERS], bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(derived, bytes.fromhex(key))


def admit(session: Session, actor: Actor, name: str, stored: str, right: bool) -> str | None:
    """Begin a log-in where the password was ``right`` and is still the one behind ``stored``; None otherwise."""
    row, now = session.get(UserRow, name), time.time()
    if row is None or row.locked > now or not right or row.password != stored:
        _fail(session, actor, name, row, now)
        return None
    row.failures = 0
    cookie = secrets.token_urlsafe(32)
    session.add(SessionRow(digest=_digest(cookie), user=name, created=now, used=now))
    audit.record(session, actor, "login", name)
    return cookie


def login_of(session: Session, cookie: str, settings: ConsoleSettings, *, using: bool = True) -> Login | None:
    """Whose log-in a cookie is; None where it has ended. ``using``: a person does, which keeps it from ending for a
    while; a page that looks for news by itself does not.
    """
    row, now = session.get(SessionRow, _digest(cookie)), time.time()
    if row is None:
        return None
    user = session.get(UserRow, row.user)
    idle, old = now - row.used > 60 * settings.idle_minutes, now - row.created > 3600 * settings.longest_hours
    if user is None or idle or old:
        session.delete(row)
        return None
    if using:
        row.used = now
    return Login(user.name, "operator" if user.role == "operator" else "auditor", csrf_of(cookie))


def forget_ended(session: Session, settings: ConsoleSettings) -> None:
    """Drop log-ins that ended without anybody coming back to them."""
    now = time.time()
    idle, old = now - 60 * settings.idle_minutes, now - 3600 * settings.longest_hours
    session.execute(delete(SessionRow).where(or_(SessionRow.used < idle, SessionRow.created < old)))


def log_out(session: Session, actor: Actor, cookie: str) -> None:
    session.execute(delete(SessionRow).where(SessionRow.digest == _digest(cookie)))
    audit.record(session, actor, "logout", actor.name)


def csrf_of(cookie: str) -> str:
    """What a form must bring beside the cookie: derived from it, and of no use to find it."""
    return hmac.new(cookie.encode(), b"tacit console form", hashlib.sha256).hexdigest()


def hashed(password: str) -> str:
    """Raises BadInput on a password that is too short to be one."""
    if not LEAST_CHARACTERS <= len(password) <= _MOST_CHARACTERS:
        raise BadInput(f"a password has at least {LEAST_CHARACTERS} characters, and at most {_MOST_CHARACTERS}")
    salt = secrets.token_bytes(16)
    return f"scrypt${_N}${_R}${_P}${salt.hex()}${_derive(password, salt, _N, _R, _P).hex()}"


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY)


_NOBODY: Final = f"scrypt${_N}${_R}${_P}${'00' * 16}${'00' * 64}"  # no password has this key


def _fail(session: Session, actor: Actor, name: str, row: UserRow | None, now: float) -> None:
    if row is not None and row.locked <= now:
        row.failures += 1
        if row.failures >= _FAILURES:
            row.failures, row.locked = 0, now + _LOCKED_S
    why = "no such user" if row is None else "locked out" if row.locked > now else "wrong password"
    audit.record(session, actor, "login", name, refused=why)


def _user(session: Session, name: str) -> UserRow:
    row = session.get(UserRow, name)
    if row is None:
        raise BadInput(f"no user {name!r}; tacit server user list shows them")
    return row


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
