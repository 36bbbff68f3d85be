"""A device runs the code that its owner trusted, and no other."""

from pathlib import Path

import pytest
from deployments import tacit, told

from tacit_clients.device import trusting
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.trusting import check_code, installed_code
from tacit_privacy.errors import BadInput
from tacit_privacy.provenance import code_digest

OTHER = "9.9.9 sha256:" + 64 * "e"


@pytest.fixture
def home(tmp_path: Path) -> DeviceHome:
    """Of a device that trusts what is installed here."""
    found = DeviceHome.make(tmp_path / "device", {"server": {"url": "https://localhost:1"}}, "an authority")
    with found.journal(create=True) as journal:
        journal.trust(installed_code())
    return found


def test_what_is_trusted_is_what_a_device_consists_of() -> None:
    assert installed_code() == code_digest("tacit_privacy", "tacit_clients")
    assert installed_code() != code_digest("tacit_privacy", "tacit_server")


def test_the_code_that_was_trusted_runs(home: DeviceHome) -> None:
    with home.journal() as journal:
        check_code(journal)


def test_another_code_does_not(home: DeviceHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusting, "code_digest", lambda *packages: OTHER)
    with home.journal() as journal, pytest.raises(BadInput, match=r"9\.9\.9 .*type tacit device trust"):
        check_code(journal)


def test_a_device_that_trusts_none_runs_none(tmp_path: Path) -> None:
    found = DeviceHome.make(tmp_path / "device", {"server": {"url": "https://localhost:1"}}, "an authority")
    with found.journal(create=True) as journal, pytest.raises(BadInput, match="none was ever trusted"):
        check_code(journal)


def test_the_commands(home: DeviceHome) -> None:
    """In processes of their own: a device steps back behind other work, and would take the tests along."""
    with home.journal() as journal:
        journal.trust(OTHER)
    folder, words = home.path.parent, ("--dir", home.path.name)
    said = tacit("device", "run", *words, folder=folder, code=2)
    assert (
        said.count("\n") == 1
        and "9.9.9 (eeeeeeeeeeee) was trusted; if you upgraded it, type tacit device trust" in said
    )
    trusted = told("device", "trust", *words, folder=folder)
    assert trusted["before"] == OTHER and trusted["now"] != OTHER
    assert tacit("device", "trust", *words, folder=folder).startswith("trusts ")
    assert "not admitted yet" in tacit("device", "run", *words, folder=folder, code=2)  # what is wrong with it next
