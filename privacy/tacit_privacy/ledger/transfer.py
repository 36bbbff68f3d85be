"""A ledger out of its database and into another: as the files that anybody can verify, and the server's own counts."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tacit_privacy.contract import Receipt, canonical
from tacit_privacy.errors import BadInput, LedgerBroken
from tacit_privacy.files import write_whole
from tacit_privacy.ledger.account import Account
from tacit_privacy.ledger.bodies import parse
from tacit_privacy.ledger.chain import Entry, Ledger, lines
from tacit_privacy.ledger.receipts import Tree, read_leaves
from tacit_privacy.ledger.tables import LedgerRow, LimitRow, ParticipationRow, PrivacyTables, ReservedRow

LEDGER, KEY, RECEIPTS, COUNTS = "ledger.jsonl", "ledger.pub", "receipts.jsonl", "counts.jsonl"
_COUNTS: tuple[type[PrivacyTables], ...] = (ParticipationRow, LimitRow, ReservedRow)
_READER = Ledger(lambda _: b"", lambda: 0.0)  # entries are read and stored as they are, never signed here


def present_key(session: Session) -> str:
    """The public key that signs the ledger now. Raises LedgerBroken where there is no ledger."""
    keys = [entry.body["public_key"] for entry in _READER.entries(session) if entry.kind in ("open", "rotate")]
    if not keys:
        raise LedgerBroken("the database holds no ledger")
    return str(keys[-1])


def export(session: Session, folder: Path, receipts: bool, counts: bool = False) -> list[Path]:
    """Write the ledger and its public key to ``folder``; with ``receipts`` the leaves of every release, which say who
    took part; with ``counts`` what another server needs to go on with it. Returns what was written.

    Raises LedgerBroken where there is no ledger, BadInput where a file cannot be written.
    """
    entries = _READER.entries(session)
    files = {LEDGER: "".join(lines(entries)), KEY: present_key(session) + "\n"}
    if receipts:
        files[RECEIPTS] = "".join(line + "\n" for line in receipt_lines(session, entries))
    if counts:
        files[COUNTS] = "".join(line + "\n" for line in _count_lines(session))
    for name, text in files.items():
        write_whole(folder / name, text)
    return [folder / name for name in files]


def receipt_lines(session: Session, entries: Iterable[Entry]) -> Iterator[str]:
    """The leaves of every release, in the order of the ledger."""
    for entry in entries:
        if entry.kind == "commit":
            name = entry.body["reservation"]
            tree = Tree.kept(session, name)
            if tree is None:
                raise LedgerBroken(f"the receipts of {name} are not in the database; export without them")
            yield from tree.lines(name)


def is_sealed(session: Session) -> bool:
    """Whether the ledger promises that nobody sees who took part."""
    first = _READER.entries(session)[:1]
    return bool(first and first[0].body["policy"]["roster_sealed"])


def take_in(session: Session, ledger: Iterable[str], receipts: Iterable[str], counts: Iterable[str] | None) -> int:
    """Store the entries of a verified ledger in an empty database, as they are; returns how many.

    ``counts`` None is for a ledger that is closed: one that goes on needs to know who took part. Nobody signs counts;
    they are held against the ``receipts``. Raises BadInput where the database holds a ledger already, where lines are
    not of these files, or where the counts are lower than what devices signed.
    """
    leaves = list(receipts)
    if session.scalar(select(func.count()).select_from(LedgerRow)):
        raise BadInput("the database holds a ledger already; name an empty one")
    try:
        entries = [Entry.of_line(line) for line in ledger]
        for entry in entries:
            _READER.put(session, entry)
        _put_leaves(session, leaves)
        for line in counts or ():
            _put_count(session, json.loads(line))
        session.flush()
        if counts is not None:
            if not leaves and not is_sealed(session) and any(entry.kind == "commit" for entry in entries):
                raise BadInput(f"without {RECEIPTS} nobody can hold the counts against them; export it with --receipts")
            _check_counts(session, entries, leaves)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"the files are not those of an export ({type(error).__name__}: {error})") from error
    if counts is None and entries[-1].kind != "close":
        raise BadInput(f"the ledger is open, and without {COUNTS} nobody knows who took part; export it with --counts")
    return len(entries)


def _check_counts(session: Session, entries: Sequence[Entry], leaves: Iterable[str]) -> None:
    """Raise BadInput where devices signed for more than the counts say, in a run or in the newest budget period: by the
    whole fleet's numbers, largest first, as receipts name devices and counts number them.
    """
    account = Account()
    for entry in entries:
        account.take(parse(entry.kind, entry.body), entry.time)
    newest = max((charge.period for charge in account.charged.values()), default=0)
    signed: dict[tuple[str, bool], Counter[str]] = defaultdict(Counter)  # by run; True: of the newest period alone
    for reservation, leaf in read_leaves(leaves):
        if leaf.receipt.payload:
            device, charge = Receipt.from_bytes(leaf.receipt.payload).device, account.charged[reservation]
            signed[charge.run, False][device] += 1
            signed[charge.run, True][device] += charge.period == newest
    for (run, recent), found in signed.items():
        rows = session.scalars(select(ParticipationRow).where(ParticipationRow.run == run)).all()
        told = [row.recent if row.period == newest else 0 for row in rows] if recent else [row.count for row in rows]
        proven = sorted(filter(None, found.values()), reverse=True)
        if len(told) < len(proven) or any(a < b for a, b in zip(sorted(told, reverse=True), proven, strict=False)):
            raise BadInput(f"devices signed for more participations in {run} than {COUNTS} tells; export it anew")
    kept = set(session.scalars(select(ReservedRow.reservation)))
    if not account.waiting.keys() <= kept:
        raise BadInput(f"{COUNTS} does not say whom an open reservation is for; export it anew")


def _put_leaves(session: Session, receipts: Iterable[str]) -> None:
    for reservation, group in groupby(read_leaves(receipts), key=lambda pair: pair[0]):
        Tree(tuple(leaf for _, leaf in group)).keep(session, reservation)


def _count_lines(session: Session) -> Iterator[str]:
    for table in _COUNTS:
        for row in session.scalars(select(table)):
            told = {column.name: getattr(row, column.name) for column in table.__table__.columns}
            yield canonical({"table": table.__tablename__, **{k: _plain(v) for k, v in told.items()}}).decode()


def _put_count(session: Session, told: dict[str, Any]) -> None:
    table = next(table for table in _COUNTS if table.__tablename__ == told["table"])
    session.add(table(**{name: _stored(value) for name, value in told.items() if name != "table"}))


def _stored(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value
