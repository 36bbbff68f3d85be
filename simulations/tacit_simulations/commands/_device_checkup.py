"""What ``tacit doctor --device`` looks at. It runs on the device, for its owner."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tacit_privacy.errors import TacitError
from tacit_simulations.commands._findings import Finding, State, attempt, disk, expiry, others_may_read

if TYPE_CHECKING:
    from tacit_clients.device.home import DeviceHome
    from tacit_clients.device.journal import Journal

HERE: Final = "device"
_SKEW_S: Final = 30.0  # from here on it is worth a word; enrolment.WINDOW_S is where requests are refused
_CLOCK: Final = "set the clock: timedatectl set-ntp true, on both machines"
_REMEDIES: Final = {
    "hours": "wait for the hours of policy.hours, or change them",
    "battery": "plug the device in, or set policy.charging = false",
    "metered": "use a network that is not metered, or set policy.unmetered = false",
    "busy": "wait until others leave the processor alone, or set policy.idle = false",
}


def examine(path: Path, store_key: str) -> list[Finding]:
    """All findings of the device in ``path``; what rests on something broken is not looked at."""
    from tacit_clients.device.home import DeviceHome

    found = list(_files(DeviceHome(path.absolute())))
    if not any(finding.state == "broken" and finding.name in ("directory", "settings") for finding in found):
        home = DeviceHome.open(path)
        found += [*_sealed(home, store_key), *_learning(home), *_server(home), _running(home)]
    return found


def _files(home: "DeviceHome") -> Iterator[Finding]:
    opened = attempt(HERE, "directory", lambda: str(home.open(home.path).path), "name the device's directory")
    yield opened
    if opened.state == "broken":
        return
    yield attempt(HERE, "settings", lambda: f"of {home.settings.server.url}", f"edit {home.config}")
    beside = [home.store.with_name(home.store.name + end) for end in ("", ".key")]
    yield others_may_read(HERE, home.path, [*beside, home.config])
    yield expiry(HERE, "authority", home.authority, "the server needs a new authority; enrol again with a token of it")
    yield disk(HERE, home.path)


def _sealed(home: "DeviceHome", store_key: str) -> Iterator[Finding]:
    """What only whoever has the store's key can see."""
    try:
        with home.journal(store_key) as journal:
            yield Finding(HERE, "store", "ok", f"{home.store} opens")
            yield _enrolled(journal)
            yield _code(journal, home)
    except TacitError as error:
        yield Finding(HERE, "store", "broken", str(error), "say where its key is: --store-key")


def _enrolled(journal: "Journal") -> Finding:
    placement = journal.placement()
    if placement is None:
        again = "type the same tacit device enroll again, or ask for a token"
        return Finding(HERE, "enrolled", "broken", "no server has admitted the device yet", again)
    return Finding(HERE, "enrolled", "ok", f"{placement.identity}, with {placement.model}")


def _code(journal: "Journal", home: "DeviceHome") -> Finding:
    from tacit_clients.device.trusting import check_code, installed_code

    def look() -> str:
        check_code(journal)
        return installed_code()

    return attempt(HERE, "code", look, f"if you upgraded it: tacit device trust --dir {home.path}")


def _learning(home: "DeviceHome") -> Iterator[Finding]:
    """Whether there is something to learn from, and whether it may learn now."""
    from tacit_clients.device.data import device_data
    from tacit_clients.device.policy import Surroundings, obstacle

    try:
        data = device_data(home.settings.data)
    except TacitError as error:
        yield Finding(HERE, "data", "broken", str(error), f"edit [data] in {home.config}")
    else:
        told = f"{len(data.train)} examples to learn from, {len(data.test)} held out"
        name = f'name a file: path = "FILE" under [data] in {home.config}'
        yield Finding(HERE, "data", *(("ok", told) if data.train else ("warning", "no example to learn from", name)))
    word = obstacle(home.settings.policy, Surroundings.real())
    if word:
        yield Finding(HERE, "policy", "warning", f"it does not train now: {word}", _REMEDIES[word])
    else:
        yield Finding(HERE, "policy", "ok", "it may train now")


def _server(home: "DeviceHome") -> Iterator[Finding]:
    """Whether the server answers with a certificate of the pinned authority, and what time it has."""
    from tacit_clients.device.server import look
    from tacit_privacy.enrolment import WINDOW_S

    address = home.settings.server.address
    try:
        answer = look(address, home.authority.read_text(encoding="ascii"), "/health")
    except (TacitError, ValueError) as error:  # ValueError: the pinned file is no certificate
        remedy = "see that the server is up and that its name and port are reached from here"
        yield Finding(HERE, "server", "broken", str(error), remedy)
        return
    if not answer.well:
        yield Finding(HERE, "server", "broken", f"{address} answers {answer.status}", "tell the server's operator")
        return
    yield Finding(HERE, "server", "ok", f"{address} answers, by the pinned authority")
    if answer.ahead_s is None:
        yield Finding(HERE, "clock", "info", "the server does not tell the time")
    elif abs(answer.ahead_s) < _SKEW_S:
        yield Finding(HERE, "clock", "ok", f"{answer.ahead_s:+.0f} s to the server's")
    else:
        state: State = "broken" if abs(answer.ahead_s) > WINDOW_S else "warning"
        yield Finding(HERE, "clock", state, f"the server's is {answer.ahead_s:+.0f} s away", _CLOCK)


def _running(home: "DeviceHome") -> Finding:
    """What the device left word of."""
    told = home.told()
    if not told:
        return Finding(HERE, "runs", "info", f"never; tacit device run --dir {home.path}")
    refusal = told.get("refusal", "")
    if refusal:
        remedy = "the device's guard holds the server to its word; ask the server's operator"
        return Finding(HERE, "runs", "warning", f"it refused a round: {refusal}", remedy)
    return Finding(HERE, "runs", "ok", f"{told['activity']}; took part in {told['rounds']} rounds")
