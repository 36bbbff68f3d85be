"""Every page of the console."""

from typing import Final

from tacit_server.web.console import adapters, budget, devices, enrolment, ledger, log, overview, report, runs, users
from tacit_server.web.console.asked import Answer, Asked, Page, nothing_there


def _nowhere(asked: Asked) -> Answer:
    return nothing_there("There is no such page.")


PAGES: Final = (
    *overview.PAGES,
    *devices.PAGES,
    *enrolment.PAGES,
    *runs.PAGES,
    *adapters.PAGES,
    *budget.PAGES,
    *ledger.PAGES,
    *report.PAGES,
    *log.PAGES,
    *users.PAGES,
)
NOWHERE: Final = Page("/console/{rest:path}", _nowhere)
