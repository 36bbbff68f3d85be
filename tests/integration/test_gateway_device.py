"""The gateway of a device takes its new adapters while it answers, and its personal adapter without a file."""

import asyncio
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gateways import Running, running
from upstreams import Upstream

from tacit_clients.commands.gateway import _local
from tacit_clients.device.folders import AdapterFolders
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.in_use import InUse
from tacit_clients.device.journal import Journal
from tacit_clients.device.personal import PersonalRecord
from tacit_clients.gateway.following import Following, device_of
from tacit_clients.gateway.settings import GatewaySettings, LocalSettings
from tacit_clients.slm.adapters import build_spec
from tacit_clients.slm.generation import LocalModel
from tacit_clients.slm.models import NANO, NANO_FOLDER, LanguageModel, load, single_thread
from tacit_clients.slm.places import HeldAdapter
from tacit_clients.slm.resident import Resident
from tacit_clients.training.personal import personal_spec
from tacit_privacy.adapter_folder import save_adapter
from tacit_privacy.contract import AdapterSpec, digest
from tacit_privacy.enrolment import Placement
from tacit_privacy.errors import BadInput
from tacit_privacy.randomness import stream

ASKED = "send a message to Tom that I am late"


@pytest.fixture(scope="module")
def nano() -> LanguageModel:
    single_thread()
    return load(NANO)


@pytest.fixture(scope="module")
def spec(nano: LanguageModel) -> AdapterSpec:
    return build_spec(nano, "ffa", 4, 8.0, 7, ("o_proj", "down_proj"))


def drawn(spec: AdapterSpec, seed: int, size: float = 0.1) -> HeldAdapter:
    return HeldAdapter(spec, stream(seed, "adapter").normal(0, size, spec.dimension).astype(np.float32))


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def said(model: LocalModel, **settings: Any) -> str:
    answer = run(model.answer([{"role": "user", "content": ASKED}], max_tokens=12, **settings))
    assert isinstance(answer.text, str)
    return answer.text


@pytest.fixture
def local() -> Iterator[LocalModel]:
    model = LocalModel.open()
    yield model
    run(model.close())


# Adapters in memory


@pytest.mark.parametrize("method", ["ffa", "lora"])
def test_an_adapter_in_memory_speaks_as_its_folder_does(
    local: LocalModel, spec: AdapterSpec, tmp_path: Path, method: Any
) -> None:
    shared = drawn(spec.model_copy(update={"method": method}), 1)
    personal = drawn(personal_spec(spec, 2), 2)
    for name, held in (("shared", shared), ("personal", personal)):
        save_adapter(tmp_path / name, held.spec, held.vector)
    bare = said(local)
    run(local.swap_both(tmp_path / "shared", tmp_path / "personal"))
    from_folders = said(local), said(local, personal=False)
    run(local.swap_both(shared, personal))
    assert (said(local), said(local, personal=False)) == from_folders
    assert len({bare, *from_folders}) == 3
    run(local.swap_both(shared, None))
    assert said(local) == from_folders[1]  # what may leave is written without it
    run(local.swap_both(None, None))
    assert said(local) == bare


def test_an_adapter_in_memory_is_opened_with(spec: AdapterSpec, local: LocalModel) -> None:
    shared = drawn(spec, 1)
    opened = LocalModel.open(adapter=shared)
    opened.check()
    assert not opened.loaded
    run(local.swap(shared))
    assert said(opened) == said(local)
    run(opened.close())


@pytest.mark.parametrize("how", ["another model", "too short", "not finite", "a classifier", "other modules"])
def test_one_that_does_not_fit_changes_nothing(
    local: LocalModel, nano: LanguageModel, spec: AdapterSpec, how: str
) -> None:
    before = said(local)
    bad = {
        "another model": drawn(spec.model_copy(update={"model": "other"}), 1),
        "too short": HeldAdapter(spec, np.zeros(3, dtype=np.float32)),
        "not finite": HeldAdapter(spec, np.full(spec.dimension, np.nan, dtype=np.float32)),
        "a classifier": drawn(build_spec(nano, "ffa", 4, 8.0, 7, ("o_proj",), labels=2), 1),
        "other modules": drawn(
            spec.model_copy(update={"linear": (spec.linear[0].model_copy(update={"name": "no.such"}),)}), 1
        ),
    }[how]
    with pytest.raises(BadInput, match="adapter"):
        run(local.swap(bad))
    assert said(local) == before


def test_a_new_threads_first_request_waits_for_no_swap(spec: AdapterSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two threads has answered; the other begins while a swap takes as long as it takes."""
    building, go_on = threading.Event(), threading.Event()
    real = Resident.variants

    def slow(resident: Resident, adapter: Any, personal: Any) -> Any:
        building.set()
        assert go_on.wait(30)
        return real(resident, adapter, personal)

    async def ask() -> list[str]:
        async with LocalModel.open(max_concurrent=2) as model:
            await model.ready()
            monkeypatch.setattr(Resident, "variants", slow)
            swapping = asyncio.create_task(model.swap(drawn(spec, 1)))
            assert await asyncio.to_thread(building.wait, 30)
            question = [{"role": "user", "content": ASKED}]
            both = asyncio.gather(*(model.answer(question, max_tokens=12) for _ in range(2)))
            answers = await asyncio.wait_for(both, 20)
            go_on.set()
            await swapping
            return [answer.text for answer in answers]

    assert len(set(run(ask()))) == 1


# Following a device


@dataclass
class Owned:
    """A device's directory as ``tacit device run`` leaves it."""

    home: DeviceHome
    journal: Journal
    spec: AdapterSpec

    def install(self, seed: int) -> str:
        held, folders = drawn(self.spec, seed), AdapterFolders(self.home)
        data = held.vector.astype("<f4").tobytes()
        self.home.adapters.mkdir(exist_ok=True)
        folders.part(digest(data)).write_bytes(data)
        folders.keep(digest(data), held.spec, held.vector)
        folders.turn(digest(data))
        return digest(data)

    def personal(self, seed: int) -> None:
        held = drawn(personal_spec(self.spec, 2), seed)
        shared = AdapterFolders(self.home).linked()
        self.journal.keep_personal(PersonalRecord(held, shared, digest(held.vector.tobytes())))

    def settings(self, **more: Any) -> LocalSettings:
        return LocalSettings.model_validate({"device": self.home.path, **more})


@pytest.fixture
def owned(tmp_path: Path, spec: AdapterSpec) -> Iterator[Owned]:
    home = DeviceHome.make(tmp_path / "device", {"server": {"url": "https://localhost:9"}}, "no certificate")
    with home.journal("file", create=True) as journal:
        journal.place(Placement(state="admitted", model=NANO))
        yield Owned(home, journal, spec)


@dataclass
class Beside:
    """A gateway of the device, and what it says."""

    gate: Running

    def answer(self) -> str:
        return self.gate.said(ASKED, model="tacit/local", max_tokens=12)

    @property
    def adapter(self) -> str:
        found = self.gate.client.get("/health").json()["adapter"]
        assert isinstance(found, str)
        return found

    def shows(self, digest: str) -> None:
        """Wait until it answers with this adapter."""
        self.eventually(lambda: self.adapter == digest[:12])

    def logged(self) -> list[dict[str, Any]]:
        return [row for row in map(json.loads, self.gate.log.splitlines()) if "adapter of the device" in row["event"]]

    def eventually(self, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < until, self.gate.log
            time.sleep(0.02)


def more_than(answers: list[str], count: int) -> bool:
    return len(answers) > count


@pytest.fixture
def beside(owned: Owned, end: Upstream) -> Iterator[Beside]:
    owned.install(1)
    device, model = device_of(owned.settings())
    with device:
        start, problems = device.look()
        assert problems == ()
        local = LocalModel.open(model, start.shared, personal=start.personal)
        with running(end, None, local, following=Following(local, device, start, every_s=0.05)) as gate:
            yield Beside(gate)
        run(local.close())


def test_it_answers_with_the_device_s_adapter_and_takes_the_next(
    owned: Owned, beside: Beside, local: LocalModel
) -> None:
    run(local.swap(drawn(owned.spec, 1)))
    assert beside.answer() == said(local)
    first = beside.adapter
    second = owned.install(2)
    beside.shows(second)
    assert first != second[:12]
    run(local.swap(drawn(owned.spec, 2)))
    assert beside.answer() == said(local)
    owned.personal(3)
    beside.eventually(lambda: len(beside.logged()) == 2)
    run(local.swap_personal(drawn(personal_spec(owned.spec, 2), 3)))
    assert beside.answer() == said(local) != said(local, personal=False)
    page = beside.gate.client
    page.get(beside.gate.gateway.sessions.link())
    assert f"with adapter {second[:12]} of its fleet, and with your personal adapter" in page.get("/").text
    assert [(row["adapter"], row["reason"]) for row in beside.logged()] == [
        (second[:12], "shared"),
        (second[:12], "personal"),
    ]


def test_a_broken_adapter_is_logged_once_and_the_old_one_stays(owned: Owned, beside: Beside) -> None:
    before, adapter = beside.answer(), beside.adapter
    (owned.home.adapters / owned.install(2) / "vector.f32").unlink()
    beside.eventually(lambda: bool(beside.logged()))
    time.sleep(0.3)
    assert (beside.answer(), beside.adapter) == (before, adapter)
    (row,) = beside.logged()
    assert (row["level"], row["kind"], row["reason"]) == ("error", "BadInput", "shared")
    assert row["event"] == "adapter of the device cannot be read: the one before stays"
    third = owned.install(3)
    beside.shows(third)


def test_one_that_the_model_cannot_take_is_logged_and_the_old_one_stays(owned: Owned, beside: Beside) -> None:
    before, adapter = beside.answer(), beside.adapter
    good, owned.spec = owned.spec, owned.spec.model_copy(update={"model": "another"})
    other = owned.install(2)
    beside.eventually(lambda: bool(beside.logged()))
    time.sleep(0.3)
    assert (beside.answer(), beside.adapter) == (before, adapter)
    (row,) = beside.logged()
    assert row["event"] == "adapter of the device cannot be used: the one before stays"
    assert (row["kind"], row["adapter"]) == ("BadInput", other[:12])
    owned.spec = good
    third = owned.install(3)
    beside.shows(third)


def test_no_request_fails_or_mixes_while_adapters_come_and_go(owned: Owned, beside: Beside, local: LocalModel) -> None:
    """Answers that run while a link turns are those of one adapter or of another, from the first word to the last."""
    known = {}
    for seed in (1, 2, 3):
        run(local.swap(drawn(owned.spec, seed)))
        known[said(local)] = seed
    assert len(known) == 3
    answers: list[str] = []
    ending = threading.Event()

    def ask() -> None:
        while not ending.is_set():
            answers.append(beside.answer())

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for seed in (2, 3, 1, 2):
        name, so_far = owned.install(seed), len(answers)
        beside.shows(name)
        beside.eventually(partial(more_than, answers, so_far + 3))
    ending.set()
    for thread in threads:
        thread.join(30)
    assert {known[text] for text in answers} == {1, 2, 3}
    assert known[beside.answer()] == 2


def test_without_an_adapter_the_plain_model_answers_until_the_first(
    owned: Owned, end: Upstream, local: LocalModel
) -> None:
    device, model = device_of(owned.settings())
    with device:
        start, _ = device.look()
        assert start == InUse()
        following = LocalModel.open(model)
        with running(end, None, following, following=Following(following, device, start, every_s=0.05)) as gate:
            plain = Beside(gate)
            assert plain.answer() == said(local) and plain.adapter == ""
            first = owned.install(1)
            plain.shows(first)
            run(local.swap(drawn(owned.spec, 1)))
            assert plain.answer() == said(local)
        run(following.close())


def test_one_that_was_broken_from_the_start_is_logged_and_the_plain_model_answers(owned: Owned, end: Upstream) -> None:
    (owned.home.adapters / owned.install(1) / "vector.f32").unlink()
    device, model = device_of(owned.settings())
    with device:
        start, problems = device.look()
        assert start == InUse() and len(problems) == 1
        local = LocalModel.open(model)
        with running(end, None, local, following=Following(local, device, start, every_s=0.05)) as gate:
            plain = Beside(gate)
            assert plain.answer()
            plain.eventually(lambda: len(plain.logged()) == 1)
        run(local.close())


# What the settings say


def test_the_model_is_the_device_s_own(owned: Owned) -> None:
    owned.journal.place(Placement(state="admitted", model="a/model"))
    with device_of(owned.settings())[0] as device:
        assert device_of(owned.settings())[1] == device.model() == "a/model"
    with pytest.raises(BadInput, match=r"learns with a/model, not with tacit-nano; leave --slm out"):
        device_of(owned.settings(model=NANO))


def test_a_device_that_was_not_let_in_yet_knows_no_model(tmp_path: Path) -> None:
    home = DeviceHome.make(tmp_path / "device", {"server": {"url": "https://localhost:9"}}, "no certificate")
    with home.journal("file", create=True):
        device, model = device_of(LocalSettings(device=home.path))
        device.close()
        assert model == NANO


@pytest.mark.parametrize(
    ("local", "word"),
    [
        ({"device": "d", "adapter": "a"}, "brings its own adapters; leave out --adapter"),
        ({"device": "d", "personal": "a"}, "brings its own adapters"),
        ({"device_key": "file"}, "add --device DIR"),
    ],
)
def test_a_device_excludes_what_it_brings(local: dict[str, str], word: str, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    table = "".join(f'{name} = "{value}"\n' for name, value in local.items())
    file.write_text(f'[upstream]\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\n[local]\n{table}')
    with pytest.raises(BadInput, match=word) as refused:
        GatewaySettings.read(file, {})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("form", "alike"), [(None, True), ("plain", True), ("chat", False)])
def test_over_a_chat_model_a_device_answers_in_the_form_that_its_fleet_learnt(
    owned: Owned, tmp_path: Path, form: str | None, alike: bool
) -> None:
    folder = tmp_path / "chat"
    shutil.copytree(NANO_FOLDER, folder)
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<|pad|>{{ m.role }}: {{ m.content }}{% endfor %}"
    )
    owned.journal.place(Placement(state="admitted", model=str(folder)))
    with ExitStack() as opened:
        local, _ = _local(owned.settings(**({} if form is None else {"form": form})), opened)
        plain = LocalModel.open(folder, form="plain")
        assert (said(local) == said(plain)) == alike
        assert run(local.form()) == ("plain" if alike else "chat")
        for model in (local, plain):
            run(model.close())


def test_following_loads_neither_flower_nor_torch(owned: Owned) -> None:
    code = (
        "import sys; from pathlib import Path; from tacit_clients.device.in_use import DeviceAdapters; "
        "from tacit_clients.gateway.following import Following; "
        "device = DeviceAdapters.open(Path(sys.argv[1]), 'auto'); print(device.look()[0].digest); "
        "print([name for name in sys.argv[2:] if name in sys.modules])"
    )
    heavy = ("torch", "flwr", "transformers", "tacit_clients.device.server")
    name = owned.install(1)
    command = [sys.executable, "-c", code, str(owned.home.path), *heavy]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [name, "[]"]
