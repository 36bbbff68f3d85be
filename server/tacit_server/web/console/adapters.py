"""Adapters: what every round released, what it was learnt from, and the weights to take along."""

import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tacit_privacy.adapter_folder import save_adapter
from tacit_privacy.contract import AdapterSpec
from tacit_server.deployment import adapters, audit, looking, runs
from tacit_server.web.console.asked import Answer, Asked, File, Page, Shown, nothing_there

_MOST: Final = 200  # in a list
_CHAIN: Final = 50
_MOST_ROUNDS: Final = 2**31 - 1  # that a database can be asked for
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first that zip knows: the same adapter is the same file


def show(asked: Asked) -> Answer:
    run = asked.words("run")
    with asked.desk.database.begin() as session:
        found = adapters.lineage(session, run or None)
        names = [row.name for row in runs.listed(session)]
    values = {"rows": found[:_MOST], "more": max(0, len(found) - _MOST), "run": run, "names": names}
    return Shown("adapters.html.j2", "Adapters", values)


def detail(asked: Asked) -> Answer:
    """An adapter and the chain of those that it was learnt from."""
    run, number = asked.path["run"], int(asked.path["round"])
    with asked.desk.database.begin() as session:
        rows = adapters.lineage(session, run)
        spec = runs.found(session, run).spec if rows else ""
    own = next((each for each in rows if each.round == number), None)
    if own is None:
        return nothing_there("There is no such adapter.")
    chain = _chain(own, rows)
    values: dict[str, Any] = {"adapter": own, "chain": chain[:_CHAIN], "more": max(0, len(chain) - _CHAIN)}
    values |= {"spec": AdapterSpec.from_bytes(spec.encode()) if spec else None, "newest": rows[0].digest == own.digest}
    return Shown("adapter.html.j2", "Adapter", values)


def _chain(of: adapters.Lineage, rows: list[adapters.Lineage]) -> list[adapters.Lineage]:
    """What ``of`` was learnt from, the nearest first."""
    by_digest = {row.digest: row for row in rows}
    found: list[adapters.Lineage] = []
    at: adapters.Lineage | None = by_digest.get(of.parent)
    while at is not None and len(found) < len(rows):  # digests that point in a circle are not followed round
        found.append(at)
        at = by_digest.get(at.parent)
    return found


def download(asked: Asked) -> Answer:
    """The adapter as a folder in peft's format, in a zip."""
    run, number = asked.path["run"], int(asked.path["round"])
    if number > _MOST_ROUNDS:
        return nothing_there("There is no such adapter.")
    with asked.desk.database.begin() as session:
        row = looking.adapter(session, run, number)
        spec = runs.found(session, run).spec if row is not None else ""
        if row is None or not spec:
            return nothing_there("There is no such adapter.")
        vector, name = adapters.vector_of(row), f"{run}-{number}"
        audit.record(session, asked.actor, "adapter.download", name, detail={"digest": row.digest})
    with TemporaryDirectory() as place:
        folder = Path(place) / name
        save_adapter(folder, AdapterSpec.from_bytes(spec.encode()), vector)
        return File(f"{name}.zip", _zipped(folder), "application/zip")


def _zipped(folder: Path) -> bytes:
    """A folder's files below its name; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(f"{folder.name}/{path.name}", _EPOCH), path.read_bytes())
    return buffer.getvalue()


PAGES: Final = (
    Page("/console/adapters", show),
    Page("/console/adapters/{run}/{round:int}", detail),
    Page("/console/adapters/{run}/{round:int}/peft.zip", download),
)
