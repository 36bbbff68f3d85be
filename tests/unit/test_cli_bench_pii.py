"""`tacit bench pii`: the figures of a file, for people and for programs."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tacit_privacy import cli
from tacit_simulations.evaluation.pii import subjects

ROWS: list[dict[str, Any]] = [
    {"id": 1, "text": "mail anna@example.org", "spans": [{"start": 5, "end": 21, "type": "EMAIL"}]},
    {"id": "two", "text": "card 4111 1111 1111 1111 for Anna", "units": ["4111 1111 1111 1111", "anna", "gone"]},
    {"id": 3, "text": "nothing here", "spans": [], "units": []},
]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that measure ROWS without a model."""
    monkeypatch.delenv("TACIT_DATA", raising=False)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "policy.toml").write_text('[detection]\nrecogniser = "none"\n')
    return ["bench", "pii", str(tmp_path / "rows.jsonl"), "--policy", str(tmp_path / "policy.toml")]


def measured(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_json_holds_every_figure(rows: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(rows, capsys)
    assert found["recogniser"] == "none" and found["threshold"] == 0.5
    (mine,) = found["sets"]
    assert (mine["name"], mine["texts"], mine["refused"]) == ("rows.jsonl", 3, 0)
    assert mine["characters"] == sum(len(str(row["text"])) for row in ROWS)
    assert mine["masked_share"] == pytest.approx(35 / mine["characters"])
    assert mine["spans"]["exact"]["f2"] == 1.0
    assert mine["spans"]["by_type"]["EMAIL_ADDRESS"]["hits"] == 1
    assert mine["over_redaction"] == 0.0
    assert mine["leakage"] == {"strict": 0.5, "any_leak": 1.0, "leaked": 1, "n": 2, "texts": 1, "excluded": 1}
    assert mine["round_trip"] == {"texts": 3, "exact": 3}
    assert mine["curve"] == [] and mine["peers"] == {}


def test_rows_may_come_on_stdin_and_be_limited(
    rows: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(Path(rows[2]).read_text()))
    (mine,) = measured([*rows[:2], "-", *rows[3:], "--limit", "2"], capsys)["sets"]
    assert (mine["name"], mine["texts"]) == ("stdin", 2)


def test_a_curve_has_a_point_for_each_threshold(rows: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (mine,) = measured([*rows, "--curve"], capsys)["sets"]
    assert len(mine["curve"]) == 10
    assert set(mine["curve"][0]) == {
        "threshold",
        "masked_share",
        "f2",
        "f2_any_type",
        "over_redaction",
        "strict_leakage",
        "any_leak",
    }


def test_people_get_tables(rows: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*rows, "--curve"]) == 0
    printed = capsys.readouterr().out
    for words in ("rows.jsonl: types", "EMAIL_ADDRESS", "over thresholds", "0.500", "all", "recogniser none"):
        assert words in printed
    for row in ROWS:
        assert str(row["text"]) not in printed


def test_public_sets_are_read_without_a_file(
    rows: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    (data / "clinc150").mkdir(parents=True)
    (data / "clinc150" / "data_full.json").write_text(json.dumps({"test": [["book a flight", "x"]]}))
    monkeypatch.setenv("TACIT_DATA", str(data))
    (mine,) = measured([*rows[:2], *rows[3:]], capsys)["sets"]
    assert (mine["name"], mine["masked_share"], mine["spans"]) == ("clinc150", 0.0, None)
    (file,) = measured(rows, capsys)["sets"]
    assert file["name"] == "rows.jsonl", "a file comes before the environment"


def test_a_text_that_does_not_come_back_fails_the_check(
    rows: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        text = ""

    monkeypatch.setattr(subjects, "restore", lambda text, conversation: Wrong)
    assert cli.main([*rows, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["sets"][0]["round_trip"]["exact"] == 0
    assert cli.main(rows) == 1
    assert "3 lost" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to measure on"),
        (["nowhere.jsonl"], "cannot read nowhere.jsonl"),
        (["rows.jsonl", "--policy", "nowhere.toml"], "cannot read the policy"),
        (["rows.jsonl", "--recogniser", "."], "is without model.onnx"),
        (["--data", "nowhere"], "is no folder"),
        (["rows.jsonl", "--limit", "0"], "--limit"),
    ],
)
def test_bad_input_is_one_sentence(
    rows: list[str], tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "pii", *words, "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (sentence,) = printed.err.splitlines()
    assert said in sentence


@pytest.mark.filterwarnings("ignore")  # spaCy and Presidio warn of their own affairs
def test_peers_are_measured_on_the_same_texts(rows: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("spacy")
    (mine,) = measured([*rows, "--peers"], capsys)["sets"]
    peers = mine["peers"]
    assert peers["Presidio, no model"]["texts"] == 3
    assert peers["Presidio, no model"]["spans"]["exact"]["hits"] == 1
    assert peers["annotated units"]["leakage"]["leaked"] == 0
    assert peers["capitalised runs"]["leakage"] == {
        "strict": 0.5, "any_leak": 1.0, "leaked": 1, "n": 2, "texts": 1, "excluded": 1
    }  # fmt: skip
    assert peers["capitalised runs"]["texts"] == 2, "rows with units alone"
    assert "published redaction" not in peers
