"""Example-level DP-SGD is a guarantee of its own: never a part of the ledger's, never in a reply, and really noised."""

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, RecordDict
from tiny import TINY

from tacit_clients.app import STATE_EXAMPLE_DP, Device, answer
from tacit_clients.slm.adapters import AdaptedModel, build_spec, initial_vector
from tacit_clients.slm.models import NANO, load, single_thread
from tacit_clients.training.example_dp import ExampleSpent, _grid_sum, total_epsilon
from tacit_clients.training.examples import DeviceData, Example, Task
from tacit_privacy.accounting.poisson import epsilon_poisson
from tacit_privacy.contract import LEVELS, RECORD_RECEIPT, RECORD_UPDATE, ExampleDp, LocalTraining, RoundTerms
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_privacy.randomness import stream
from tacit_simulations import devices
from tacit_simulations.evaluation.example_level import example_level
from tacit_simulations.progress import Silent
from tacit_simulations.report import report
from tacit_simulations.report.sections.budget import upwards
from tacit_simulations.run import simulate
from tacit_simulations.scenario import load_scenario

DATA = tuple(Example(f"turn lamp {i} on", f"lamp {i} on") for i in range(8))
DP = ExampleDp(noise_multiplier=1.3, clip_norm=0.5, expected_batch=4, delta=1e-5)
PRIVATE = LocalTraining(optimizer="sgd", learning_rate=1.0, batch_size=4, max_steps=2, example_dp=DP)


@pytest.fixture(scope="module")
def adapted() -> Iterator[AdaptedModel]:
    single_thread()
    nano = load(NANO)
    model = AdaptedModel(nano, build_spec(nano, "ffa", 1, 2.0, 0, ("o_proj",)))
    yield model
    model.remove()


def terms(adapted: AdaptedModel, number: int, training: LocalTraining) -> RoundTerms:
    return RoundTerms(
        run="run",
        round=number,
        version=0,
        spec=adapted.spec,
        rank=adapted.spec.rank,
        clip_norm=5.0,
        training=training,
        participations=9,
        deadline=0.0,
        ledger_head="0" * 64,
        ledger_length=number,
    )


def ask(
    adapted: AdaptedModel, state: RecordDict, number: int = 1, training: LocalTraining = PRIVATE, **device: Any
) -> RecordDict:
    """One round on a device of eight examples."""
    payload = terms(adapted, number, training).to_bytes()
    content = RecordDict({"adapter": ArrayRecord([initial_vector(adapted.spec)])})
    content["terms"] = ConfigRecord({"payload": payload, "signature": b""})
    chosen = Device("me", DeviceData(DATA, ()), Task.INSTRUCT, adapted, partial(stream, 1, "order"), **device)
    return answer(content, state, chosen)


def update(reply: RecordDict) -> np.ndarray:
    (vector,) = reply.array_records[RECORD_UPDATE].to_numpy_ndarrays()
    return np.asarray(vector)


def test_a_device_keeps_its_own_account_and_says_nothing_of_it(adapted: AdaptedModel) -> None:
    state = RecordDict()
    for number in (1, 2, 3):
        reply = ask(adapted, state, number)
        assert set(reply) == {RECORD_UPDATE, RECORD_RECEIPT}
        payload = reply.config_records[RECORD_RECEIPT]["payload"]
        assert isinstance(payload, bytes) and not {"epsilon", "noise", "spent"} & set(json.loads(payload))
    account = dict(state.config_records[STATE_EXAMPLE_DP])
    assert account == {"1.3/0.5": 6}  # steps at this noise and rate, over three rounds of two
    spent = [ExampleSpent(1.3, 0.5, 6, DP.delta)]
    assert total_epsilon(spent, DP.delta) == pytest.approx(epsilon_poisson(1.3, 0.5, 6, DP.delta))


def test_steps_of_another_kind_are_counted_apart(adapted: AdaptedModel) -> None:
    state = RecordDict()
    louder = PRIVATE.model_copy(update={"example_dp": DP.model_copy(update={"noise_multiplier": 2.0})})
    for number, training in enumerate((PRIVATE, louder, PRIVATE), 1):
        ask(adapted, state, number, training)
    account = dict(state.config_records[STATE_EXAMPLE_DP])
    assert account == {"1.3/0.5": 4, "2.0/0.5": 2}
    spent = [ExampleSpent(1.3, 0.5, 4, 1e-5), ExampleSpent(2.0, 0.5, 2, 1e-5)]
    least, most = (epsilon_poisson(noise, 0.5, 6, 1e-5) for noise in (2.0, 1.3))
    assert least < total_epsilon(spent, 1e-5) < most


def test_without_it_a_device_keeps_no_such_account(adapted: AdaptedModel) -> None:
    state = RecordDict()
    ask(adapted, state, 1, PRIVATE.model_copy(update={"example_dp": None}))
    assert STATE_EXAMPLE_DP not in state


def test_the_update_that_leaves_is_noised(adapted: AdaptedModel) -> None:
    """Two draws of the operating system's noise differ by what two steps of it add up to, and by nothing else: every
    example joins every step.
    """
    whole = DP.model_copy(update={"expected_batch": len(DATA)})
    everybody = PRIVATE.model_copy(update={"example_dp": whole, "epochs": PRIVATE.max_steps})
    one, other = (update(ask(adapted, RecordDict(), training=everybody)) for _ in range(2))
    steps, per_step = PRIVATE.max_steps, DP.noise_multiplier * DP.clip_norm / len(DATA)
    found = np.std((one - other).astype(np.float64)) * 5.0 / terms(adapted, 1, PRIVATE).levels
    assert found == pytest.approx(per_step * np.sqrt(2 * steps), rel=0.15)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_an_example_without_a_gradient_counts_as_zeros(wrong: float) -> None:
    gradients = np.ones((3, 4), dtype=np.float32)
    gradients[1, 2] = wrong
    found = _grid_sum(gradients, DP, LEVELS)
    np.testing.assert_array_equal(found, _grid_sum(gradients[[0, 2]], DP, LEVELS))
    assert found.any()


def test_what_noise_carries_beyond_all_numbers_is_spent_and_sends_zeros(adapted: AdaptedModel) -> None:
    state = RecordDict()
    wild = PRIVATE.model_copy(update={"learning_rate": 3e38, "epochs": 20, "max_steps": 40})
    reply = ask(adapted, state, training=wild)
    assert set(reply) == {RECORD_UPDATE, RECORD_RECEIPT} and not update(reply).any()
    assert dict(state.config_records[STATE_EXAMPLE_DP]) == {"1.3/0.5": 40}


def test_a_seeded_source_repeats_and_another_seed_does_not(adapted: AdaptedModel) -> None:
    draws = [update(ask(adapted, RecordDict(), noise=partial(SeededNoise, seed))) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_the_steps_of_a_round_never_share_their_noise(adapted: AdaptedModel) -> None:
    """Noise that came twice would cancel between two releases."""
    labels: list[str] = []

    class Noted(SeededNoise):
        def discrete_gaussian(self, sigma: float, size: int, label: str) -> Any:
            labels.append(label)
            return super().discrete_gaussian(sigma, size, label)

    ask(adapted, RecordDict(), noise=lambda number: Noted(1, number))
    assert len(labels) == len(set(labels)) == 2


WITH = ["training.example_dp={noise_multiplier = 1.0, clip_norm = 0.5, expected_batch = 4}"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    found = {}
    for name, more in (("without", []), ("with", WITH), ("again", WITH)):
        folder = tmp_path_factory.mktemp("example") / "run"
        found[name] = (folder, simulate(load_scenario("home-quick", [*TINY, *more]), folder, False, Silent()))
    return found


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def test_the_ledgers_epsilon_does_not_know_of_it(runs: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    """The device-level guarantee neither gains nor loses by what devices do for single examples."""
    (one, plain), (other, private) = runs["without"], runs["with"]
    assert "example_level" not in plain["privacy"]
    apart = {key: value for key, value in private["privacy"].items() if key != "example_level"}
    assert apart == plain["privacy"] | {"ledger_head": private["privacy"]["ledger_head"]}
    kept = ("reserve", "close")
    assert [e["body"] for e in entries(one) if e["kind"] in kept] == [
        e["body"] for e in entries(other) if e["kind"] in kept
    ]
    assert private["privacy"]["unit"] == "device"
    text = (other / "ledger.jsonl").read_text()
    assert "example" not in text


def test_a_result_states_it_apart(runs: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    """Over the devices that trained: two rounds of six devices, one step a round."""
    folder, result = runs["with"]
    apart = result["privacy"]["example_level"]
    assert 0 < apart["epsilon_median"] <= apart["epsilon_max"] <= epsilon_poisson(1.0, 1.0, 2, 1e-5)
    assert apart["epsilon_max"] != result["privacy"]["epsilon"]
    assert sum(row["sampled"] for row in result["rounds"]) >= apart["devices"] >= 6  # also of those not waited for
    assert (apart["unit"], apart["adjacency"], apart["delta"]) == ("example", "zero-out", 1e-5)
    assert apart["simulator_only"] and apart["noise_source"] == "seeded" and apart["accountant"]
    assert json.loads((folder / "result.json").read_text())["privacy"]["example_level"] == apart
    assert runs["again"][1]["privacy"]["example_level"] == apart


def test_a_run_that_goes_on_still_knows_what_devices_spent(runs: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    """Their states come back with the checkpoint, also where no round is left to do."""
    folder, result = runs["again"]
    resumed = simulate(load_scenario("home-quick", [*TINY, *WITH]), folder, True, Silent())
    assert resumed["privacy"] == result["privacy"]


def test_the_report_has_a_paragraph_of_its_own_for_it(runs: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    with_it, without = ((runs[name][0] / "report.html").read_text() for name in ("with", "without"))
    heading = "a second guarantee, for single examples"
    assert heading in with_it and heading not in without
    paragraph = with_it.split(heading)[1].split("</figcaption>")[0]
    assert "simulator only" in paragraph and "protects nobody" in paragraph
    largest = upwards(runs["with"][1]["privacy"]["example_level"]["epsilon_max"])
    assert f"is {largest} at most" in paragraph
    own = with_it.split(heading)[0]
    assert f"{largest} at most" not in own  # nowhere beside the epsilon of the run


def test_where_no_device_trained_nothing_is_made_up() -> None:
    assert example_level([RecordDict(), RecordDict()], DP)["epsilon_max"] is None
    assert "No device has spent" in report(
        {"scenario": "s", "rounds": [], "privacy": {"example_level": example_level([], DP)}}
    )


def test_a_median_is_never_below_the_middle(adapted: AdaptedModel) -> None:
    states = [RecordDict() for _ in range(4)]
    for times, state in enumerate(states, 1):
        for number in range(1, times + 1):
            ask(adapted, state, number)
    found = example_level(states, DP)
    exact = [epsilon_poisson(1.3, 0.5, 2 * times, DP.delta) for times in (1, 2, 3, 4)]
    assert (found["devices"], found["epsilon_median"], found["epsilon_max"]) == (4, exact[2], exact[3])


def test_it_changes_what_is_learnt(runs: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    one, other = (runs[name][0] / "adapter" / "adapter_model.safetensors" for name in ("without", "with"))
    assert one.read_bytes() != other.read_bytes()


def test_a_simulation_with_it_repeats(runs: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    """Simulated devices draw this noise from the seed: same seed, same bytes."""
    (one, first), (other, second) = runs["with"], runs["again"]
    assert first["rounds"] == second["rounds"]
    for name in ("ledger.jsonl", "adapter/adapter_model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_simulated_devices_and_rounds_draw_noise_of_their_own(
    adapted: AdaptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[Callable[[Context], Device]] = []
    monkeypatch.setattr(devices, "make_client_app", bound.append)
    monkeypatch.setattr(devices, "AdaptedModel", lambda *args, **kwargs: adapted)
    setup = devices.DeviceSetup(adapted.spec, load_scenario("home-quick", TINY).data, 30, 1, "")
    devices.resident.__wrapped__(setup)
    drawn = set()
    for node in (1, 2):
        here = bound[0](Context(run_id=1, node_id=node, node_config={}, state=RecordDict(), run_config={}))
        for number in (1, 2):
            noise, again = (here.noise(number).discrete_gaussian(1e3, 8, "example-dp step 0") for _ in range(2))
            np.testing.assert_array_equal(noise, again)
            drawn.add(noise.tobytes())
    assert len(drawn) == 4
