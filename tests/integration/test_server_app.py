"""The ServerApp that Flower loads: its settings, what it leaves behind, what it goes on with and what it refuses."""

import json
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common.config import flatten_dict
from flwr.supercore.object_ref import validate
from local_grid import LocalGrid
from replies import terms_of, update_for
from safetensors.numpy import load_file

from tacit_clients import plain as device_side
from tacit_privacy.contract import (
    QUERY_DESCRIBE,
    RECORD_DESCRIPTION,
    AdapterSpec,
    LinearSpec,
)
from tacit_privacy.errors import BadInput, FleetExhausted, LedgerBroken
from tacit_privacy.ledger.verify import Verification, verify
from tacit_privacy.mechanisms.gaussian import clip_to_grid
from tacit_server.app import app, outcome_of
from tacit_server.plain import DEVICE_KEYS, PlainSettings

ROOT = Path(__file__).parents[2]
APP: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
SPEC = AdapterSpec(model="m", method="ffa", rank=2, alpha=2, seed=1, linear=(LinearSpec(name="w", rows=8, columns=4),))
SMALL = {
    "joining.nodes": 4,
    "joining.patience_s": 2.0,
    "federation.rounds": 2,
    "federation.cohort": 4,
    "federation.deadline_s": 20.0,
    "privacy.participations": 2,
}


def device(message: Message) -> Message:
    """An honest device whose update is all ones."""
    name = f"device {message.metadata.dst_node_id}"
    if message.metadata.message_type == QUERY_DESCRIBE:
        said = ConfigRecord({"identity": name, "rank": 2, "spec": SPEC.to_bytes().decode()})
        return Message(RecordDict({RECORD_DESCRIPTION: said}), reply_to=message)
    terms = terms_of(message)
    grid = clip_to_grid(np.ones(SPEC.prefix(terms.rank), np.float32), terms.clip_norm, terms.levels)
    return Message(update_for(message, name, grid), reply_to=message)


def run(out: Path, nodes: int = 4, **changes: Any) -> Context:
    settings = SMALL | {"out": str(out)} | {key.replace("__", "."): value for key, value in changes.items()}
    context = Context(run_id=7, node_id=0, node_config={}, state=RecordDict(), run_config=settings)
    app(LocalGrid({node: device for node in range(1, nodes + 1)}), context)
    return context


def verified(out: Path) -> Verification:
    return verify((out / "ledger.jsonl").read_text().splitlines(), (out / "ledger.pub").read_text().strip())


def test_a_run_without_a_seed_draws_from_the_operating_system(tmp_path: Path) -> None:
    first = outcome_of(run(tmp_path / "first"))
    second = outcome_of(run(tmp_path / "second"))
    assert first.adapter.shape == (SPEC.dimension,)
    assert first.adapter.tobytes() != second.adapter.tobytes()
    found = verified(tmp_path / "first")
    assert (found.ok, found.state, found.noise_source) == (True, "closed", "system")
    assert 0 < found.epsilon <= 8
    key = tmp_path / "first" / "server.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_bytes() != (tmp_path / "second" / "server.key").read_bytes()


def test_a_seed_makes_a_simulation_that_says_so(tmp_path: Path) -> None:
    adapters = [outcome_of(run(tmp_path / name, seed=3)).adapter.tobytes() for name in ("first", "second")]
    assert adapters[0] == adapters[1]
    found = verified(tmp_path / "first")
    assert (found.ok, found.noise_source) == (True, "seeded")


def test_what_a_run_leaves(tmp_path: Path) -> None:
    outcome = outcome_of(run(tmp_path))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"run.db", "server.key", "ledger.jsonl", "ledger.pub", "receipts.jsonl", "rounds.jsonl", "adapter"}
    rounds = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert [(row["round"], row["completed"], row["released"]) for row in rounds] == [(1, 4, True), (2, 4, True)]
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert saved["base_model.model.w.lora_B.weight"].T.tobytes() == outcome.adapter.tobytes()


def test_the_same_folder_goes_on_and_never_starts_over(tmp_path: Path) -> None:
    first = outcome_of(run(tmp_path))
    again = outcome_of(run(tmp_path))
    assert again.adapter.tobytes() == first.adapter.tobytes()
    assert verified(tmp_path).entries == 7  # open, run, twice reserve and commit, close: nothing was charged anew
    with pytest.raises(LedgerBroken, match="another configuration"):
        run(tmp_path, federation__learning_rate=0.5)


def test_too_small_a_fleet_and_too_small_a_budget_release_nothing(tmp_path: Path) -> None:
    with pytest.raises(FleetExhausted, match="3 devices said who they are"):
        run(tmp_path / "fleet", nodes=3)
    with pytest.raises(BadInput, match="the run would end at epsilon"):
        run(tmp_path / "budget", privacy__noise_multiplier=0.1)
    assert not (tmp_path / "budget" / "adapter").exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("federation.cohrt", 3, "unknown setting federation.cohrt"),
        ("adapter-rnk", 3, "unknown setting adapter-rnk"),
        ("federation.rounds", 0, "federation.rounds: input should be greater than 0, got 0"),
        ("federation", 3, "needs a table federation"),
        ("privacy.enabled", False, "belongs to comparisons"),
        ("seed", -2, "seed: input should be greater than or equal to -1, got -2"),
    ],
)
def test_settings_that_mean_nothing_are_one_sentence(tmp_path: Path, key: str, value: Any, said: str) -> None:
    settings = {key: value} | SMALL | {key: value, "out": str(tmp_path / "run")}
    context = Context(run_id=7, node_id=0, node_config={}, state=RecordDict(), run_config=settings)
    with pytest.raises(BadInput, match=re.escape(said)):
        app(LocalGrid({}), context)
    assert list(tmp_path.iterdir()) == []


def test_the_apps_own_configuration_is_accepted_by_both_sides() -> None:
    run_config = flatten_dict(APP["config"])
    assert PlainSettings.of(run_config).federation.rounds == 3
    assert not PlainSettings.of(run_config).simulated  # whoever forgets to think about noise gets real noise
    read = set(re.findall(r'run\.get\("([\w-]+)"', Path(device_side.__file__).read_text()))
    assert read - {"seed"} == set(DEVICE_KEYS)
    for component in APP["components"].values():
        assert validate(component) == (True, None)


def test_every_key_has_its_line_in_the_documents() -> None:
    page = (ROOT / "docs" / "flower.md").read_text()
    for key in [*flatten_dict(APP["config"]), *DEVICE_KEYS]:
        named = key in page if "." not in key else f"`{key.partition('.')[0]}.*`" in page
        assert named, key


def test_the_server_app_loads_no_torch_and_nothing_of_the_clients() -> None:
    code = "import sys, tacit_server.app, tacit_server.plain; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert not {"torch", "transformers", "tacit_clients"} & {name.partition(".")[0] for name in done.stdout.split()}
