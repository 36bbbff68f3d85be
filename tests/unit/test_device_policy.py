"""When a device may train: what its owner asked for, and what counts where the machine cannot tell."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tacit_clients.device.data import device_data
from tacit_clients.device.policy import Surroundings, obstacle
from tacit_clients.device.settings import DataSettings, DeviceSettings, PolicySettings
from tacit_privacy.errors import BadInput

SERVER = {"server": {"url": "https://fleet.example:8443"}}


def around(
    charging: bool | None = True, metered: bool | None = False, busy: float = 0.0, hour: float = 12.0
) -> Surroundings:
    moment = datetime(2026, 1, 1, int(hour), int(hour % 1 * 60))
    return Surroundings(lambda: charging, lambda: metered, lambda: busy, lambda: moment)


@pytest.mark.parametrize(
    ("policy", "surroundings", "word"),
    [
        ({}, around(charging=False, metered=True, busy=99), ""),
        ({"charging": True}, around(), ""),
        ({"charging": True}, around(charging=False), "battery"),
        ({"charging": True}, around(charging=None), "battery"),
        ({"unmetered": True}, around(), ""),
        ({"unmetered": True}, around(metered=True), "metered"),
        ({"unmetered": True}, around(metered=None), "metered"),
        ({"idle": True}, around(busy=10), ""),
        ({"idle": True}, around(busy=80), "busy"),
        ({"hours": "22:00-06:00"}, around(hour=23.5), ""),
        ({"hours": "22:00-06:00"}, around(hour=5.9), ""),
        ({"hours": "22:00-06:00"}, around(hour=6.0), "hours"),
        ({"hours": "09:00-17:00"}, around(hour=9.0), ""),
        ({"hours": "09:00-17:00"}, around(hour=17.0), "hours"),
    ],
)
def test_a_device_trains_when_its_owner_allows(policy: dict[str, Any], surroundings: Surroundings, word: str) -> None:
    assert obstacle(PolicySettings(**policy), surroundings) == word


def test_this_machine_can_be_asked() -> None:
    real = Surroundings.real()
    answers: list[Callable[[], Any]] = [real.charging, real.metered, real.busy_percent, real.busy_percent]
    assert [isinstance(answer(), bool | float | None) for answer in answers] == [True] * 4


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({}, "server"),
        ({"server": {"url": "http://fleet.example:8443"}}, "https://host:port"),
        ({"server": {"url": "https://fleet.example"}}, "https://host:port"),
        ({"server": {"url": "https://fleet.example:99999"}}, "https://host:port"),
        ({**SERVER, "policy": {"hours": "late"}}, "22:00-06:00"),
        ({**SERVER, "data": {"path": "a", "vault": "b"}}, "two sources"),
        ({**SERVER, "policy": {"charginng": True}}, "did you mean"),
        ({**SERVER, "limits": {"nice": 40}}, "nice"),
    ],
)
def test_settings_that_make_no_sense_are_one_sentence(table: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why) as refused:
        DeviceSettings.of(table, "device.toml")
    assert "\n" not in str(refused.value) and str(refused.value).startswith("device.toml")


def test_one_example_in_so_many_scores_and_trains_nothing(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(f'{{"prompt": "p{n}", "target": "t"}}\n' for n in range(20)))
    data = device_data(DataSettings(path=path, held_out=5))
    assert [example.prompt for example in data.test] == ["p4", "p9", "p14", "p19"]
    assert len(data.train) == 16 and not set(data.train) & set(data.test)
    newest = device_data(DataSettings(path=path, held_out=5, most=6))
    assert {example.prompt for example in (*newest.train, *newest.test)} == {f"p{n}" for n in range(14, 20)}


def test_no_source_is_no_data(tmp_path: Path) -> None:
    assert device_data(DataSettings()).train == ()
    assert device_data(DataSettings(vault=tmp_path / "none.vault")).train == ()
    (tmp_path / "empty").write_text("")
    assert device_data(DataSettings(path=tmp_path / "empty")).train == ()


@pytest.mark.parametrize("line", ["{", "[]", '{"prompt": 3}', '{"target": "x"}', '{"prompt": "secret", "target": 5}'])
def test_a_line_that_is_no_example_is_named_and_not_quoted(tmp_path: Path, line: str) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"prompt": "good", "target": "t"}\n' + line + "\n")
    with pytest.raises(BadInput, match="line 2 of") as refused:
        device_data(DataSettings(path=path))
    assert "secret" not in str(refused.value)
