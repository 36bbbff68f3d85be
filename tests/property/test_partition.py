"""Examples are dealt out once each, as skewed as was asked for; loaders read what they say and refuse the rest."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_clients.training.examples import Task
from tacit_privacy.errors import BadInput
from tacit_simulations.data import partition
from tacit_simulations.data.config import DataConfig
from tacit_simulations.data.loaders import Columns, load
from tacit_simulations.data.sources import PartitionedSource, build_source

laws = settings(max_examples=60, deadline=None)
counts = st.integers(1, 400).flatmap(lambda examples: st.tuples(st.just(examples), st.integers(1, examples)))
seeds = st.integers(0, 2**32)


def whole(parts: Sequence[partition.Indices], examples: int) -> None:
    """Every example once, no device empty."""
    assert sorted(np.concatenate(list(parts)).tolist()) == list(range(examples))
    assert min(len(part) for part in parts) >= 1


@given(counts, seeds, st.floats(0, 3))
@laws
def test_sizes_add_up_and_leave_nobody_out(count: tuple[int, int], seed: int, sigma: float) -> None:
    examples, devices = count
    found = partition.sizes(np.random.default_rng(seed), examples, devices, sigma)
    assert found.sum() == examples and len(found) == devices and found.min() >= 1


def test_sizes_spread_with_sigma() -> None:
    spread = [np.std(partition.sizes(np.random.default_rng(1), 20_000, 200, sigma)) for sigma in (0.0, 0.5, 1.5)]
    assert spread[0] < spread[1] < spread[2]
    assert spread[0] == pytest.approx(np.sqrt(100), rel=0.3)  # a fair deal is multinomial


@given(counts, seeds, st.floats(0, 2))
@laws
def test_iid_deals_every_example_once(count: tuple[int, int], seed: int, sigma: float) -> None:
    examples, devices = count
    parts = partition.iid(np.random.default_rng(seed), examples, devices, sigma)
    assert len(parts) == devices
    whole(parts, examples)
    again = partition.iid(np.random.default_rng(seed), examples, devices, sigma)
    assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))


@given(counts, seeds, st.sampled_from([0.001, 0.05, 1.0, 100.0]), st.integers(1, 9), st.floats(0, 2))
@laws
def test_dirichlet_deals_every_example_once(
    count: tuple[int, int], seed: int, alpha: float, classes: int, sigma: float
) -> None:
    examples, devices = count
    labels = np.random.default_rng(seed).integers(0, classes, examples).tolist()
    parts = partition.dirichlet(np.random.default_rng(seed), labels, devices, alpha, sigma)
    assert len(parts) == devices
    whole(parts, examples)
    again = partition.dirichlet(np.random.default_rng(seed), labels, devices, alpha, sigma)
    assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))
    sized = partition.sizes(np.random.default_rng(seed + 1), examples, devices, sigma)
    assert sized.sum() == sum(len(part) for part in parts)


def skew(parts: Sequence[partition.Indices], labels: np.ndarray, classes: int) -> float:
    """Mean total variation distance of a device's labels from the whole set's."""
    overall = np.bincount(labels, minlength=classes) / len(labels)
    shares = [np.bincount(labels[part], minlength=classes) / len(part) for part in parts]
    return float(np.mean([0.5 * np.abs(share - overall).sum() for share in shares]))


def test_label_skew_grows_as_alpha_falls() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 6000)
    found = [
        skew(partition.dirichlet(np.random.default_rng(seed), labels.tolist(), 60, alpha, 0.3), labels, 10)
        for alpha in (100.0, 1.0, 0.1)
        for seed in (1,)
    ]
    dealt = skew(partition.iid(np.random.default_rng(1), 6000, 60, 0.3), labels, 10)
    assert dealt < 1.3 * found[0]  # alpha without end is a fair deal
    assert found[0] < 0.6 * found[1] < 0.6 * 0.8 * found[2]


def test_one_label_apiece_at_the_smallest_alpha() -> None:
    labels = np.repeat(np.arange(50), 40)
    parts = partition.dirichlet(np.random.default_rng(3), labels.tolist(), 10, 1e-3, 0.0)
    assert np.mean([len(set(labels[part].tolist())) for part in parts]) < 10


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=200), st.integers(1, 10), st.integers(1, 20))
@laws
def test_natural_keeps_users_apart(users: list[str], minimum: int, maximum: int) -> None:
    parts = partition.natural(users, minimum, maximum)
    owners = [{users[row] for row in part} for part in parts]
    assert all(len(owner) == 1 for owner in owners)
    flat = [owner for found in owners for owner in found]
    counted = Counter(users)
    assert flat == [user for user in counted if counted[user] >= minimum]  # in order of first appearance, once each
    assert [len(part) for part in parts] == [min(maximum, counted[user]) for user in flat]
    everything = np.concatenate(parts).tolist() if parts else []
    assert len(everything) == len(set(everything))


def test_more_devices_than_examples_is_refused() -> None:
    rng, said = np.random.default_rng(0), r"3 examples cannot go to 4 devices; lower fleet\.devices"
    with pytest.raises(BadInput, match=said):
        partition.iid(rng, 3, 4, 0.0)
    with pytest.raises(BadInput, match=said):
        partition.dirichlet(rng, [0, 1, 0], 4, 1.0, 0.0)


# ---- a user's own files


def jsonl(folder: Path, rows: int, users: int = 7) -> Path:
    path = folder / "mine.jsonl"
    said = (
        {"text": f"text {i}", "label": "abc"[i % 3], "user": f"u{i % users}", "target": f"t{i}"} for i in range(rows)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in said))
    return path


def own(path: Path, **more: Any) -> DataConfig:
    return DataConfig.model_validate({"kind": "file", "path": str(path), "task": "classify", **more})


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "natural"])
@pytest.mark.parametrize("task", list(Task))
def test_own_files_are_cut_without_overlap(tmp_path: Path, kind: str, task: Task) -> None:
    config = own(jsonl(tmp_path, 210), partition=kind, task=task, held_out=30)
    source = build_source(config, 5, 7)
    devices = [source.device(index) for index in range(source.devices)]
    train = [example.prompt for data in devices for example in data.train]
    test = [example.prompt for data in devices for example in data.test]
    held_out = [example.prompt for example in source.held_out()]
    everything = train + test + held_out
    assert len(everything) == len(set(everything)) == 210  # every example once: to train, to test or of no device
    assert len(held_out) == (0 if kind == "natural" else 30)
    assert source.devices == 7 and all(data.train for data in devices)
    assert len(test) / (len(train) + len(test)) == pytest.approx(0.2, abs=0.04)
    assert list(source.labels) == (["a", "b", "c"] if task is Task.CLASSIFY else [])
    for example in (example for data in devices for example in data.train):
        number = int(example.prompt.split()[1])
        assert example.label == (number % 3 if task is Task.CLASSIFY else -1)
        assert example.target == (f"t{number}" if task is Task.INSTRUCT else "")
    assert source.devices == 7


@given(st.integers(0, 1000), st.integers(2, 40), st.floats(0.01, 0.99))
@settings(max_examples=40, deadline=None)
def test_a_device_always_keeps_something_to_learn_from(seed: int, rows: int, share: float) -> None:
    """Also where it has one or two examples and most are for testing."""
    texts = [f"text {i}" for i in range(rows)]
    source = _Given(own(Path("none"), partition="iid", test_fraction=share), seed, max(1, rows // 2), texts)
    for index in range(source.devices):
        data = source.device(index)
        assert data.train
        assert not {e.prompt for e in data.train} & {e.prompt for e in data.test}


class _Given(PartitionedSource):
    """A source whose set is given, not read."""

    def __init__(self, config: DataConfig, seed: int, wanted: int, texts: list[str]) -> None:
        from tacit_simulations.data.sources import _Loaded

        super().__init__(config, seed, wanted)
        parts = partition.iid(np.random.default_rng(seed), len(texts), wanted, 1.0)
        object.__setattr__(self, "_found", _Loaded(Columns(Task.LANGUAGE, texts), (), parts, ()))

    @property
    def _loaded(self) -> Any:
        return self._found  # type: ignore[attr-defined]


def test_same_seed_same_devices(tmp_path: Path) -> None:
    config = own(jsonl(tmp_path, 120), partition="dirichlet", alpha=0.3)
    one, again, other = (build_source(config, seed, 10) for seed in (1, 1, 2))
    assert [one.device(i) for i in range(10)] == [again.device(i) for i in range(10)]
    assert [one.device(i) for i in range(10)] != [other.device(i) for i in range(10)]


def test_csv_and_jsonl_are_the_same_set(tmp_path: Path) -> None:
    rows = [("one, two", "a"), ('said "yes"', "b"), ("two\nlines", "a"), ("café ☕", "b")]
    quoted = "".join('"{}",{}\r\n'.format(text.replace('"', '""'), label) for text, label in rows)
    (tmp_path / "a.CSV").write_bytes(b"\xef\xbb\xbf" + f"text,label\r\n{quoted}".encode())  # as a spreadsheet writes it
    lines = "\n\n".join(json.dumps({"text": text, "label": label}) for text, label in rows)
    (tmp_path / "a.jsonl").write_text("\ufeff" + lines, encoding="utf-8")
    found = [load(own(tmp_path / name)) for name in ("a.CSV", "a.jsonl")]
    assert found[0] == found[1]
    assert list(zip(found[0].texts, found[0].labels, strict=True)) == rows


BROKEN: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "not json": ("a.jsonl", b'{"text": "a", "label": "b"}\n{"text":\n', {}, r"line 2: not valid JSON"),
    "deep": ("a.jsonl", b"[" * 100_000, {}, r"line 1: not valid JSON"),
    "no object": ("a.jsonl", b"[1, 2]\n", {}, r"line 1: a row is an object with named columns"),
    "no column": ("a.jsonl", b'{"text": "a"}\n', {}, r"row 1: no column label; it has text"),
    "null": ("a.jsonl", b'{"text": "a", "label": null}\n', {}, r"row 1: column label is empty"),
    "short row": ("a.csv", b"text,label\na,b\nc\n", {}, r"row 2: column label is empty"),
    "renamed": ("a.csv", b"text,label\na,b\n", {"text": "words"}, r"row 1: no column words; it has text, label"),
    "no user": ("a.csv", b"text,label\na,b\n", {"partition": "natural"}, r"no column user"),
    "latin": ("a.csv", b"text,label\ncaf\xe9,b\n", {}, r"a\.csv is not UTF-8 text; save it as UTF-8"),
    "latin jsonl": ("a.jsonl", b'{"text": "caf\xe9"}\n', {}, r"a\.jsonl is not UTF-8 text; save it as UTF-8"),
    "huge field": ("a.csv", b"text,label\n" + b"x" * 200_000 + b",b\n", {}, r"not readable as CSV"),
    "empty": ("a.csv", b"", {}, r"holds no examples"),
    "head alone": ("a.csv", b"text,label\n", {}, r"holds no examples"),
    "few": ("a.csv", b"text,label\na,b\n", {}, r"1 examples cannot go to 3 devices; lower fleet\.devices"),
    "few users": ("a.csv", b"text,label,user\na,b,c\n", {"partition": "natural"}, r"no user of file has 12 examples"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_sentence(tmp_path: Path, case: str) -> None:
    name, content, more, said = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=said) as refused:
        build_source(own(tmp_path / name, **more), 1, 3).device(0)
    assert "\n" not in str(refused.value)
    assert "caf" not in str(refused.value) and "xxx" not in str(refused.value)  # a message quotes no data


def test_a_missing_file_and_missing_settings_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no data file .*; set data\.path"):
        load(own(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match=r"needs data\.path and data\.task"):
        DataConfig(kind="file", path="mine.csv")


NAMED: dict[str, Callable[[Path, bytes], object]] = {
    "sms": lambda folder, content: (folder / "sms_en.jsonl.gz").write_bytes(content),
    "clinc150": lambda folder, content: (folder / "data_full.json").write_bytes(content),
    "banking77": lambda folder, content: [(folder / f).write_bytes(content) for f in ("train.csv", "test.csv")],
    "shakespeare": lambda folder, content: (folder / "input.txt").write_bytes(content),
}
JUNK = [b"", b"\xff\xfe junk", b"[1]", b'{"train": [["a"]], "test": [["a", "b"]]}', gzip.compress(b'{"a": 1}\n')]


@pytest.mark.parametrize("kind", NAMED)
def test_a_damaged_public_set_is_one_sentence(tmp_path: Path, kind: str) -> None:
    config = DataConfig.model_validate({"kind": kind, "path": str(tmp_path)})
    with pytest.raises(BadInput, match=r"cannot read .*: No such file"):
        load(config)
    for content in JUNK:
        NAMED[kind](tmp_path, content)
        with pytest.raises(BadInput) as refused:
            load(config)
        assert "\n" not in str(refused.value)


def test_a_public_set_without_its_files_says_where_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TACIT_DATA", raising=False)
    with pytest.raises(BadInput, match=r"github\.com/PolyAI-LDN.*set TACIT_DATA"):
        load(DataConfig(kind="banking77"))


# ---- the public sets themselves

public = pytest.mark.skipif(not os.environ.get("TACIT_DATA"), reason="TACIT_DATA names no folder with the public sets")
SIZES = {  # training rows, labels, users, test rows: as the sets' own pages say
    "banking77": (10_003, 77, 0, 3_080),
    "clinc150": (15_000, 150, 0, 4_500),
    "sms": (40_267, 0, 261, 0),
    "shakespeare": (5_592, 0, 244, 0),
}


@public
@pytest.mark.parametrize("kind", SIZES)
def test_public_sets_are_read_whole(kind: str) -> None:
    columns = load(DataConfig.model_validate({"kind": kind}))
    test = columns.test or Columns(columns.task)
    assert (len(columns.texts), len(set(columns.labels)), len(set(columns.users)), len(test.texts)) == SIZES[kind]
    assert columns.task is (Task.CLASSIFY if columns.labels else Task.LANGUAGE)
    for side in (columns, test):
        assert all(text.strip() for text in side.texts)
        assert len(side.labels) in (0, len(side.texts)) and len(side.users) in (0, len(side.texts))
    assert set(test.labels) == set(columns.labels)
    both = set(test.texts) & set(columns.texts)
    assert len(both) <= 0.002 * max(1, len(test.texts))  # a handful of requests stand in both parts upstream
    if kind == "sms":
        assert "0" not in columns.users


@public
@pytest.mark.parametrize("kind", SIZES)
def test_public_sets_are_cut_without_overlap(kind: str) -> None:
    columns = load(DataConfig.model_validate({"kind": kind}))
    natural = bool(columns.users)
    config = DataConfig.model_validate({"kind": kind, "partition": "natural" if natural else "dirichlet"})
    source = build_source(config, 3, 120)
    assert source.labels == tuple(sorted(set(columns.labels)))
    devices = [source.device(index) for index in range(source.devices)]
    used = Counter(example.prompt for data in devices for example in (*data.train, *data.test))
    assert not used - Counter(columns.texts)  # no example more often than it is in the set
    assert all(data.train and data.test for data in devices)
    if not natural:
        assert sum(used.values()) == len(columns.texts) and source.devices == 120
        assert columns.test is not None and len(source.held_out()) == len(columns.test.texts)
        assert {example.label for data in devices for example in data.train} == set(range(len(source.labels)))
        return
    owners: dict[str, set[str]] = {}
    for text, user in zip(columns.texts, columns.users, strict=True):
        owners.setdefault(text, set()).add(user)
    for data in devices:
        mine = [owners[example.prompt] for example in (*data.train, *data.test)]
        assert set.intersection(*mine)  # one user said it all
        assert config.minimum <= len(mine) <= config.maximum


@public
@pytest.mark.parametrize("kind", ["banking77", "clinc150"])
def test_devices_of_public_sets_are_skewed(kind: str) -> None:
    spread = {}
    for alpha in (0.1, 100.0):
        config = DataConfig.model_validate({"kind": kind, "alpha": alpha})
        source = build_source(config, 3, 100)
        spread[alpha] = np.mean([len({e.label for e in source.device(i).train}) for i in range(0, 100, 5)])
    assert spread[0.1] < 0.5 * spread[100.0]
