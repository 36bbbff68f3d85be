"""`tacit bench modes` against a real endpoint: what is counted is what was sent, and every baseline is there."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from gateways import Listed, Scripted
from made_up_modes import plan_of
from upstreams import Body, Reply, Upstream, last_text, message, streamed_text, upstream, whole

from tacit_clients.modes.auto import AutoMode
from tacit_privacy import cli
from tacit_privacy.errors import BadInput, EngineFailed
from tacit_simulations import pair
from tacit_simulations.evaluation.modes import llm_server, run
from tacit_simulations.evaluation.modes.asking import Asking, Outcome, ask, house
from tacit_simulations.evaluation.modes.rows import FIELDS
from tacit_simulations.evaluation.modes.sweeps import Sweep
from tacit_simulations.evaluation.modes.tasks import Task

EMAIL = "anna.kowalska@example.net"
TASKS = [
    Task("1", f"mail {EMAIL} about the two dogs", (EMAIL,), (EMAIL,), "errand"),
    Task("2", "what is seven times six in short", ("42",), (), "sum"),
    Task("3", "say from the device", ("from the device",), None, "local"),
]
ANSWERS = {"mail": "send it to {0}", "what": "it is 42", "say": "something else"}


def answering(body: Body) -> Reply:
    """Right about the second question, wrong about the third; the first is right only where the address is known."""
    words = last_text(body).split()
    said = words[1] if words[0] == "mail" else ANSWERS.get(words[0], "ok")
    return streamed_text(said) if body.get("stream") else whole(message(said))


@pytest.fixture
def end() -> Iterator[Upstream]:
    with upstream(answering) as found:
        yield found


def compared(end: Upstream, local: Any = None, **more: Any) -> dict[str, Any]:
    plan = plan_of(end, TASKS, local or Scripted(), **({"outage_questions": 2} | more))
    return asyncio.run(run.evaluate(plan, lambda line: None))


def here(found: dict[str, Any], mode: str, value: Any = None, baseline: str | None = None) -> dict[str, Any]:
    """The one row of a run on this machine."""
    (row,) = [
        row
        for row in found["rows"]
        if not row["emulated"] and (row["mode"], row["value"], row["baseline"]) == (mode, value, baseline)
    ]
    return dict(row)


SWEEPS = {"auto": Sweep("auto.threshold", (0.0, 0.9999))}


def test_what_leaks_is_what_was_sent(end: Upstream) -> None:
    found = compared(end, modes=["local", "llm"])
    raw = here(found, "llm", baseline="always-llm-raw")
    redacted = here(found, "llm", baseline="always-llm-redacted")
    local = here(found, "local", baseline="always-local")
    assert (raw["strict_leakage"], raw["any_leak"], raw["units"]) == (1.0, 1.0, 1.0)
    assert (redacted["strict_leakage"], redacted["units_leaked"]) == (0.0, 0.0)
    assert (local["strict_leakage"], local["exposed_bytes"], local["calls"]) == (0.0, 0.0, 0.0)
    assert raw["exposed_bytes_share"] == 1.0 > redacted["exposed_bytes_share"] > 0.5
    assert raw["exposed_words"] == 1.0 > redacted["exposed_words"]
    with_address = [body for body in end.received if EMAIL.encode() in body]
    assert len(with_address) == 1  # the raw one
    assert (redacted["masked"], raw["masked"], local["masked"]) == pytest.approx((1 / 3, 0, 0))
    assert redacted["restored"] == pytest.approx(1 / 3)  # the endpoint repeats it
    assert (raw["quality"], redacted["quality"], local["quality"]) == pytest.approx((2 / 3, 2 / 3, 1 / 3))


def test_gaps_of_a_taught_model_are_measured_from_the_untaught_one(end: Upstream) -> None:
    row = here(compared(end, modes=["llm"], start=[0.0, 0.0, 0.0]), "local", baseline="always-local")
    assert (row["quality"], row["pgr_raw"]) == pytest.approx((1 / 3, 0.5))  # one, where the large model has two
    row = here(compared(end, modes=["llm"]), "local", baseline="always-local")
    assert row["pgr_raw"] == 0.0


def test_bytes_and_tokens_are_those_of_the_wire(end: Upstream) -> None:
    found = compared(end, modes=["llm"], outage_questions=0)
    redacted = here(found, "llm", baseline="always-llm-redacted")
    raw = here(found, "llm", baseline="always-llm-raw")
    assert 3 * redacted["bytes_up"] == pytest.approx(sum(map(len, end.received[:3])))
    assert 3 * raw["bytes_up"] == pytest.approx(sum(map(len, end.received[3:])))
    assert (redacted["tokens_up"], redacted["tokens_down"], redacted["tokens_told"]) == (7, 5, True)  # as upstreams say
    assert redacted["llm_tokens_share"] == 1.0
    local = here(found, "local", baseline="always-local")
    assert (local["local_tokens_in"], local["local_tokens_out"]) == (11, 4)  # as Scripted says
    assert local["llm_tokens"] == 0


def test_random_is_the_mean_line_and_length_a_real_mixture(end: Upstream) -> None:
    found = compared(end, modes=["llm"], outage_questions=0)
    slm, llm = (found["baselines"][name]["quality"] for name in ("always-local", "always-llm-redacted"))
    for point in found["baselines"]["random"]:
        assert point["quality"] == pytest.approx((1 - point["share"]) * slm + point["share"] * llm)
    half = here(found, "random", 0.5, "random")
    assert half["llm_tokens"] == pytest.approx(6.0) and half["escalation_rate"] == 0.5
    assert half["units_leaked"] == 0
    # two of three questions, the longest two: the third stays with the small model, which knows it
    assert here(found, "length", 0.75, "length")["quality"] == 1.0


def test_a_knob_is_turned_and_its_curve_told(end: Upstream) -> None:
    found = compared(end, modes=["auto"], sweeps=SWEEPS)
    never, always = here(found, "auto", 0.0), here(found, "auto", 0.9999)
    assert (never["escalation_rate"], always["escalation_rate"]) == (0.0, 1.0)
    assert never["quality"] == here(found, "local", baseline="always-local")["quality"]
    assert always["both_wrong_waste"] == 0 and always["over_escalation"] == pytest.approx(1 / 3)
    assert never["under_escalation"] == pytest.approx(2 / 3)
    assert never["apgr"] == always["apgr"] == pytest.approx(0.5) and never["curve_from"] == "sweep"
    assert always["pgr"] == 1.0 and never["pgr"] == 0.0
    assert always["local_tokens_out"] > 0  # its probe counts
    assert always["local_tokens_in"] == 11  # though the probe was stopped before it told so


def test_every_row_has_every_field_and_each_device_its_own(end: Upstream) -> None:
    found = compared(end, modes=["auto"], sweeps=SWEEPS)
    assert all(tuple(row) == FIELDS for row in found["rows"])
    assert json.loads(json.dumps(found)) == found
    auto = [row for row in found["rows"] if row["mode"] == "auto" and row["value"] == 0.0]
    assert [row["device_profile"] for row in auto] == ["here", "phone-sd730", "laptop-mainstream", "pi-5-8gb"]
    assert [row["emulated"] for row in auto] == [False, True, True, True]
    assert auto[0]["energy_j"] is None and auto[1]["energy_j"] > auto[2]["network_energy_j"] == 0
    assert {row["baseline"] for row in found["rows"]} == {
        None,
        "always-local",
        "always-llm-raw",
        "always-llm-redacted",
        "random",
        "length",
    }


def test_families_are_told_apart(end: Upstream) -> None:
    found = compared(end, modes=["llm"], outage_questions=0)["rows"]
    (redacted,) = [row for row in found if row["baseline"] == "always-llm-redacted" and not row["emulated"]]
    assert redacted["families"]["sum"] == {"questions": 1, "quality": 1.0, "escalation_rate": 1.0}
    assert redacted["families"]["local"]["quality"] == 0.0


def test_while_the_large_model_is_gone_the_device_answers_or_not(end: Upstream) -> None:
    found = compared(end, modes=["auto", "llm"], sweep=False)
    local, llm, auto = (
        here(found, "local", baseline="always-local"),
        here(found, "llm", baseline="always-llm-redacted"),
        here(found, "auto"),
    )
    assert [row["outage_questions"] for row in (local, llm, auto)] == [2, 2, 2]
    assert [row["outage_answered"] for row in (local, llm, auto)] == [1.0, 0.0, 1.0]


def test_failures_are_wrong_answers_and_named(end: Upstream) -> None:
    end.script = lambda body: Reply([b"{}"], status=500)
    found = here(compared(end, modes=["llm"], outage_questions=0), "llm", baseline="always-llm-redacted")
    assert (found["quality"], found["failed"], found["failures"]) == (0.0, 1.0, {"status": 1.0})
    assert found["units"] == 1  # what was to leave counts all the same


def test_the_same_seed_sends_the_same_bytes(end: Upstream) -> None:
    async def asked(seed: int) -> list[bytes]:
        plan, before = plan_of(end, TASKS, Scripted()), len(end.received)
        async with house(plan.settings, plan.policy, None, Asking(seed=seed), Listed(plan.policy)) as at:
            await ask(at, "llm", TASKS[0])
        return end.received[before:]

    first, again, other = (asyncio.run(asked(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert EMAIL.encode() not in first[0]


def test_an_answer_is_timed_to_its_first_text(end: Upstream) -> None:
    async def asked() -> Outcome:
        plan = plan_of(end, TASKS, None)
        local = Scripted(pause_s=0.03)
        async with house(plan.settings, plan.policy, local, Asking()) as at:
            return await ask(at, "local", TASKS[2])

    found = asyncio.run(asked())
    assert found.right and 30 <= found.ttft_ms < found.latency_ms and found.latency_ms >= 90
    assert (found.first.local_out, found.whole.local_out) == (1, 4)
    assert found.first.local_in == found.whole.local_in == 11
    assert found.first.local_ms < found.whole.local_ms


def test_a_defect_is_no_wrong_answer(end: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(AutoMode, "answer", broken)
    with pytest.raises(ZeroDivisionError):
        compared(end, modes=["auto"])


def test_a_mode_that_is_not_there_is_refused_before_anything_is_asked(end: Upstream) -> None:
    with pytest.raises(BadInput, match="no mode telepathy; it has auto"):
        compared(end, modes=["telepathy"])
    with pytest.raises(BadInput, match="threshold"):
        compared(end, modes=["auto"], sweeps={"auto": Sweep("auto.threshold", (7.0,))})
    assert end.received == []


# --- the command


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    told = [{"id": t.id, "prompt": t.prompt, "answer": t.answers[0], "family": t.family} for t in TASKS]
    told[0]["units"] = [EMAIL]  # type: ignore[assignment]
    file.write_text("".join(json.dumps(row) + "\n" for row in told))
    return file


@pytest.fixture
def words(rows: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "policy.toml").write_text('[detection]\nrecogniser = "none"\n')
    quick = ["--modes", "auto", "--no-sweep", "--outage", "0", "--max-tokens", "4", "--slm", "tacit-nano"]
    return ["bench", "modes", "--data", str(rows), "--policy", str(tmp_path / "policy.toml"), *quick]


def test_one_document_on_stdout_and_three_files(
    end: Upstream, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main([*words, "--upstream", end.url, "--model", "up-1", "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["dataset"], found["n"], found["models"]["llm"]) == ("questions", 3, "up-1")
    assert "auto: 3 questions" in printed.err
    assert json.loads((out / "result.json").read_text()) == found
    lines = (out / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == found["rows"]
    page = (out / "report.html").read_text()
    assert page.rstrip().endswith("</html>") and "<script" not in page
    for text in (printed.out, page, *lines):
        assert EMAIL not in text and "two dogs" not in text  # figures alone


def test_people_get_a_table(end: Upstream, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*words, "--upstream", end.url, "--model", "up-1"]) == 0
    printed = capsys.readouterr().out
    for word in ("always-local", "always-llm-raw", "random", "length", "auto", "66.7%"):
        assert word in printed


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--upstream", "http://127.0.0.1:9/v1"], "--upstream URL with --model ID"),
        (["--upstream", "http://127.0.0.1:9/v1", "--model", "x", "--llm", "y"], "--upstream URL with --model ID"),
        (["--llm", "/nowhere"], "there is no model folder /nowhere"),
        (["--profile", "toaster"], "no device profile toaster"),
        (["--set", "nonsense"], "--set nonsense is no setting"),
        (["--price-in", "nan"], "nan is no finite number"),
        (["--price-out", "inf"], "inf is no finite number"),
        (["--llm-rate", "nan"], "nan is no finite number"),
        (["--upstream", "http://127.0.0.1:9/v1", "--model", "x"], "nobody answers at http://127.0.0.1:9/v1; start"),
        (["--set", "auto.threshold=9", "--upstream", "http://127.0.0.1:9/v1", "--model", "x"], "auto.threshold"),
        (["--data", "/nowhere.jsonl"], "cannot read /nowhere.jsonl"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str], more: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--out", str(tmp_path / "out"), *more]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and sentence in printed.err
    assert not (tmp_path / "out").exists()


def test_how_the_endpoint_is_reached_may_be_set(end: Upstream, words: list[str]) -> None:
    more = ["--upstream", end.url, "--model", "up-1", "--set", "upstream.retries=0", "--modes", "llm"]
    assert cli.main([*words, *more]) == 0


SECRET = "sk-SECRET123"


@pytest.mark.parametrize(
    "change",
    [
        f"upstream.key={SECRET}",
        f'upstream={{url="http://127.0.0.1:9/v1",model="m",key="{SECRET}"}}',
        f"server.token={SECRET}",
        f'server={{token="{SECRET}"}}',
        f"keeping.key={SECRET}",
    ],
)
def test_what_may_hold_a_secret_is_not_set_that_way(
    change: str, end: Upstream, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--upstream", end.url, "--model", "up-1", "--out", str(tmp_path / "out"), "--set", change]
    assert cli.main([*words, *more]) == 2
    printed = capsys.readouterr()
    assert "is not for a comparison" in printed.err and SECRET not in printed.out + printed.err
    assert not (tmp_path / "out").exists() and end.received == []


def test_the_key_of_the_environment_is_sent_and_told_nowhere(
    end: Upstream,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TACIT_UPSTREAM_KEY", SECRET)
    out = tmp_path / "out"
    more = ["--upstream", end.url, "--model", "up-1", "--out", str(out), "--json", "--set", "auto.probe_tokens=4"]
    assert cli.main([*words, *more]) == 0
    assert {head["authorization"] for head in end.heads} == {f"Bearer {SECRET}"}
    printed = capsys.readouterr()
    assert json.loads(printed.out)["settings"]["changes"] == ["auto.probe_tokens=4"]
    for text in (printed.out, printed.err, *(file.read_text() for file in out.iterdir())):
        assert SECRET not in text


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply([b"{}"], status=401), "status 401; set TACIT_UPSTREAM_KEY"),
        (Reply([b"{}"], status=404), "no model up-1; correct --upstream or --model"),
        (Reply([b"{}"], status=400), "refuses a short question with status 400"),
        (Reply([b"<html>"], headers={"content-type": "text/html"}), "does its URL end as in /v1?"),
    ],
)
def test_an_endpoint_that_refuses_is_one_sentence_after_one_question(
    reply: Reply, sentence: str, end: Upstream, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end.script = lambda body: reply
    out = tmp_path / "out"
    assert cli.main([*words, "--upstream", end.url, "--model", "up-1", "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and sentence in printed.err
    assert len(end.received) == 1 and not out.exists()
    assert EMAIL.encode() not in end.everything and b"two dogs" not in end.everything


@pytest.mark.parametrize("as_json", [True, False])
def test_an_endpoint_that_falls_silent_is_told_with_what_was_measured(
    as_json: bool, end: Upstream, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end.script = lambda body: answering(body) if len(end.received) == 1 else Reply([b"{}"], status=400)
    out = tmp_path / "out"
    more = ["--upstream", end.url, "--model", "up-1", "--out", str(out), *(["--json"] if as_json else [])]
    assert cli.main([*words, *more]) == 1
    printed = capsys.readouterr()
    last = printed.err.splitlines()[-1]
    assert "failed on every question, so no figure of the large model was measured" in last
    found = json.loads((out / "result.json").read_text())
    for name in ("always-llm-redacted", "always-llm-raw"):
        row = here(found, "llm", baseline=name)
        assert (row["failed"], row["latency_ms_p50"], row["ttft_ms_p95"], row["llm_ms"]) == (1.0, None, None, None)
    assert here(found, "local", baseline="always-local")["latency_ms_p50"] > 0
    assert "always-llm-redacted failed." in (out / "report.html").read_text()
    if not as_json:
        assert "failed" in printed.out and "100.0%" in printed.out and "none" in printed.out


@pytest.mark.parametrize("field", ["id", "family"])
def test_half_a_character_is_refused_before_any_work(
    field: str, rows: Path, end: Upstream, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"id": "4", "prompt": "say it", "answer": "it", "family": "errand"} | {field: "\ud800"}
    rows.write_text(rows.read_text() + json.dumps(told) + "\n")
    more = ["--upstream", end.url, "--model", "up-1", "--out", str(tmp_path / "out")]
    assert cli.main([*words, *more]) == 2
    assert f"{rows}, line 4: half of a surrogate pair" in capsys.readouterr().err
    assert end.received == [] and not (tmp_path / "out").exists()


def test_without_a_large_model_it_says_what_to_pass(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair, "LARGE", None)
    assert cli.main(words) == 2
    assert "give --upstream URL and --model ID, or --llm FOLDER" in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--llm", "tacit-nano", "--out", str(tmp_path)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err


# --- a large model of one's own


def test_a_model_is_served_over_real_http_and_its_process_ends() -> None:
    before = set(psutil.Process().children())
    with llm_server.serving("tacit-nano", 4) as large:
        (child,) = set(psutil.Process().children()) - before
        plan = plan_of_url(large)

        async def asked() -> Outcome:
            async with house(plan.settings, plan.policy, None, Asking(max_tokens=4)) as at:
                return await ask(at, "llm", TASKS[2])

        found = asyncio.run(asked())
        assert (found.answered, found.failed, found.answered_by) == (True, "", "llm")
        assert 1 <= found.whole.llm_out <= 4 and found.whole.tokens_told
    assert not child.is_running()


def plan_of_url(large: llm_server.Endpoint) -> run.Plan:
    from made_up_modes import plan

    return plan(TASKS, None, large)


def test_the_child_ends_when_its_parent_is_killed() -> None:
    code = (
        "import sys\nfrom tacit_simulations.evaluation.modes.llm_server import serving\n"
        "with serving('tacit-nano', 4):\n    print('up', flush=True)\n    sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None and parent.stdin is not None
        assert parent.stdout.readline() == b"up\n"
        (child,) = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(10)
        psutil.wait_procs([child], timeout=20)
        assert not child.is_running()
    finally:
        parent.kill()
        parent.communicate(timeout=10)


def test_a_child_that_cannot_start_shows_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('no place to sit')\n")
    with pytest.raises(EngineFailed, match="no place to sit"), llm_server.serving("tacit-nano", 4):
        pass


def test_knobs_of_modes_that_are_not_asked_are_not_looked_at(end: Upstream) -> None:
    sweeps = {"auto": Sweep("auto.threshold", (0.0,)), "routing": Sweep("modes.routing.token_price", (0.5,))}
    rows = compared(end, modes=["auto"], sweeps=sweeps)["rows"]  # a price without a predictor would be refused
    assert {row["mode"] for row in rows if row["baseline"] is None} == {"auto"}
