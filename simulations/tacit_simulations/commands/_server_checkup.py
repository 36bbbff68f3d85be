"""What ``tacit doctor --server`` looks at. Nothing is changed, and no schema is brought up to date."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tacit_privacy.errors import TacitError
from tacit_simulations.commands._findings import Finding, State, attempt, disk, expiry, others_may_read

if TYPE_CHECKING:
    from tacit_server.deployment.database import ServerDatabase
    from tacit_server.deployment.directory import ServerDirectory

HERE: Final = "server"
_OLD_BACKUP_DAYS: Final = 7.0
_ROTATE: Final = "tacit server rotate certificate --dir {path}, and put the server up again"
_RESTORE: Final = "tacit server restore --from BACKUP --dir ANOTHER"


def examine(path: Path) -> list[Finding]:
    """All findings of the server in ``path``; what rests on something broken is not looked at."""
    from tacit_server.deployment.directory import ServerDirectory

    found = list(_files(ServerDirectory(path.absolute())))
    if not any(finding.state == "broken" and finding.name in ("directory", "settings") for finding in found):
        directory = ServerDirectory.open(path)
        found += [*_running(directory), *_stored(directory)]
    return found


def _files(directory: "ServerDirectory") -> Iterator[Finding]:
    path = directory.path
    opened = attempt(HERE, "directory", lambda: str(directory.open(path).path), "name the server's directory")
    yield opened
    if opened.state == "broken":
        return
    yield attempt(HERE, "settings", lambda: f"fleet of {directory.settings.fleet.model}", f"edit {directory.config}")
    yield others_may_read(HERE, path, [*directory.keys.iterdir(), directory.config] if directory.keys.is_dir() else [])
    yield _rotation(directory)
    yield expiry(HERE, "certificate", directory.certificate, _ROTATE.format(path=path))
    yield _names(directory)
    yield expiry(HERE, "authority", directory.authority, "make a new server: devices have pinned this authority")
    yield disk(HERE, path)


def _names(directory: "ServerDirectory") -> Finding:
    """Whether the certificate is for every name that devices use."""
    from tacit_privacy.errors import BadInput
    from tacit_server.deployment.certificates import missing_from

    def look() -> str:
        names = directory.settings.listen.names
        if missing := missing_from(directory.certificate, names):
            raise BadInput(f"the certificate is not for {', '.join(missing)}, which listen.names has")
        return ", ".join(names)

    return attempt(HERE, "names", look, _ROTATE.format(path=directory.path))


def _rotation(directory: "ServerDirectory") -> Finding:
    from tacit_privacy.ledger.keys import SigningKey
    from tacit_server.deployment.rotation import check_whole

    def look() -> str:
        check_whole(directory)
        return SigningKey.load(directory.signing_key).public

    return attempt(HERE, "signing key", look, f"tacit server rotate key --dir {directory.path}, or {_RESTORE}")


def _running(directory: "ServerDirectory") -> Iterator[Finding]:
    """Whether it is up, and answers as devices would meet it."""
    up = f"tacit server up --dir {directory.path}"
    if not directory.is_held:
        yield Finding(HERE, "up", "warning", "the server is down", up)
        return
    yield Finding(HERE, "up", "ok", f"https://{directory.loopback}")
    listen = directory.settings.listen
    first = f"[{listen.names[0]}]" if ":" in listen.names[0] else listen.names[0]
    for name, address in (("port", directory.loopback), ("name", f"{first}:{listen.port}")):
        yield _answers(name, address, directory)


def _answers(name: str, address: str, directory: "ServerDirectory") -> Finding:
    from tacit_clients.device.server import look

    remedy = "look at what tacit server up says, and at the firewall"
    if name == "name":
        remedy = f"see that {address} leads here and is among listen.names; then {_ROTATE.format(path=directory.path)}"
    try:
        found = look(address, directory.authority.read_text(encoding="ascii"), "/ready")
    except TacitError as error:
        # a name may lead to this machine from outside alone
        state: State = "broken" if name == "port" else "warning"
        return Finding(HERE, name, state, str(error), remedy)
    if not found.well:
        return Finding(HERE, name, "broken", f"{address} answers, and its database does not", "look at the database")
    return Finding(HERE, name, "ok", f"{address} is ready")


def _stored(directory: "ServerDirectory") -> Iterator[Finding]:
    """What the database says, if it can be asked."""
    schema = _schema(directory)
    yield schema
    if schema.state != "ok":
        return
    from tacit_server.deployment.database import ServerDatabase

    try:
        with ServerDatabase(directory.database_url) as database:
            yield _ledger(directory, database)
            yield _promise(directory, database)
            yield _witnesses(directory, database)
            yield _fleet(directory, database)
            yield _backup(directory, database)
    except TacitError as error:
        yield Finding(HERE, "database", "broken", str(error), "look at the database and its log")


def _promise(directory: "ServerDirectory", database: "ServerDatabase") -> Finding:
    from tacit_server.deployment import promise

    with database.begin() as session:
        told, broken = promise.promised(session), promise.broken_by(session, directory.settings)
    if broken:
        return Finding(HERE, "promise", "broken", broken, f"edit {directory.config}")
    if told is None:
        return Finding(HERE, "promise", "info", "none yet: with the first run what server.toml says stands for good")
    said = f"epsilon {told['privacy.epsilon']:g}, {told['privacy.participations']} participations of a device"
    return Finding(HERE, "promise", "ok", said)


def _schema(directory: "ServerDirectory") -> Finding:
    from tacit_privacy.ledger.database import pending

    remedy = "look at the database's own log; TACIT_DATABASE or database in server.toml names it"
    try:
        missing = pending(directory.database_url, *_lineages())
    except TacitError as error:
        return Finding(HERE, "database", "broken", str(error), remedy)
    if missing:
        up = f"back it up; tacit server up --dir {directory.path} brings it up to date"
        return Finding(HERE, "database", "warning", f"an older schema: {', '.join(missing)} to come", up)
    return Finding(HERE, "database", "ok", "it answers, and its schema is up to date")


def _lineages() -> tuple[tuple[Path, str], ...]:
    from tacit_server.store.database import TABLES

    return (TABLES,)


def _ledger(directory: "ServerDirectory", database: "ServerDatabase") -> Finding:
    from tacit_privacy.ledger.keys import SigningKey
    from tacit_privacy.ledger.verify import verify
    from tacit_server.deployment import dumps

    with database.begin() as session:
        standing = dumps.Standing.of(session)
        lines = [entry.line() for entry in dumps.READER.entries(session)]
    if not lines:
        return Finding(HERE, "ledger", "info", "no run has begun yet")
    key = SigningKey.load(directory.signing_key).public
    found = verify(lines, key)
    if standing.signer != key:
        return Finding(HERE, "ledger", "broken", "keys/signing.key does not sign it", _RESTORE)
    if not found.ok:
        first = found.problems[0]
        return Finding(HERE, "ledger", "broken", f"entry {first.index}: {first.detail}", _RESTORE)
    return Finding(HERE, "ledger", "ok", f"{found.entries} entries verify; epsilon {found.epsilon:.4g}")


def _witnesses(directory: "ServerDirectory", database: "ServerDatabase") -> Finding:
    from tacit_server.deployment import backup, resolving

    with database.begin() as session:
        seen = resolving.witnesses(session)
    restored = backup.restoration(directory)
    told = "never restored from a backup" if restored is None else f"restored with {restored.entries} entries"
    if seen:
        told = f"{len(seen)} devices say that they saw more of the ledger than there is, up to {seen[0].length} entries"
        return Finding(HERE, "continuity", "broken", told, f"tacit server resolve --dir {directory.path}")
    return Finding(HERE, "continuity", "ok", f"{told}; no device saw more of the ledger than there is")


def _fleet(directory: "ServerDirectory", database: "ServerDatabase") -> Finding:
    from tacit_server.deployment import status

    with database.begin() as session:
        found = status.counts(session)
    admitted, planned = int(found["devices_admitted"]), directory.settings.fleet.devices
    told = f"{admitted} admitted, {int(found['devices_online'])} online, {planned} planned for"
    if admitted > planned:
        remedy = "tacit server device revoke DEVICE; the promised delta is for as many as were planned"
        return Finding(HERE, "devices", "warning", told, remedy)
    return Finding(HERE, "devices", "ok", told)


def _backup(directory: "ServerDirectory", database: "ServerDatabase") -> Finding:
    from tacit_server.deployment import backup

    with database.begin() as session:
        last = backup.last(session)
    remedy = f"tacit server backup --dir {directory.path} --out FILE"
    if last is None:
        return Finding(HERE, "backup", "warning", "none was made yet", remedy)
    days = (time.time() - last) / 86400
    told = f"the last one is {days:.1f} days old"
    return Finding(HERE, "backup", *(("ok", told) if days < _OLD_BACKUP_DAYS else ("warning", told, remedy)))
