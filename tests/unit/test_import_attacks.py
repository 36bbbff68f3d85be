"""Counts that come with a ledger are signed by nobody: what devices signed is what they are held against."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from ledgers import FIXED, Books, policy
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger import participation
from tacit_privacy.ledger.tables import PrivacyTables
from tacit_privacy.ledger.transfer import COUNTS, LEDGER, RECEIPTS, export, take_in

EVENT = GaussianEvent(noise_multiplier=2.0, sampling=FIXED)
Rows = list[dict[str, Any]]


def exported(tmp_path: Any, period_s: float | None = None) -> tuple[list[str], list[str], Rows]:
    """Device 1 took part twice, others once, and a reservation is open."""
    books = Books(policy(participations=3, period_s=period_s), EVENT, replay=False)
    books.round(1, [1, 2])
    books.time += 15
    books.round(2, [1, 3])
    books.reserve(3, [4])
    export(books.session, tmp_path, receipts=True, counts=True)
    ledger, receipts, counts = ((tmp_path / name).read_text().splitlines() for name in (LEDGER, RECEIPTS, COUNTS))
    return ledger, receipts, [json.loads(line) for line in counts]


def taken(ledger: list[str], receipts: list[str], counts: Rows) -> dict[int, int]:
    database = create_engine("sqlite://")
    PrivacyTables.metadata.create_all(database)
    with Session(database) as session, session.begin():
        take_in(session, ledger, receipts, [json.dumps(row) for row in counts])
        return participation.counted(session)


@pytest.mark.parametrize("period_s", [None, 10.0])
def test_honest_counts_are_taken(tmp_path: Any, period_s: float | None) -> None:
    assert taken(*exported(tmp_path, period_s)) == {1: 2, 2: 1, 3: 1}


def lower(rows: Rows) -> Rows:
    return [{**row, "count": min(row.get("count", 1), 1)} if row["table"] == "participations" else row for row in rows]


def lately(rows: Rows) -> Rows:
    return [{**row, "recent": 0} if row.get("device") == 3 else row for row in rows]


def earlier(rows: Rows) -> Rows:
    return [{**row, "period": 0} if row.get("device") == 3 else row for row in rows]


def without(rows: Rows) -> Rows:
    return [row for row in rows if row.get("device") != 2]


def unreserved(rows: Rows) -> Rows:
    return [row for row in rows if row["table"] != "reserved"]


@pytest.mark.parametrize("change", [lower, lately, earlier, without, unreserved])
def test_counts_below_what_devices_signed_are_refused(tmp_path: Any, change: Callable[[Rows], Rows]) -> None:
    ledger, receipts, counts = exported(tmp_path, 10.0)
    with pytest.raises(BadInput, match=COUNTS):
        taken(ledger, receipts, change(counts))
