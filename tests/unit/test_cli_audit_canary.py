"""`tacit audit canary --scores` and `tacit audit selftest`, as they are typed."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from tacit_privacy.audit.one_run import one_run
from tacit_privacy.cli import main


def scores(mu: float, count: int = 400) -> str:
    rng = np.random.default_rng(5)
    included = rng.random(count) < 0.5
    drawn = 7.0 + 0.1 * (rng.standard_normal(count) + mu * included)  # in units of its own
    rows = [
        {"score": float(s), "included": int(i), "id": n} for n, (s, i) in enumerate(zip(drawn, included, strict=True))
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scores.jsonl"
    path.write_text(scores(3.0))
    return path


@pytest.mark.parametrize(("claim", "code"), [("1", 1), ("30", 0)])
def test_a_claim_is_refuted_or_not(file: Path, claim: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "canary", "--scores", str(file), "--delta", "1e-3", "--claim", claim, "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    bound = one_run([row["score"] for row in rows], [row["included"] for row in rows], 1e-3, 0.95)
    assert said["ok"] is (code == 0) and said["claimed_epsilon"] == float(claim)
    assert said["lower_bound"] == bound.epsilon_any and said["one_run"]["epsilon_gaussian"] == bound.epsilon_gaussian
    assert said["null"] == "scores of those left out"
    assert 8 < said["estimate"] < 25  # 14.1 is the epsilon of mu = 3


def test_a_gaussian_claim_is_held_to_more(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["audit", "canary", "--scores", str(file), "--delta", "1e-3", "--claim", "2.5"]
    assert main(command) == 0
    assert "Not refuted" in capsys.readouterr().out
    assert main([*command, "--gaussian"]) == 1
    assert "REFUTED" in capsys.readouterr().out


def test_scores_come_from_stdin_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(scores(0.0)))
    assert main(["audit", "canary", "--scores", "-", "--delta", "1e-3"]) == 0
    assert "400 canaries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no scores"),
        ("nonsense\n", "line 1 is not JSON"),
        ("[1, 2]\n", "line 1 is no row"),
        ('{"score": 1, "included": 1}\n{"score": 1}\n', "line 2: included"),
        ('{"score": NaN, "included": 1}\n', "line 1: score"),
        ('{"score": 1, "included": 3}\n', "line 1: included"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    file: Path, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(content)
    assert main(["audit", "canary", "--scores", str(file), "--delta", "1e-3"]) == 2
    assert said in capsys.readouterr().err


def test_words_that_do_not_fit_together_are_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        ([], "name either the folder"),
        (["--scores", str(file)], "--scores needs --delta"),
        ([str(file.parent)], "holds no canaries.jsonl"),
        ([str(file.parent), "--delta", "1e-3"], "leave --delta"),
        (["--scores", str(file), "--delta", "2"], "delta must lie between 0 and 1"),
        (["--scores", str(file), "--delta", "0.1", "--confidence", "1"], "confidence must lie between"),
        (["--scores", str(file.parent / "none"), "--delta", "0.1"], "cannot read"),
    ):
        assert main(["audit", "canary", *words]) == 2
        assert said in capsys.readouterr().err


def test_the_self_test_accepts_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "selftest", "--samples", "4000", "--epsilon", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] and said["claimed_epsilon"] == pytest.approx(2.0) and said["lower_bound"] <= 2.0
    assert not any(case["refutes"] for case in said["cases"]) and said["samples"] == 4000
    assert main(["audit", "selftest", "--samples", "4000", "--epsilon", "0"]) == 2
    assert "epsilon must be a positive number" in capsys.readouterr().err
