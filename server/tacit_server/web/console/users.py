"""Who may log in, and one's own log-in."""

from typing import Final

from tacit_privacy.errors import BadInput
from tacit_server.deployment import people
from tacit_server.web.console.asked import LOGIN, Answer, Asked, Moved, Page, Shown


def show(asked: Asked) -> Answer:
    with asked.desk.database.begin() as session:
        rows = people.users(session)
        session.expunge_all()
    return Shown("users.html.j2", "Users", {"rows": rows, "least": people.LEAST_CHARACTERS})


def add(asked: Asked) -> Answer:
    password = asked.fields.get("password", "")
    if password != asked.fields.get("again", ""):
        raise BadInput("the two passwords are not the same; type it twice")
    with asked.desk.database.begin() as session:
        people.add_user(session, asked.actor, asked.words("name"), asked.words("role"), password)
    return Moved(asked.url, "added")


def remove(asked: Asked) -> Answer:
    name = asked.words("name")
    if name == asked.login.user:
        raise BadInput("nobody removes their own log-in; ask another operator, or use tacit server user remove")
    with asked.desk.database.begin() as session:
        people.remove_user(session, asked.actor, name)
    return Moved(asked.url, "removed")


def account(asked: Asked) -> Answer:
    settings = asked.desk.directory.settings.console
    return Shown("account.html.j2", "Your log-in", {"settings": settings, "least": people.LEAST_CHARACTERS})


def change_password(asked: Asked) -> Answer:
    """The present one is asked for: a log-in that was left open is not enough to take it over."""
    new = asked.fields.get("password", "")
    if new != asked.fields.get("again", ""):
        raise BadInput("the two new passwords are not the same; type it twice")
    with asked.desk.database.begin() as session:
        stored = people.password_of(session, asked.login.user)
    if not people.is_password(stored, asked.fields.get("present", "")):
        raise BadInput("the present password is wrong")
    with asked.desk.database.begin() as session:
        people.set_password(session, asked.actor, asked.login.user, new)
    return Moved(LOGIN, "password")


def log_out(asked: Asked) -> Answer:
    with asked.desk.database.begin() as session:
        people.log_out(session, asked.actor, asked.cookie)
    return Moved(LOGIN, "left")


PAGES: Final = (
    Page("/console/users", show, {"add": add, "remove": remove}, operators=True),
    Page(
        "/console/account",
        account,
        {"password": change_password, "leave": log_out},
        own=frozenset({"password", "leave"}),
    ),
)
