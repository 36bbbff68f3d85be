"""`tacit bench latency`: real answers of a real model, and times that follow from what was waited for."""

import asyncio
import json
from collections.abc import Callable, Iterator

import pytest
from upstreams import Body, Reply, Upstream, streamed_text, upstream

from tacit_clients.slm.generation import LocalModel
from tacit_privacy import cli
from tacit_simulations.evaluation.modes import latency
from tacit_simulations.evaluation.modes.latency import Spread, Wait

QUICK = ["bench", "latency", "--slm", "tacit-nano", "--prompt-tokens", "24", "--answer-tokens", "6", "--requests", "3"]


@pytest.fixture
def end() -> Iterator[Upstream]:
    with upstream(lambda body: streamed_text("hello", before_s=0.05)) as found:
        yield found


def test_spreads_are_nearest_rank_in_milliseconds() -> None:
    assert Spread.of([0.004, 0.001, 0.003, 0.002]) == Spread(2.0, 4.0)
    assert Spread.of([n / 1e3 for n in range(1, 101)]) == Spread(50.0, 95.0)


def test_tokens_a_second_are_those_after_the_first() -> None:
    assert Wait(first=1.0, whole=3.0, tokens=5).per_second == 2.0
    assert Wait(1.0, 1.0, 1).per_second is None
    told = latency.told([Wait(1.0, 3.0, 5), Wait(2.0, 2.0, 1)])
    assert (told["tokens_per_s"], told["answer_tokens"]) == (2.0, 3.0)
    assert told["ttft_ms"] == {"p50": 1000.0, "p95": 2000.0}


def test_prompts_have_the_length_that_was_asked_and_are_never_alike() -> None:
    async def made() -> tuple[list[str], list[str], list[int]]:
        async with LocalModel.open("tacit-nano") as model:
            found = await latency.made_up_prompts(model, 32, 5, 1)
            again = await latency.made_up_prompts(model, 32, 5, 1)
            lengths = [(await model.answer(latency.asked(text), max_tokens=1)).tokens_in for text in found]
            return found, again, lengths

    found, again, lengths = asyncio.run(made())
    assert found == again and len(set(found)) == 5
    assert all(28 <= length <= 32 for length in lengths)


def test_one_document_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICK, "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert list(found) == ["machine", "model", "local", "predictor", "verification", "modes"]
    assert (found["predictor"], found["modes"], found["local"]["requests"]) == (None, None, 3)
    assert 20 <= found["local"]["prompt_tokens"] <= 24
    for way in ("direct", "gateway"):
        told = found["local"][way]
        assert 1 <= told["answer_tokens"] <= 6
        assert 0 < told["ttft_ms"]["p50"] <= told["whole_ms"]["p50"] <= told["whole_ms"]["p95"]
    assert found["local"]["direct"]["answer_tokens"] == found["local"]["gateway"]["answer_tokens"]
    assert found["verification"]["consistency_ms"]["samples"] == 4
    assert '"route"' not in printed.err  # no line a request


def test_with_a_large_model_every_mode_is_timed_here_and_there(
    end: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--upstream", end.url, "--model", "up-1", "--profile", "pi-5-8gb@wifi-dsl", "--llm-rate", "10", "--json"]
    assert cli.main([*QUICK, *more]) == 0
    rows = json.loads(capsys.readouterr().out)["modes"]
    raw = [row for row in rows if row["baseline"] == "always-llm-raw"]
    assert [row["device_profile"] for row in raw] == ["here", "pi-5-8gb"]
    assert raw[0]["ttft_ms_p50"] >= 50  # the endpoint waits so long
    # a stated rate: 300 ms to the first token, 5 tokens at 10 a second, a round trip of 40 ms
    assert raw[1]["latency_ms_p50"] == pytest.approx(300 + 500 + 40, abs=15)
    assert {"auto", "routing", "fusion"} <= {row["mode"] for row in rows}
    assert {row["failed"] for row in rows} == {0.0}


def failing(first: int) -> Callable[[Body], Reply]:
    """Answers the first requests, so many, and refuses all others."""
    asked = iter(range(10**6))
    return lambda body: streamed_text("hello") if next(asked) < first else Reply([b"{}"], status=400)


@pytest.mark.parametrize("as_json", [True, False])
def test_an_endpoint_that_falls_silent_is_no_measurement(
    as_json: bool, end: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    end.script = failing(1)  # what it is asked before any work
    more = ["--upstream", end.url, "--model", "up-1", "--profile", "pi-5-8gb@wifi-dsl", "--llm-rate", "10"]
    assert cli.main([*QUICK, *more, *(["--json"] if as_json else [])]) == 1
    printed = capsys.readouterr()
    assert "always-llm-redacted and always-llm-raw failed on every question" in printed.err.splitlines()[-1]
    if not as_json:
        assert "failed" in printed.out and "100.0%" in printed.out and "none" in printed.out
        return
    raw = [row for row in json.loads(printed.out)["modes"] if row["baseline"] == "always-llm-raw"]
    assert [(row["device_profile"], row["failed"]) for row in raw] == [("here", 1.0), ("pi-5-8gb", 1.0)]
    assert {row[name] for row in raw for name in ("ttft_ms_p50", "latency_ms_p50", "latency_ms_p95")} == {None}


def test_a_few_questions_that_failed_are_told_beside_the_times(
    end: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    end.script = failing(3)  # the first one, and two of the three questions in always-llm-redacted
    assert cli.main([*QUICK, "--upstream", end.url, "--model", "up-1"]) == 1  # raw: all of them
    printed = capsys.readouterr()
    assert "33.3%" in printed.out and "always-llm-raw failed on every question" in printed.err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--upstream", "http://127.0.0.1:9/v1", "--model", "x"], "nobody answers at http://127.0.0.1:9/v1; start"),
        (["--upstream", "http://127.0.0.1:9/v1"], "--upstream URL with --model ID"),
        (["--llm-rate", "nan"], "nan is no finite number"),
    ],
)
def test_a_large_model_that_cannot_be_asked_costs_no_local_timing(
    more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*QUICK, "--llm-rate", "60", *more]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and sentence in printed.err


def test_people_get_tables(end: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICK, "--upstream", end.url, "--model", "up-1", "--profile", "pi-5-8gb"]) == 0
    printed = capsys.readouterr().out
    for words in ("first text, through the gateway", "check by 4 more answers", "llm-redacted", "pi-5-8gb@ethernet"):
        assert words in printed


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--predictor", "/nowhere.json"], "/nowhere.json"),
        (["--profile", "toaster"], "no device profile toaster"),
        (["--model", "x"], "--upstream URL with --model ID"),
        (["--slm", "/nowhere"], "there is no model folder /nowhere"),
    ],
)
def test_what_cannot_be_is_one_sentence(more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*QUICK, *more]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and sentence in printed.err
