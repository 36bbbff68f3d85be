"""A new adapter on a device: taken where it is no worse, refused where it is, and never in the way of the old one."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit_clients.device import folders
from tacit_clients.device.adapter_state import AdapterState, worse
from tacit_clients.device.folders import AdapterFolders, Vector
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.installing import Installer, roll_back, settle
from tacit_clients.device.journal import Journal
from tacit_privacy.cli import main
from tacit_privacy.contract import AdapterSpec, LinearSpec, digest
from tacit_privacy.enrolment import AdapterManifest
from tacit_privacy.errors import BadInput, ServerUnreachable
from tacit_privacy.ledger.keys import SigningKey

SETTINGS = {"server": {"url": "https://localhost:9"}}
SPEC = AdapterSpec(
    model="made-up", method="ffa", rank=2, alpha=4.0, seed=1, linear=(LinearSpec(name="layer", rows=3, columns=2),)
)


def bytes_of(*values: float) -> bytes:
    return np.resize(np.asarray(values, dtype="<f4"), SPEC.dimension).tobytes()


def manifest(data: bytes, entries: int = 10, **changes: Any) -> AdapterManifest:
    told = {"run": "r", "round": 1, "version": 1, "parent": "", "spec": SPEC.to_bytes().decode(), "size": len(data)}
    return AdapterManifest.model_validate({"vector": digest(data), "entries": entries} | told | changes)


def loss(vector: Vector) -> float:
    """The first number is how bad the adapter is; no adapter at all is at 1."""
    return float(vector[0]) if vector.any() else 1.0


@dataclass
class Shop:
    """A server of one adapter that gives at most ``most`` bytes at once, and fails after ``gives`` answers."""

    data: bytes
    most: int = 1_000
    gives: int = 1_000
    asked: list[int] = field(default_factory=list)

    def __call__(self, vector: str, start: int, end: int) -> bytes:
        if len(self.asked) >= self.gives:
            raise ServerUnreachable("cut")
        self.asked.append(start)
        return self.data[start : start + self.most]


@dataclass
class Owned:
    """A device's home, open."""

    home: DeviceHome
    journal: Journal
    score: Callable[[Vector], float | None] = loss
    worse_by: float = 0.0
    spec: AdapterSpec = SPEC

    def take(self, data: bytes, shop: Callable[[str, int, int], bytes] | None = None, **told: Any) -> str:
        installer = Installer(self.home, self.journal, self.spec, self.score, self.worse_by)
        return installer.consider(manifest(data, **told), shop or Shop(data))

    @property
    def state(self) -> AdapterState:
        return self.journal.adapter()

    @property
    def link(self) -> str:
        return AdapterFolders(self.home).linked()

    def answers_with(self, data: bytes) -> bool:
        """Journal and link name the adapter, and its folder holds those very bytes, in both forms."""
        found = AdapterFolders(self.home).read(self.link)
        there = (self.home.current / "adapter_model.safetensors").is_file()
        return there and self.state.in_use.vector == self.link == digest(data) and found.vector.tobytes() == data

    def parts(self) -> list[str]:
        return [path.name for path in self.home.adapters.glob("*.part")]


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[Owned]:
    home = DeviceHome.make(tmp_path / "device", SETTINGS, "no certificate")
    with home.journal("file", create=True) as journal:
        yield Owned(home, journal)


GOOD, BETTER, BAD, BEST = bytes_of(0.5), bytes_of(0.4), bytes_of(0.9), bytes_of(0.1)


def test_a_first_adapter_is_put_into_use(owned: Owned) -> None:
    assert owned.link == ""
    assert owned.take(GOOD) == "installed"
    assert owned.answers_with(GOOD) and owned.parts() == []
    assert (owned.state.in_use.run, owned.state.in_use.round, owned.state.in_use.loss) == ("r", 1, 0.5)
    assert owned.take(GOOD) == "known"


@pytest.mark.parametrize("method", ["ffa", "lora"])
def test_a_first_adapter_must_be_no_worse_than_the_model_without_one(owned: Owned, method: str) -> None:
    """Zeros change nothing, whatever the method: B is nothing then."""
    owned.spec = SPEC.model_copy(update={"method": method})
    harmful = np.full(owned.spec.dimension, 2.0, dtype="<f4").tobytes()
    assert owned.take(harmful, spec=owned.spec.to_bytes().decode()) == "worse"
    assert owned.link == "" and owned.state.in_use.vector == ""
    helpful = np.full(owned.spec.dimension, 0.5, dtype="<f4").tobytes()
    assert owned.take(helpful, spec=owned.spec.to_bytes().decode()) == "installed"


def test_a_worse_one_is_refused_and_remembered(owned: Owned) -> None:
    owned.take(GOOD)
    shop = Shop(BAD)
    assert owned.take(BAD, shop) == "worse"
    assert owned.answers_with(GOOD) and owned.parts() == []
    asked = len(shop.asked)
    assert owned.take(BAD, shop) == "known" and len(shop.asked) == asked


def test_all_refusals_are_remembered(owned: Owned) -> None:
    owned.take(GOOD)
    others = [bytes_of(0.9, number) for number in range(3)]
    assert [owned.take(other, entries=20 + number) for number, other in enumerate(others)] == ["worse"] * 3
    assert [owned.take(other, entries=30) for other in others] == ["known"] * 3


def test_an_equal_or_better_one_is_taken(owned: Owned) -> None:
    owned.take(GOOD)
    equal = bytes_of(0.5, 7)
    assert owned.take(equal) == "installed" and owned.answers_with(equal)
    assert owned.take(BETTER) == "installed" and owned.answers_with(BETTER)


def test_how_much_worse_is_the_owners_word(owned: Owned) -> None:
    owned.take(GOOD)
    owned.worse_by = 0.3
    assert owned.take(BAD) == "worse"
    owned.worse_by = 0.5
    slightly = bytes_of(0.9, 1)
    assert owned.take(slightly) == "installed"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, False),
        (1.0, None, False),
        (1.0, 1.0, False),
        (1.0, 1.0 + 1e-9, True),
        (1.0, float("nan"), True),
        (1.0, float("inf"), True),
        (float("nan"), 5.0, False),
        (float("inf"), 5.0, False),
        (float("nan"), float("nan"), True),
    ],
)
def test_what_counts_as_worse(before: float | None, after: float | None, expected: bool) -> None:
    assert worse(before, after, 0.0) is expected


def test_without_examples_nothing_is_held_against_an_adapter(owned: Owned) -> None:
    owned.score = lambda vector: None
    assert owned.take(GOOD) == "installed" and owned.take(BAD) == "installed"
    assert owned.state.in_use.loss is None


def test_one_whose_answers_are_no_numbers_is_worse_and_any_is_better_than_it(owned: Owned) -> None:
    owned.take(GOOD)
    owned.score = lambda vector: loss(vector) if vector[0] < 0.6 else float("nan")
    assert owned.take(BAD) == "worse"
    owned.score = lambda vector: float("nan") if vector[0] == np.float32(0.5) else 3.0
    assert owned.take(BEST) == "installed"


# What a server says


def test_older_entries_are_a_step_back(owned: Owned) -> None:
    owned.take(GOOD, entries=50)
    shop = Shop(BEST)
    assert owned.take(BEST, shop, entries=49) == "older" and shop.asked == []
    assert owned.take(BAD, entries=60) == "worse"
    assert owned.take(BEST, entries=55) == "older"  # the ledger was seen with 60
    assert owned.take(BEST, entries=60) == "installed"


def test_another_shape_is_refused_before_a_byte_is_fetched(owned: Owned) -> None:
    owned.take(GOOD)
    shop = Shop(BEST)
    other = SPEC.model_copy(update={"rank": 3}).to_bytes().decode()
    for told in ({"spec": other}, {"size": 4}, {"size": 2**40}, {"spec": "{}"}, {"spec": "no JSON"}):
        with pytest.raises(BadInput, match="nothing was installed"):
            owned.take(BEST, shop, **told)
    assert shop.asked == [] and owned.answers_with(GOOD)


def test_tampered_bytes_are_refused_and_asked_for_anew(owned: Owned) -> None:
    owned.take(GOOD)
    with pytest.raises(BadInput, match="not the one that it signed"):
        owned.take(BEST, Shop(BAD))
    with pytest.raises(BadInput, match="not the one that it signed"):
        owned.take(BEST, Shop(BEST + b"more"))
    assert owned.answers_with(GOOD) and owned.parts() == []
    assert owned.take(BEST) == "installed"


def test_a_vector_that_is_too_short_is_refused(owned: Owned) -> None:
    owned.take(GOOD)
    with pytest.raises(BadInput, match="shorter"):
        owned.take(BEST, Shop(BEST[:-1]))
    assert owned.answers_with(GOOD)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_holds_no_numbers_is_refused_and_not_fetched_again(owned: Owned, value: float) -> None:
    owned.take(GOOD)
    broken = bytes_of(0.1, value)
    shop = Shop(broken)
    with pytest.raises(BadInput, match="NaN"):
        owned.take(broken, shop)
    assert owned.answers_with(GOOD) and owned.parts() == []
    asked = len(shop.asked)
    assert owned.take(broken, shop) == "known" and len(shop.asked) == asked


def test_a_wrong_signature_is_refused() -> None:
    key, other = SigningKey.simulated(1), SigningKey.simulated(2)
    payload = manifest(GOOD).to_bytes()
    signature = key.sign(AdapterManifest.signed(payload))
    assert AdapterManifest.verified(payload, signature, key.public) == manifest(GOOD)
    changed = manifest(GOOD, entries=11).to_bytes()
    for told, signed, by in ((payload, signature, other), (changed, signature, key), (payload, key.sign(payload), key)):
        with pytest.raises(BadInput, match="not signed by the server's pinned key"):
            AdapterManifest.verified(told, signed, by.public)


# What is cut off


def test_a_download_goes_on_where_it_was_cut(owned: Owned) -> None:
    owned.take(GOOD)
    first, second = Shop(BEST, most=5, gives=2), Shop(BEST, most=1_000)
    with pytest.raises(ServerUnreachable):
        owned.take(BEST, first)
    assert first.asked == [0, 5] and owned.answers_with(GOOD)
    assert owned.take(BEST, second) == "installed"
    assert second.asked == [10] and owned.answers_with(BEST)


def test_what_was_cut_of_one_is_not_taken_for_another(owned: Owned) -> None:
    with pytest.raises(ServerUnreachable):
        owned.take(GOOD, Shop(GOOD, most=5, gives=1))
    assert owned.take(BEST) == "installed" and owned.answers_with(BEST)
    assert owned.parts() == []


class Killed(BaseException):
    """In place of SIGKILL: nothing catches it."""


KILLS = [
    (folders, "save_adapter"),
    (AdapterFolders, "keep"),
    (Journal, "note_adapter"),
    (AdapterFolders, "turn"),
    (AdapterFolders, "tidy"),
]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("where", "step"), KILLS)
def test_a_kill_at_any_boundary_leaves_the_old_one_or_the_new_one(
    owned: Owned, monkeypatch: pytest.MonkeyPatch, where: Any, step: str, late: bool
) -> None:
    owned.take(GOOD)
    real = getattr(where, step)

    def dying(*arguments: Any, **named: Any) -> Any:
        if late:
            real(*arguments, **named)
        raise Killed

    monkeypatch.setattr(where, step, dying)
    with pytest.raises(Killed):
        owned.take(BEST)
    monkeypatch.undo()
    assert AdapterFolders(owned.home).read(owned.link).vector.tobytes() in (GOOD, BEST)
    settle(owned.home, owned.journal)
    assert owned.answers_with(GOOD) or owned.answers_with(BEST)
    shop = Shop(BEST)
    owned.take(BEST, shop)
    assert owned.answers_with(BEST) and shop.asked == []  # every byte had arrived before


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("where", "step"), [(Journal, "note_adapter"), (AdapterFolders, "turn")])
def test_a_kill_while_going_back_leaves_the_one_or_the_other(
    owned: Owned, monkeypatch: pytest.MonkeyPatch, where: Any, step: str, late: bool
) -> None:
    owned.take(GOOD)
    owned.take(BEST)
    real = getattr(where, step)

    def dying(*arguments: Any, **named: Any) -> Any:
        if late:
            real(*arguments, **named)
        raise Killed

    monkeypatch.setattr(where, step, dying)
    with pytest.raises(Killed):
        roll_back(owned.home, owned.journal)
    monkeypatch.undo()
    settle(owned.home, owned.journal)
    assert owned.answers_with(GOOD) or owned.answers_with(BEST)


@pytest.mark.parametrize("call", ["mkdir", "open", "replace", "symlink_to"])
def test_a_full_disk_leaves_the_old_adapter_usable(owned: Owned, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    owned.take(GOOD)

    def full(*arguments: Any, **named: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real_open = Path.open

    def full_for_parts(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        return full() if "a" in mode else real_open(path, mode, *arguments, **named)

    monkeypatch.setattr(Path, call, full_for_parts if call == "open" else full)
    with pytest.raises(BadInput, match="make room"):
        owned.take(BEST)
    monkeypatch.undo()
    assert AdapterFolders(owned.home).read(owned.link).vector.tobytes() == GOOD
    owned.take(BEST)
    assert owned.answers_with(BEST)


def test_a_disk_that_fills_up_while_bytes_come_keeps_what_came(owned: Owned) -> None:
    owned.take(GOOD)

    def shop(vector: str, start: int, end: int) -> bytes:
        if start:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return BEST[:5]

    with pytest.raises(BadInput, match="make room"):
        owned.take(BEST, shop)
    assert owned.answers_with(GOOD)
    rest = Shop(BEST)
    assert owned.take(BEST, rest) == "installed" and rest.asked == [5]


def damaged(owned: Owned, how: str) -> None:
    folder = owned.home.adapters / owned.link
    match how:
        case "gone":
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        case "half removed":
            (folder / "vector.f32").unlink()
        case "changed":
            (folder / "vector.f32").write_bytes(BAD)
        case "cut":
            (folder / "vector.f32").write_bytes(b"")
        case "no shape":
            (folder / "tacit_spec.json").write_text("{")


@pytest.mark.parametrize("how", ["gone", "half removed", "changed", "cut", "no shape"])
def test_a_damaged_folder_gives_way_to_the_one_before(owned: Owned, how: str) -> None:
    owned.take(GOOD)
    owned.take(BEST)
    damaged(owned, how)
    settle(owned.home, owned.journal)
    assert owned.answers_with(GOOD)
    assert owned.take(BEST) == "installed" and owned.answers_with(BEST)  # it was not its fault


def test_a_link_to_nowhere_goes_where_nothing_is_left(owned: Owned) -> None:
    owned.take(GOOD)
    damaged(owned, "gone")
    assert owned.take(BEST) == "installed"
    assert owned.answers_with(BEST)
    damaged(owned, "gone")
    settle(owned.home, owned.journal)
    assert owned.link == "" and not os.path.lexists(owned.home.current)


def test_what_is_no_link_is_said(owned: Owned) -> None:
    owned.home.current.mkdir()
    with pytest.raises(BadInput, match="is no link"):
        owned.take(GOOD)


def test_the_one_before_is_kept_and_no_more(owned: Owned) -> None:
    for number, data in enumerate((GOOD, BETTER, BEST)):
        owned.take(data, entries=10 + number)
    kept = {path.name for path in owned.home.adapters.iterdir()}
    assert kept == {digest(BETTER), digest(BEST)}


# Going back


def test_the_owner_goes_back_and_the_newest_is_not_taken_again(owned: Owned) -> None:
    owned.take(GOOD, entries=10)
    owned.take(BEST, entries=20)
    after = roll_back(owned.home, owned.journal)
    assert owned.answers_with(GOOD) and after == owned.state
    assert (after.rolled_back, after.told()["can_roll_back"]) == (digest(BEST), False)
    assert owned.take(BEST, entries=20) == "known" and owned.answers_with(GOOD)
    assert owned.take(BETTER, entries=15) == "older"  # the ledger was seen with 20
    assert owned.take(BETTER, entries=30) == "installed" and owned.answers_with(BETTER)
    assert owned.state.rolled_back == "" and owned.take(BEST, entries=30) == "known"
    roll_back(owned.home, owned.journal)
    assert owned.answers_with(GOOD)  # its folder was kept, old as it is


def test_only_one_step_back_is_kept(owned: Owned) -> None:
    for number, data in enumerate((GOOD, BETTER, BEST)):
        owned.take(data, entries=10 + number)
    roll_back(owned.home, owned.journal)
    with pytest.raises(BadInput, match="only one step back"):
        roll_back(owned.home, owned.journal)
    assert owned.answers_with(BETTER)


def test_before_the_first_there_is_the_model_alone(owned: Owned) -> None:
    with pytest.raises(BadInput, match="no adapter is in use"):
        roll_back(owned.home, owned.journal)
    owned.take(GOOD)
    roll_back(owned.home, owned.journal)
    assert owned.link == "" and owned.state.in_use.vector == ""
    assert owned.take(GOOD) == "known"


def test_an_owner_who_goes_back_while_another_is_scored_is_not_overruled(owned: Owned) -> None:
    owned.take(GOOD)
    owned.take(BETTER)

    def while_going_back(vector: Vector) -> float:
        if vector[0] == np.float32(0.1):
            roll_back(owned.home, owned.journal)
        return loss(vector)

    owned.score = while_going_back
    assert owned.take(BEST) == "changed"
    assert owned.answers_with(GOOD)
    owned.score = loss
    assert owned.take(BEST) == "installed" and owned.take(BETTER) == "known"


def test_a_folder_that_is_gone_cannot_be_gone_back_to(owned: Owned) -> None:
    owned.take(GOOD)
    owned.take(BEST)
    (owned.home.adapters / digest(GOOD) / "vector.f32").unlink()
    with pytest.raises(BadInput, match="not kept"):
        roll_back(owned.home, owned.journal)
    assert owned.answers_with(BEST)


# As the owner types it


def command(owned: Owned, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["device", *words, "--dir", str(owned.home.path)])
    said = capsys.readouterr()
    return code, said.out, said.err


def tell(owned: Owned) -> None:
    """What ``tacit device run`` leaves for ``tacit device status``."""
    told = {"identity": "device-1", "server": "https://localhost:9", "activity": "waiting", "since": 0.0, "pid": 1}
    counted = {"rounds": 1, "counted": 1, "owes": False, "refusal": "", "adapter": owned.state.told()}
    owned.home.tell({**told, **counted})


def test_the_command_goes_back_while_the_device_runs_and_status_shows_it(
    owned: Owned, capsys: pytest.CaptureFixture[str]
) -> None:
    owned.take(GOOD)
    owned.take(BEST)
    tell(owned)
    assert "the one before is kept: tacit device rollback" in command(owned, capsys, "status")[1]
    with owned.home.held():
        code, out, _ = command(owned, capsys, "rollback")
    assert (code, out) == (0, f"went back from adapter {digest(BEST)[:12]} to adapter {digest(GOOD)[:12]}\n")
    assert owned.answers_with(GOOD) and owned.take(BEST) == "known"
    shown = command(owned, capsys, "status")[1]
    assert f"adapter {digest(GOOD)[:12]} of run r" in shown and "rollback" not in shown
    assert f"its owner went back from adapter {digest(BEST)[:12]}, which is not taken again" in shown


def test_the_command_says_json_and_where_it_cannot_go_back(owned: Owned, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = command(owned, capsys, "rollback")
    assert code == 2 and err == "tacit: no adapter is in use, so there is none to go back from\n"
    owned.take(GOOD)
    code, out, _ = command(owned, capsys, "rollback", "--json")
    assert (code, json.loads(out)["vector"], json.loads(out)["rolled_back"]) == (0, "", digest(GOOD))
    assert owned.home.told() == {}  # it never ran: there is nothing to change
