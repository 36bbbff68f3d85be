"""The personal adapter of a device: judged over the shared one of now, sealed, and read by the device's gateway."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, RecordDict

from tacit_clients.app import STATE_PERSONAL
from tacit_clients.device import sealed
from tacit_clients.device.adapter_state import AdapterState, Kept
from tacit_clients.device.folders import AdapterFolders, Vector
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.in_use import DeviceAdapters
from tacit_clients.device.journal import Journal
from tacit_clients.device.judging import PersonalJudge
from tacit_clients.device.personal import PersonalRecord, judge
from tacit_clients.slm.places import HeldAdapter
from tacit_clients.training.personal import personal_spec
from tacit_privacy.contract import AdapterSpec, LinearSpec, digest
from tacit_privacy.enrolment import Placement
from tacit_privacy.errors import BadInput
from tacit_privacy.pii.vault.keys import RawKey

SPEC = AdapterSpec(
    model="made-up", method="lora", rank=1, alpha=2.0, seed=1, linear=(LinearSpec(name="layer", rows=3, columns=2),)
)
SHARED, NEXT = "a" * 64, "b" * 64


def held(*values: float, spec: AdapterSpec = SPEC) -> HeldAdapter:
    return HeldAdapter(spec, np.resize(np.asarray(values, dtype=np.float32), spec.dimension))


def by_first(alone: float | None) -> Callable[[HeldAdapter | None], float | None]:
    """The first number of a personal adapter is its loss."""
    return lambda personal: alone if personal is None or alone is None else float(personal.vector[0])


def record_of(adapter: HeldAdapter | None, shared: str = SHARED) -> PersonalRecord:
    judged = "" if adapter is None else digest(adapter.vector.tobytes())
    return PersonalRecord(adapter, shared, judged)


# Which one is used


@pytest.mark.parametrize(("mine", "used"), [(0.4, True), (0.5, True), (0.6, False), (float("nan"), False)])
def test_a_first_one_must_make_answers_no_worse(mine: float, used: bool) -> None:
    trained = held(mine)
    found = judge(None, trained, SHARED, by_first(0.5), 0.0)
    assert found.adapter is (trained if used else None)
    assert (found.shared, found.judged) == (SHARED, digest(trained.vector.tobytes()))


def test_a_worse_one_leaves_the_one_before(worse_one: float = 0.4) -> None:
    in_use = held(0.2)
    assert judge(record_of(in_use), held(worse_one), SHARED, by_first(0.5), 0.0).adapter is in_use
    better = held(0.1)
    assert judge(record_of(in_use), better, SHARED, by_first(0.5), 0.0).adapter is better


def test_over_a_new_shared_adapter_it_is_judged_again() -> None:
    trained = held(0.4)
    known = record_of(trained)
    asked: list[HeldAdapter | None] = []

    def score(personal: HeldAdapter | None) -> float | None:
        asked.append(personal)
        return by_first(0.3)(personal)

    assert judge(known, trained, SHARED, score, 0.0) is known and asked == []
    moved = judge(known, trained, NEXT, score, 0.0)
    assert moved.adapter is None and moved.shared == NEXT
    assert judge(moved, trained, NEXT, by_first(0.3), 0.0) is moved
    back = judge(moved, trained, SHARED, by_first(0.5), 0.0)  # the owner went back: it is good there
    assert back.adapter is trained


def test_without_examples_the_newest_is_used() -> None:
    trained = held(0.9)
    assert judge(record_of(held(0.1)), trained, SHARED, by_first(None), 0.0).adapter is trained


def test_what_several_steps_lose_is_no_more_than_one_may() -> None:
    found = judge(record_of(held(0.58)), held(0.66), SHARED, by_first(0.5), 0.1)
    assert found.adapter is not None and found.adapter.vector[0] == np.float32(0.58)


def test_one_of_another_shape_is_not_kept() -> None:
    other = held(0.1, spec=SPEC.model_copy(update={"rank": 2}))
    assert judge(record_of(other), held(0.9), SHARED, by_first(0.5), 0.0).adapter is None


# What the store keeps


@pytest.mark.parametrize("adapter", [held(0.1, 0.2, 0.3), None])
def test_a_record_comes_back_as_it_was(adapter: HeldAdapter | None) -> None:
    found = PersonalRecord.from_bytes(PersonalRecord(adapter, SHARED, NEXT).to_bytes())
    assert (found.shared, found.judged) == (SHARED, NEXT)
    if adapter is None:
        assert found.adapter is None
    else:
        assert found.adapter is not None and found.adapter.spec == adapter.spec
        assert found.adapter.vector.tobytes() == adapter.vector.tobytes()


@pytest.mark.parametrize("row", [b"", b"{}", b"[]\n", b'{"spec": 3, "vector": "", "shared": "", "judged": ""}\n'])
def test_a_record_in_no_form_is_said_without_its_words(row: bytes) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        PersonalRecord.from_bytes(row)
    whole = record_of(held(1.0)).to_bytes()
    with pytest.raises(BadInput, match="cannot be read"):
        PersonalRecord.from_bytes(whole[:-1])


# What the gateway of the device sees


@pytest.fixture
def home(tmp_path: Path) -> DeviceHome:
    return DeviceHome.make(tmp_path / "device", {"server": {"url": "https://localhost:9"}}, "no certificate")


@pytest.fixture
def journal(home: DeviceHome) -> Iterator[Journal]:
    with home.journal("file", create=True) as opened:
        yield opened


def install(home: DeviceHome, value: float) -> str:
    """Put a shared adapter into use, as the installer does."""
    spec = SPEC.model_copy(update={"method": "ffa"})
    vector = np.full(spec.dimension, value, dtype="<f4")
    name, folders = digest(vector.tobytes()), AdapterFolders(home)
    home.adapters.mkdir(exist_ok=True)
    folders.part(name).write_bytes(vector.tobytes())
    folders.keep(name, spec, vector)
    folders.turn(name)
    return name


def test_a_device_without_adapters_has_none(home: DeviceHome, journal: Journal) -> None:
    with DeviceAdapters.open(home.path, "auto") as device:
        found, problems = device.look()
        assert (found.digest, found.shared, found.personal, problems) == ("", None, None, ())
        assert device.model() == ""
        journal.place(Placement(state="admitted", model="made-up"))
        assert device.model() == "made-up"


def test_what_changes_is_seen_and_what_does_not_stays_the_same_object(home: DeviceHome, journal: Journal) -> None:
    with DeviceAdapters.open(home.path, "auto") as device:
        first = install(home, 0.5)
        found, _ = device.look()
        assert found.digest == first and found.shared is not None
        assert found.shared.vector.tobytes() == np.full(3, 0.5, dtype="<f4").tobytes()
        assert device.look()[0] == found and device.look()[0].shared is found.shared
        journal.keep_personal(record_of(held(0.1), first))
        with_personal, _ = device.look()
        assert with_personal.shared is found.shared and with_personal.personal is not None
        assert with_personal.personal.vector[0] == np.float32(0.1)
        second = install(home, 0.6)
        moved, _ = device.look()
        assert (moved.digest, moved.personal) == (second, None)  # it was judged over the first
        journal.keep_personal(record_of(held(0.1), second))
        assert device.look()[0].personal is not None
        journal.forget_personal()
        assert device.look()[0].personal is None
        AdapterFolders(home).turn("")
        assert device.look()[0].digest == ""


@pytest.mark.parametrize("how", ["gone", "half removed", "changed"])
def test_a_broken_folder_leaves_what_was_read_before(home: DeviceHome, journal: Journal, how: str) -> None:
    with DeviceAdapters.open(home.path, "auto") as device:
        install(home, 0.5)
        before, _ = device.look()
        raw = home.adapters / install(home, 0.6) / "vector.f32"
        whole = raw.read_bytes()
        match how:
            case "gone":
                raw.parent.rename(home.path / "elsewhere")
            case "half removed":
                raw.unlink()
            case "changed":
                raw.write_bytes(whole[:-1] + b"\0")
        for _ in range(2):
            found, problems = device.look()
            assert found == before and [problem.which for problem in problems] == ["shared"]
        assert install(home, 0.7) == device.look()[0].digest and device.look()[1] == ()


def test_a_locked_store_leaves_the_shared_adapter_to_be_followed(home: DeviceHome, journal: Journal) -> None:
    with DeviceAdapters.open(home.path, "auto") as device:
        name = install(home, 0.5)
        journal.keep_personal(record_of(held(0.1), name))
        before, _ = device.look()
        journal._vault.rotate(RawKey.generate())
        found, problems = device.look()
        assert found == before and [(p.which, p.kind) for p in problems] == [("personal", "VaultLocked")]
        assert device.look()[0].digest == name
        again = install(home, 0.6)
        assert device.look()[0].digest == again


def test_a_device_that_leaves_takes_its_adapters_along(home: DeviceHome, journal: Journal) -> None:
    with DeviceAdapters.open(home.path, "auto") as device:
        journal.keep_personal(record_of(held(0.1), install(home, 0.5)))
        assert device.look()[0].personal is not None
        journal.erase()
        AdapterFolders(home).turn("")
        for end in ("", "-wal", "-shm", ".key", ".lock"):
            home.store.with_name(home.store.name + end).unlink(missing_ok=True)
        found, problems = device.look()
        assert (found.digest, found.personal, problems) == ("", None, ())
        with home.journal("file", create=True) as another:  # it enrols again
            another.keep_personal(record_of(held(0.2), install(home, 0.6)))
            mine = device.look()[0].personal
            assert mine is not None and mine.vector[0] == np.float32(0.2)


def test_a_wrong_key_and_a_folder_of_no_device_are_said(home: DeviceHome, journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no device"):
        DeviceAdapters.open(tmp_path, "auto")
    other = tmp_path / "other.key"
    other.write_bytes(home.store.with_name("store.vault.key").read_bytes()[::-1])
    other.chmod(0o600)
    with pytest.raises(BadInput):
        DeviceAdapters.open(home.path, f"file:{other}")


def test_nothing_of_it_lies_on_the_disk_in_clear(home: DeviceHome, journal: Journal) -> None:
    personal = HeldAdapter(SPEC, np.random.default_rng(1).normal(size=SPEC.dimension).astype(np.float32))
    journal.keep_personal(record_of(personal, SHARED))
    assert sealed.newest_number(journal._vault, sealed.PERSONAL)
    kept = b"".join(path.read_bytes() for path in home.path.rglob("*") if path.is_file())
    assert personal.vector.tobytes()[:8] not in kept and b"made-up" not in kept and SHARED.encode() not in kept


# As the device does it after its rounds


FFA = SPEC.model_copy(update={"method": "ffa"})


def state_of(value: float, rank: int = 1) -> RecordDict:
    """What a device remembers after a round that trained a personal adapter."""
    vector = np.full(personal_spec(FFA, rank).dimension, value, dtype=np.float32)
    return RecordDict({STATE_PERSONAL: ArrayRecord([vector])})


def judge_of(home: DeviceHome, journal: Journal, rank: int = 1) -> PersonalJudge:
    """Losses: the first number of the personal adapter, or of the shared one where it is alone."""

    def loss(shared: Vector, personal: HeldAdapter | None) -> float:
        return float(shared[0] if personal is None else personal.vector[0])

    return PersonalJudge(home, journal, FFA, rank, 0.0, loss)


def used_by(home: DeviceHome) -> float | None:
    """By the first number of it, what the gateway has."""
    with DeviceAdapters.open(home.path, "auto") as device:
        found = device.look()[0].personal
    return None if found is None else float(found.vector[0])


def in_use(journal: Journal, name: str) -> None:
    journal.note_adapter(AdapterState(in_use=Kept(vector=name)))


def test_the_gateway_gets_what_the_device_has_judged(home: DeviceHome, journal: Journal) -> None:
    judging = judge_of(home, journal)
    assert judging.consider(RecordDict()) is None and used_by(home) is None
    in_use(journal, install(home, 0.5))
    assert judging.consider(state_of(0.25)) is True and used_by(home) == 0.25
    assert judging.consider(state_of(0.25)) is None  # nothing new
    assert judging.consider(state_of(0.375)) is True and used_by(home) == 0.25  # worse than the one before
    in_use(journal, install(home, 0.125))
    assert used_by(home) is None  # until it is judged over this one
    assert judging.consider(state_of(0.375)) is False and used_by(home) is None
    in_use(journal, install(home, 0.5))
    assert judging.consider(state_of(0.375)) is True and used_by(home) == 0.375


def test_it_is_judged_over_the_model_alone_where_no_shared_one_is(home: DeviceHome, journal: Journal) -> None:
    assert judge_of(home, journal).consider(state_of(0.0)) is True and used_by(home) == 0.0


def test_an_owner_who_wants_none_has_none(home: DeviceHome, journal: Journal) -> None:
    judge_of(home, journal).consider(state_of(0.0))
    assert judge_of(home, journal, rank=0).consider(state_of(0.0)) is False and used_by(home) is None
    assert judge_of(home, journal, rank=0).consider(state_of(0.0)) is None
    assert judge_of(home, journal, rank=2).consider(state_of(0.0)) is None  # of the old rank: the next round makes one
    assert judge_of(home, journal, rank=2).consider(state_of(0.0, rank=2)) is True


def test_a_folder_that_is_gone_leaves_it_as_it_was(home: DeviceHome, journal: Journal) -> None:
    in_use(journal, "c" * 64)
    with pytest.raises(BadInput, match="not whole"):
        judge_of(home, journal).consider(state_of(0.0))
    assert journal.personal() is None
