"""A device learns from what its owner accepted in the gateway; the gateway answers before, while and after the run's
adapter is taken into use, and is never restarted.
"""

import re
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from deployments import Deployment, eventually, tacit, told
from numpy.typing import NDArray
from processes import Process, gateway

from tacit_clients.device.home import DeviceHome
from tacit_clients.device.settings import DeviceSettings
from tacit_privacy.settings_files import toml_text

pytestmark = pytest.mark.timeout(600)
ASKED = ("turn on the lamp", "turn on the kettle", "play some jazz", "wake me at seven")
PLANTED = ("quibberdock", "Ottilie Grünspan")  # a word of no language, and a name
NOBODY = "http://127.0.0.1:9/v1"
LONG_S = 240.0  # on a machine that has other work


def settle_for_anything(folder: Path) -> None:
    """Let the device take whatever adapter comes, and train one of its own."""
    path = folder / "device.toml"
    table = tomllib.loads(path.read_text())
    table["adapter"], table["owner"] = {"worse_by": 1e6}, {"personal_rank": 2}
    path.write_text(toml_text(table, DeviceSettings))


@dataclass
class Asking:
    """Somebody who asks on and on, and notes what comes."""

    base_url: str
    failed: list[str] = field(default_factory=list)
    adapters: list[str] = field(default_factory=list)  # as they changed
    answers: int = 0
    _ending: threading.Event = field(default_factory=threading.Event)

    def said(self, text: str) -> str:
        body = {"model": "tacit/local", "messages": [{"role": "user", "content": text}], "max_tokens": 12}
        answer = httpx.post(f"{self.base_url}/chat/completions", json=body, trust_env=False, timeout=60)
        if answer.status_code != 200:
            self.failed.append(answer.text)
            return ""
        self.answers += 1
        return str(answer.json()["choices"][0]["message"]["content"])

    def all(self) -> list[str]:
        return [self.said(text) for text in ASKED]

    @property
    def adapter(self) -> str:
        health = httpx.get(f"{self.base_url.removesuffix('/v1')}/health", trust_env=False, timeout=60)
        return str(health.json()["adapter"])

    @contextmanager
    def on_and_on(self) -> Iterator[None]:
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            yield
        finally:
            self._ending.set()
            thread.join(60)

    def _ask(self) -> None:
        while not self._ending.wait(0.5):
            try:
                self.said(ASKED[0])
                adapter = self.adapter
            except httpx.HTTPError as error:
                self.failed.append(type(error).__name__)
                continue
            if self.adapters[-1:] != [adapter]:
                self.adapters.append(adapter)


@dataclass
class OwnersPage:
    """The owner at the gateway's page."""

    client: httpx.Client
    headers: dict[str, str]

    def shows(self, words: str) -> bool:
        return words in self.client.get("/").text

    def does(self, path: str, **fields: str) -> None:
        csrf = re.findall(r'name="csrf" value="([^"]+)"', self.client.get("/").text)[0]
        self.client.post(path, data={"csrf": csrf, **fields}, headers=self.headers).raise_for_status()

    def judges(self, asking: "Asking", planted: tuple[str, ...]) -> int:
        """Accept some answers about what is planted, and correct the others; how many there are to learn from."""
        self.does("/owner/collect", collect="1")
        for number in range(12):
            asking.said(f"turn on the lamp of {planted[number % len(planted)]}")
        waiting = sorted(set(re.findall(r"/owner/answers/(\d+)", self.client.get("/answers").text)), key=int)
        for number in waiting:
            if int(number) % 2:
                self.does(f"/owner/answers/{number}", verdict="accept")
            else:
                self.does(f"/owner/answers/{number}", verdict="correct", answer=f"the lamp of {planted[0]} is on")
        return len(self.client.get("/examples.jsonl").text.splitlines())


@contextmanager
def owners_page(process: Process) -> Iterator[OwnersPage]:
    base = process.base_url.removesuffix("/v1")
    with httpx.Client(base_url=base, trust_env=False, timeout=60, follow_redirects=True) as client:
        client.get(process.page)
        yield OwnersPage(client, {"origin": base, "sec-fetch-site": "same-origin"})


def holding(words: tuple[str, ...], folder: Path) -> list[Path]:
    """Files below ``folder`` that hold one of the words, whoever wrote them."""
    wanted = [word.encode(encoding) for word in words for encoding in ("utf-8", "utf-16-le")]
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(word in data for data in [path.read_bytes()] for word in wanted)
    ]


def in_clear(vector: NDArray[np.float32], folder: Path) -> list[Path]:
    """Files that hold numbers of it."""
    some = vector[np.abs(vector) > 0][:4].tobytes()
    return [path for path in folder.rglob("*") if path.is_file() and some in path.read_bytes()]


def test_the_gateway_takes_a_runs_adapter_while_it_answers(tmp_path: Path) -> None:
    """And the personal adapter over it, which no file holds in clear; then its owner goes back.

    No word of what the device learns from is in any file of the server, the device or the gateway, nor in a log.
    """
    device, mine = tmp_path / "device1", ", and with your personal adapter, which never leaves"
    vault = tmp_path / "gateway.vault"
    with Deployment(tmp_path, devices=10).start() as fleet:
        first, second = fleet.enrol(1, vault=vault.name), fleet.enrol(2)
        settle_for_anything(device)
        with (
            gateway("--upstream", NOBODY, "--model", "m", "--device", str(device), "--vault", str(vault)) as process,
            owners_page(process) as page,
        ):
            asking, shows = Asking(process.base_url), page.shows
            plain = asking.all()
            examples = page.judges(asking, PLANTED)
            assert examples >= 10, "the device has too little to learn from"
            assert PLANTED[0] in page.client.get("/examples.jsonl").text, "what is looked for is not in the examples"
            found = tacit("doctor", "--device", "device1", folder=tmp_path, code=None)
            assert f"{examples - examples // 10} examples to learn from" in found, found
            first.start()
            second.start()
            with asking.on_and_on():
                fleet.schedule("first", "--rounds", "1", "--cohort", "2")
                assert fleet.ended("first", LONG_S)["state"] == "finished", fleet.up.said()
                first.stop()
                first.start()  # it reports when it begins, and hears of the adapter
                eventually(lambda: asking.adapter, "no adapter answers", LONG_S)
                installed = str(told("device", "status", "--dir", "device1", folder=tmp_path)["adapter"]["vector"])
                eventually(lambda: shows(f"adapter {installed[:12]} of its fleet{mine}"), "no personal adapter", LONG_S)
                adapted = asking.all()
                back = told("device", "rollback", "--dir", "device1", folder=tmp_path)
                eventually(
                    lambda: shows(f"without an adapter of its fleet so far{mine}"), "it does not go back", LONG_S
                )
                alone = asking.all()
            assert asking.failed == [] and asking.answers > 3 * len(ASKED)
            assert asking.adapters == ["", installed[:12], ""]
            assert plain != adapted != alone != plain
            assert (back["rolled_back"], back["vector"]) == (installed, "")
            assert process.stop() == 0 and not any(word in process.stderr for word in ("Traceback", *PLANTED))
        assert first.stop() == 0, first.said()
        assert f"went back from adapter {installed[:12]}" in tacit(
            "device", "status", "--dir", "device1", folder=tmp_path
        )
    with DeviceHome.open(device).journal() as journal:
        record = journal.personal()
    assert record is not None and record.adapter is not None and record.shared == ""
    assert in_clear(record.adapter.vector, tmp_path) == [] and holding(PLANTED, tmp_path) == []
