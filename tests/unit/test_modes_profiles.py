"""Latency and energy of emulated devices, against figures worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_modes import BLANK

from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.modes import profiles
from tacit_simulations.evaluation.modes.measures import Pool
from tacit_simulations.evaluation.modes.profiles import Place, Remote, emulate, place
from tacit_simulations.evaluation.modes.tapping import Work
from tacit_simulations.fleet.catalogue import Profile
from tacit_simulations.fleet.links import LINK_INDEX, LINKS
from tacit_simulations.fleet.network import MeanNetwork, Network

DEVICE = Profile(
    name="made-up",
    tier="phone-mid",
    habit="phone",
    gflops=10.0,
    memory_mb=1000,
    tokens_per_s=2.0,
    idle_w=1.0,
    active_w=4.0,
    battery_wh=10.0,
    source="made up for a test",
)
LINK = LINKS[LINK_INDEX["cellular-4g"]]  # 18 down, 5 up, 2.2 W
WORK = Work(
    local_in=100, local_out=10, calls=2, llm_in=50, llm_out=20, llm_ms=400, bytes_up=6250, bytes_down=22500, gate_ms=8
)
PARAMETERS = 1e9


def pool(work: Work, first: Work = WORK) -> Pool:
    return Pool.of([replace(BLANK, whole=work, first=first)])


def test_a_question_by_hand() -> None:
    found = emulate(pool(WORK), Place(DEVICE, LINK), PARAMETERS, MeanNetwork(), Remote())
    # reads 100 tokens at 2e9 flops each on 10 Gflops: 20 s. Writes 10: 0.2 s of arithmetic, but 4 GB of weights through
    # 2 tokens/s * 2 GB = 4 GB/s: 1 s each.
    assert found.compute_s[0] == pytest.approx(20 + 10)
    # 50,000 bits at 5 Mbit/s, 180,000 at 18 Mbit/s, two round trips of 60 ms
    assert found.network_s[0] == pytest.approx(0.01 + 0.01 + 0.12)
    assert found.llm_s[0] == pytest.approx(0.4)
    assert found.seconds[0] == pytest.approx(30 + 0.14 + 0.4 + 0.008)
    assert found.device_j[0] == pytest.approx(3 * 30)  # beyond idle
    assert found.network_j[0] == pytest.approx(2.2 * 0.02)


def test_arithmetic_bounds_writing_where_memory_is_fast_or_unknown() -> None:
    fast = DEVICE.model_copy(update={"tokens_per_s": 1000.0})
    unknown = DEVICE.model_copy(update={"tokens_per_s": 0.0})
    ten = np.array([10.0])
    assert profiles.seconds_to_write(fast, PARAMETERS, ten)[0] == pytest.approx(2.0)
    assert profiles.seconds_to_write(unknown, PARAMETERS, ten)[0] == pytest.approx(2.0)
    assert profiles.seconds_to_write(DEVICE, PARAMETERS, ten)[0] == pytest.approx(10.0)


def test_a_stated_rate_replaces_the_measured_time() -> None:
    found = emulate(pool(WORK), Place(DEVICE, LINK), PARAMETERS, MeanNetwork(), Remote(tokens_per_s=50, first_s=0.3))
    assert found.llm_s[0] == pytest.approx(2 * 0.3 + 20 / 50)


def test_the_first_text_takes_what_was_done_until_then() -> None:
    begun = Work(local_in=100, local_out=1)
    found = emulate(pool(WORK, begun), Place(DEVICE, LINK), PARAMETERS, MeanNetwork(), Remote(), first=True)
    assert found.seconds[0] == pytest.approx(20 + 1)
    assert found.network_j[0] == 0


def test_what_stays_on_the_device_costs_no_network() -> None:
    found = emulate(pool(Work(local_in=1)), Place(DEVICE, LINK), PARAMETERS, MeanNetwork(), Remote())
    assert (found.network_s[0], found.network_j[0], found.llm_s[0]) == (0, 0, 0)


def test_traces_are_replayed_on_mobile_links_alone_and_alike_for_a_question(tmp_path: Path) -> None:
    (tmp_path / "trace.log").write_text("".join(f"{at} {1 + 9 * (at % 2)}\n" for at in range(60)))
    network = profiles.network_of(tmp_path, 3)
    big = replace(WORK, bytes_up=500_000)
    wired = Place(DEVICE, LINKS[LINK_INDEX["wifi-dsl"]])
    many = Pool.of([replace(BLANK, whole=big) for _ in range(20)])

    def seconds(at: Place, using: Network) -> list[float]:
        return [float(each) for each in emulate(many, at, PARAMETERS, using, Remote()).network_s]

    mobile = seconds(Place(DEVICE, LINK), network)
    assert len(set(mobile)) > 5 and mobile == seconds(Place(DEVICE, LINK), profiles.network_of(tmp_path, 3))
    assert np.mean(mobile) == pytest.approx(np.mean(seconds(Place(DEVICE, LINK), MeanNetwork())), rel=0.2)
    assert seconds(wired, network) == seconds(wired, MeanNetwork())


def test_a_place_is_a_device_over_its_usual_link_or_another() -> None:
    assert str(place("phone-sd730")) == "phone-sd730@cellular-4g"
    assert str(place("pi-5-8gb@wifi-dsl")) == "pi-5-8gb@wifi-dsl"
    for name, word in (("phone-none", "no device profile"), ("pi-5-8gb@pigeon", "no connection pigeon")):
        with pytest.raises(BadInput, match=word):
            place(name)
    for name in profiles.DEFAULTS:
        assert place(name)


def test_every_link_has_a_round_trip() -> None:
    assert set(profiles.ROUND_TRIP_S) == {link.name for link in LINKS} - {"none"}


def test_the_size_of_a_model_is_read_from_its_config(tmp_path: Path) -> None:
    from tacit_clients.slm.models import load

    assert profiles.parameters_of("tacit-nano") == load("tacit-nano").network.num_parameters()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="cannot tell the size"):
        profiles.parameters_of(str(tmp_path))
