"""What a page of the console is asked, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.orm import Session

from tacit_server.deployment.audit import Actor
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.deployment.people import Login
from tacit_server.web.console.checking import Checking

LOGIN: Final = "/console/login"


@dataclass(frozen=True, slots=True)
class Desk:
    """What all pages rest on."""

    directory: ServerDirectory
    database: ServerDatabase
    checking: Checking


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of somebody who is logged in."""

    desk: Desk
    login: Login
    address: str
    url: str  # path of the page
    sealed: bool  # nobody is to see who took part
    path: Mapping[str, str]
    query: Mapping[str, str]
    fields: Mapping[str, str] = field(default_factory=dict)  # of a form
    cookie: str = field(default="", repr=False)
    problem: str = ""  # why a form was not accepted: the page shows it above what was typed

    @property
    def actor(self) -> Actor:
        return Actor(self.login.user, self.address)

    @property
    def page(self) -> int:
        """The page of a list, as the query has it."""
        said = self.query.get("page", "")
        return int(said) if said.isascii() and said.isdigit() and len(said) < 9 else 1

    def words(self, name: str) -> str:
        """A word of the query or a form, on one line."""
        said = self.fields.get(name, self.query.get(name, ""))
        return "".join(letter for letter in said if letter.isprintable()).strip()[:200]


@dataclass(frozen=True, slots=True)
class Shown:
    """A page from a template."""

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Moved:
    """A change was made: go on at ``to``, where ``done`` names what is said about it (see ``wording.DONE``)."""

    to: str
    done: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """Something to keep. ``inline``: a page that stands alone, shown in place, with nothing allowed to it."""

    name: str
    content: bytes
    kind: str
    inline: bool = False


Answer = Shown | Moved | File
View = Callable[[Asked], Answer]


@dataclass(frozen=True, slots=True)
class Page:
    """A path, what is shown there, and the changes that forms ask for there by their field ``do``."""

    path: str
    show: View
    changes: Mapping[str, View] = field(default_factory=dict)
    operators: bool = False  # only they see it
    own: frozenset[str] = frozenset()  # changes that are everybody's own affair


def change(step: Callable[[Session, Actor, str], object], key: str, done: str) -> View:
    """A change of what the path names by ``key``, made by whoever asked; ``done`` names what is said afterwards."""

    def changed(asked: Asked) -> Answer:
        with asked.desk.database.begin() as session:
            step(session, asked.actor, asked.path[key])
        return Moved(asked.url, done)

    return changed


def nothing_there(what: str) -> Shown:
    return Shown("problem.html.j2", "Not found", {"said": what}, 404)
