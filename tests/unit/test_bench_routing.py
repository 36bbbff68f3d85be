"""`tacit bench routing` and `tacit models train-router`: what goes in, what comes out, what is refused."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tacit_clients.routing import Example, Predictor, RouterSettings, fit
from tacit_privacy import cli
from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.routing import read
from tacit_simulations.evaluation.routing.baselines import static

Row = dict[str, Any]
HARD, EASY = ("prove", "derive", "integrate", "theorem"), ("hello", "colour", "weather", "sing")


def made(count: int, seed: int) -> list[Row]:
    """Prompts whose words and numbers tell, mostly, where the small model fails; length tells nothing."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        hard = rng.random() < 0.5
        words = [*rng.choice(HARD if hard else EASY, 2), *rng.choice(("the", "of", "a", "in"), rng.integers(3, 20))]
        slm, llm = rng.random() < (0.2 if hard else 0.9), rng.random() < 0.9
        rows.append({"id": number, "prompt": f"{' '.join(words)}?", "slm": int(slm), "llm": int(llm)})
    return rows


def written(path: Path, rows: Iterable[Row | str]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def measured(train: Path, test: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    words = ["bench", "routing", "--train", str(train), "--test", str(test), "--json", "--resamples", "50", *more]
    assert cli.main(words) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("routing")
    return written(folder / "train.jsonl", made(400, 1)), written(folder / "test.jsonl", made(400, 2))


# --- what comes out


@pytest.fixture(scope="module")
def whole(data: tuple[Path, Path]) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with everything asked for."""
    train, test = map(str, data)
    words = ["bench", "routing", "--train", train, "--test", test, "--target-rate", "0.3", "--risk", "0.1", "--json"]
    run = "import sys; from tacit_privacy import cli; sys.exit(cli.main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", run, *words], capture_output=True, text=True, check=True)


def test_stdout_is_one_document_and_nothing_else(whole: subprocess.CompletedProcess[str]) -> None:
    found = json.loads(whole.stdout)  # refuses anything before or after it
    assert list(found)[:3] == ["apgr", "apgr_interval", "cpt"] and "NaN" not in whole.stdout
    assert whole.stderr == ""


def test_the_document_has_the_agreed_keys(whole: subprocess.CompletedProcess[str]) -> None:
    found = json.loads(whole.stdout)
    assert set(found["cpt"]) == {"20", "50", "80"}
    assert set(found["baselines"]) == {"random", "length", "tfidf"}
    assert found["target_rate"] == 0.3 and 0 < found["achieved_rate"] < 1
    assert found["n"] == {"train": 400, "test": 400}
    for name in ("length", "tfidf"):
        above = found["above"][name]
        assert above["value"] == pytest.approx(found["apgr"] - found["baselines"][name])
        assert above["low"] <= above["high"]
    low, high = found["apgr_interval"]
    assert low < found["apgr"] < high


def test_the_router_beats_chance_and_length_where_words_tell(whole: subprocess.CompletedProcess[str]) -> None:
    found = json.loads(whole.stdout)
    assert found["apgr"] > 0.75 and found["above"]["length"]["low"] > 0.1
    assert abs(found["baselines"]["random"] - 0.5) < 0.05
    assert found["cpt"]["20"] < found["cpt"]["50"] < found["cpt"]["80"] < 60


def test_the_risk_is_kept_with_fewer_calls_than_always(whole: subprocess.CompletedProcess[str]) -> None:
    risk = json.loads(whole.stdout)["risk"]
    assert risk["alpha"] == 0.1 and risk["escalation_rate"] < 0.9
    assert risk["achieved"] <= 0.1 + 3 * (0.1 * 0.9 * (1 / 100 + 1 / 400)) ** 0.5


def test_the_rate_is_reached_on_prompts_of_the_same_kind(
    data: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rate = 0.25
    found = measured(*data, capsys, "--target-rate", str(rate))
    error = 3 * (2 * rate * (1 - rate) / 400) ** 0.5  # of threshold and test together, three sigma
    assert abs(found["achieved_rate"] - rate) < error


@pytest.mark.parametrize(("rate", "escalated"), [("0", 0.0), ("1", 1.0)])
def test_a_rate_of_none_or_all_is_exact(
    rate: str, escalated: float, data: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured(*data, capsys, "--target-rate", rate)
    assert found["achieved_rate"] == escalated
    assert found["accuracy"]["routed"] == found["accuracy"]["llm" if escalated else "slm"]


def test_the_same_seed_tells_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "rows.jsonl", made(60, 1))
    one, other, third = (measured(file, file, capsys, "--seed", seed) for seed in ("4", "4", "5"))
    for each in (one, other, third):
        del each["decision_ms"]  # a clock
    assert one == other != third


def test_people_see_the_figures(data: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    train, test = map(str, data)
    assert cli.main(["bench", "routing", "--train", train, "--test", test, "--resamples", "20"]) == 0
    shown = capsys.readouterr().out
    for part in ("tacit", "length", "tfidf", "random", "oracle", "400", "escalated, wanted", "50.0%"):
        assert part in shown


# --- what is refused

GOOD = '{"id": 1, "prompt": "secret words", "slm": 0, "llm": 1}'
BAD = {
    "not JSON": ("{", "not JSON"),
    "a list": ("[1, 2]", "not a row"),
    "no prompt": ('{"id": 1, "slm": 0, "llm": 1}', "not a row"),
    "a prompt that is a number": ('{"id": 1, "prompt": 7, "slm": 0, "llm": 1}', "not a row"),
    "no id": ('{"prompt": "secret words", "slm": 0, "llm": 1}', '"id"'),
    "no slm": ('{"id": 1, "prompt": "secret words", "llm": 1}', '"slm" is neither 0 nor 1'),
    "half right": ('{"id": 1, "prompt": "secret words", "slm": 0.5, "llm": 1}', '"slm" is neither 0 nor 1'),
    "a word": ('{"id": 1, "prompt": "secret words", "slm": 0, "llm": "1"}', '"llm" is neither 0 nor 1'),
    "a list for an answer": ('{"id": 1, "prompt": "secret words", "slm": [], "llm": 1}', '"slm" is neither 0 nor 1'),
    "a group that is a list": ('{"id": 1, "prompt": "secret words", "slm": 0, "llm": 1, "group": []}', '"group"'),
    "too sure": ('{"id": 1, "prompt": "secret words", "slm": 0, "llm": 1, "confidence": 1.1}', '"confidence"'),
    "sure of nothing": ('{"id": 1, "prompt": "secret words", "slm": 0, "llm": 1, "confidence": NaN}', '"confidence"'),
    "half a character": (r'{"id": "\ud800", "prompt": "secret words", "slm": 0, "llm": 1}', "half of a surrogate pair"),
    "a number without end": (f'{{"id": {5000 * "7"}, "prompt": "secret words", "slm": 0, "llm": 1}}', "4,300 digits"),
    "a pit": (f'{{"id": 1, "prompt": "secret words", "slm": 0, "llm": {10**5 * "["}{10**5 * "]"}}}', "too deep"),
}


@pytest.mark.parametrize(("line", "said"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("part", ["--train", "--test"])
def test_a_bad_row_is_one_sentence_with_its_line(
    part: str, line: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = written(tmp_path / "good.jsonl", [GOOD, GOOD])
    bad = written(tmp_path / "bad.jsonl", [GOOD, "", line, GOOD])  # an empty line counts and holds nothing
    files = {"--train": good, "--test": good, part: bad}
    words = [word for name, file in files.items() for word in (name, str(file))]
    assert cli.main(["bench", "routing", *words, "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert f"{bad}, line 3" in shown.err and said in shown.err and "secret" not in shown.err


def test_files_that_hold_nothing_or_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "latin").write_bytes('{"id": 1, "prompt": "é"}'.encode("latin-1"))
    good = written(tmp_path / "good.jsonl", [GOOD, GOOD])
    for bad, said in (
        (written(tmp_path / "empty.jsonl", [""]), "no rows"),
        (tmp_path / "gone.jsonl", "cannot read"),
        (tmp_path / "latin", "not UTF-8"),
        (tmp_path, "cannot read"),
    ):
        assert cli.main(["bench", "routing", "--train", str(bad), "--test", str(good)]) == 2
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1 and said in shown and str(bad) in shown


@pytest.mark.parametrize(
    "option",
    [
        ("--target-rate", "1.5"),
        ("--target-rate", "nan"),
        ("--risk", "0"),
        ("--risk", "1"),
        ("--risk", "nan"),
        ("--resamples", "0"),
    ],
)
def test_options_out_of_range_are_refused(
    option: tuple[str, str], data: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "routing", "--train", str(data[0]), "--test", str(data[1]), "--json", *option]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and option[0] in shown.err


# --- files that say little


def rows(*outcomes: tuple[int, int]) -> list[Row]:
    return [
        {"id": at, "prompt": f"question number {at}", "slm": slm, "llm": llm} for at, (slm, llm) in enumerate(outcomes)
    ]


def test_three_rows_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "three.jsonl", rows((1, 1), (0, 1), (0, 0)))
    found = measured(file, file, capsys, "--risk", "0.2")
    assert found["n"] == {"train": 3, "test": 3} and 0 <= found["apgr"] <= 2
    assert found["risk"]["escalation_rate"] == 1.0  # of 0 rows kept aside nothing can be promised but by asking


def test_one_row_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(written(tmp_path / "one.jsonl", rows((0, 1))))
    assert cli.main(["bench", "routing", "--train", file, "--test", file]) == 2
    assert "at least 2" in capsys.readouterr().err


def test_without_a_gap_there_is_nothing_to_recover(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where resamples of the rows would have one."""
    train = written(tmp_path / "train.jsonl", made(40, 3))
    for outcomes in ([(1, 1)] * 20, [(0, 1), (1, 0)] * 10):
        found = measured(train, written(tmp_path / "test.jsonl", rows(*outcomes)), capsys)
        assert found["apgr"] is None and found["oracle"] is None and found["apgr_interval"] == [None, None]
        assert found["cpt"] == {"20": None, "50": None, "80": None}
        assert found["baselines"] == {"random": None, "length": None, "tfidf": None}
        assert found["above"]["length"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize("outcome", [(1, 1), (0, 1)])
def test_answers_that_are_all_alike_teach_no_order(
    outcome: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = written(tmp_path / "train.jsonl", rows(*[outcome] * 30))
    found = measured(train, written(tmp_path / "test.jsonl", made(60, 3)), capsys)
    assert found["baselines"]["tfidf"] == pytest.approx(0.5)
    assert 0 <= found["apgr"] <= 1 and 0 <= found["achieved_rate"] <= 1


def test_where_the_large_model_never_helps_its_probability_is_small(tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", rows(*[(1, 1), (0, 0), (1, 0)] * 20))
    predictor = fit(read(file), RouterSettings()).predictor
    assert max(predictor.score(row["prompt"]) for row in made(20, 3)) < 0.1


def test_prompts_without_a_word_are_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "rows.jsonl", [row | {"prompt": ""} for row in rows(*[(0, 1), (1, 1)] * 5)])
    found = measured(file, file, capsys)
    assert found["apgr"] == pytest.approx(0.5) and found["out_of_scope"] in (0.0, 1.0)


def test_groups_and_confidence_are_read(tmp_path: Path) -> None:
    told = rows((0, 1))[0] | {"group": 7, "confidence": 0.25, "else": "kept out"}
    (found,) = read(written(tmp_path / "rows.jsonl", [told]))
    assert found.group == "7" and found.signals.confidence == 0.25 and (found.slm, found.llm) == (False, True)


# --- the router as a file


def train_router(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.main(["models", "train-router", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_trained_router_decides_alike_from_its_file(
    data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "router.json"
    told = train_router(["--data", str(data[0]), "--out", str(out), "--target-rate", "0.3"], capsys)
    fitted = fit(read(data[0]), RouterSettings(target_rate=0.3)).predictor
    loaded = Predictor.load(out)
    assert [loaded.decide(row["prompt"]) for row in made(40, 7)] == [fitted.decide(r["prompt"]) for r in made(40, 7)]
    assert loaded.threshold == fitted.threshold == told["threshold"] and told["path"] == str(out)
    assert told["bytes"] == out.stat().st_size and told["spec"] == loaded.spec.digest() and told["examples"] == 400
    assert told["escalates"] == pytest.approx(0.3, abs=0.01) and told["weights"] == loaded.weights.size


def test_a_router_is_for_its_owner_alone(
    data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = written(tmp_path / "router.json", ["an older one, open to all"])
    out.chmod(0o644)
    train_router(["--data", str(data[0]), "--out", str(out)], capsys)
    assert out.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("option", [("--target-rate", "nan"), ("--risk", "nan")])
def test_a_rate_that_is_no_number_trains_nothing(
    option: tuple[str, str], data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "router.json"
    assert cli.main(["models", "train-router", "--data", str(data[0]), "--out", str(out), *option]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and option[0] in shown and not out.exists()


def test_saving_again_writes_the_same_bytes(data: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    fit(read(data[0])[:50]).predictor.save(one)
    Predictor.load(one).save(other)
    assert one.read_bytes() == other.read_bytes()


def test_no_prompt_can_be_read_in_the_file(tmp_path: Path) -> None:
    fit([Example(f"wombat {at}", at % 2 == 0, True) for at in range(8)]).predictor.save(tmp_path / "router.json")
    assert "wombat" not in (tmp_path / "router.json").read_text()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a router's file holds."""
    file = tmp_path_factory.mktemp("router") / "router.json"
    fit([Example(row["prompt"], row["slm"] == 1, row["llm"] == 1) for row in made(20, 1)]).predictor.save(file)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "format"),
        ({"threshold": 3.0}, "threshold"),
        ({"weights": "AAAA"}, "no router"),
        ({"weights": "AAAAAA=="}, "weights"),
        ({"slope": -1.0}, "slope"),
        ({"more": 1}, "more"),
    ],
)
def test_a_file_that_is_no_router_is_refused(
    change: dict[str, Any], said: str, saved: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "router.json"
    file.write_text(json.dumps(saved))
    assert 0 < Predictor.load(file).score("why?") < 1
    file.write_text(json.dumps(saved | change))
    with pytest.raises(BadInput, match=said):
        Predictor.load(file)


def test_a_folder_that_is_not_there_costs_no_training(
    data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit_simulations.commands._bench_routing.fit", lambda *_: pytest.fail("trained"))
    out = tmp_path / "gone" / "router.json"
    assert cli.main(["models", "train-router", "--data", str(data[0]), "--out", str(out)]) == 2
    assert "make it or choose another --out" in capsys.readouterr().err


def test_static_assignment_hands_over_whole_types_by_what_they_gain() -> None:
    train = [
        Example("x", bool(slm), bool(llm), group)
        for group, slm, llm in (("sums", 0, 1), ("names", 1, 1), ("odes", 1, 0))
    ] * 50
    test = [Example("y", True, True, group) for group in ("names", "sums", "odes", "sums", "unheard of")]
    score = static(train, test, np.random.default_rng(0))
    assert list(np.argsort(-score)[:2] % 2) == [1, 1] and np.argmin(score) == 2  # both sums first, odes last
    assert score[1] == pytest.approx(50 / 70, abs=1e-4) and score[2] == pytest.approx(-50 / 70, abs=1e-4)
    assert score[4] == pytest.approx(0, abs=1e-4)  # of a type that nobody knows: the mean of all


def test_a_type_with_few_rows_is_taken_for_an_ordinary_one() -> None:
    train = [Example("x", False, False, "common")] * 100 + [Example("x", False, True, "rare")]
    score = static(train, [Example("y", True, True, "rare")], np.random.default_rng(0))
    assert 0.01 < score[0] < 0.1
