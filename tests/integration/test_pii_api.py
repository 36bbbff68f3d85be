"""Redaction for Python programs: three calls, any number of threads, a vault that outlives the program."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_privacy.errors import BadInput, TextRefused
from tacit_privacy.pii.api import open_redactor
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import DetectionPolicy, RedactionPolicy
from tacit_privacy.pii.vault.keys import RawKey
from tacit_privacy.pii.vault.store import Vault

PATTERNS = RedactionPolicy(detection=DetectionPolicy(recogniser="none"))
TEXT = "Write to anna.kowalska@example.org, or call +48 601 234 567."


class Capitals:
    """Finds every word in capitals: all that a property needs."""

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        return [
            [Entity(i, i + 1, "PERSON", 1.0) for i, letter in enumerate(text) if letter.isupper()] for text in texts
        ]


def test_three_calls() -> None:
    with open_redactor(PATTERNS) as redactor:
        done = redactor.redact(TEXT, conversation="letters")
        assert "kowalska" not in done.text and "601" not in done.text
        assert done.masked == {"EMAIL_ADDRESS": 1, "PHONE_NUMBER": 1}
        assert [TEXT[each.start : each.end] for each in done.entities] == [
            "anna.kowalska@example.org",
            "+48 601 234 567",
        ]
        assert redactor.restore(done.text, conversation="letters") == TEXT
        assert redactor.restore(done.text, conversation="another") == done.text
        assert redactor.redact(TEXT, conversation="letters").text == done.text
        assert redactor.redact(TEXT, conversation="another").text != done.text


def test_the_default_policy_loads_the_recogniser_when_it_is_needed() -> None:
    with open_redactor() as redactor:
        done = redactor.redact("My colleague Anna Kowalska lives in Warsaw.")
        assert "Anna" not in done.text
        assert redactor.restore(done.text) == "My colleague Anna Kowalska lives in Warsaw."


def test_a_vault_outlives_the_program(tmp_path: Path) -> None:
    vault = tmp_path / "vault.db"
    with open_redactor(PATTERNS, vault) as redactor:
        safe = redactor.redact(TEXT).text
    code = "import sys; from tacit_privacy.pii.api import open_redactor; _, vault, text = sys.argv; "
    code += "print(open_redactor(vault=vault).restore(text))"
    done = subprocess.run(
        [sys.executable, "-c", code, vault, safe], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == TEXT + "\n"
    with open_redactor(PATTERNS, str(vault)) as redactor:
        assert redactor.redact(TEXT).text == safe


def test_a_vault_that_was_passed_in_stays_open(tmp_path: Path) -> None:
    with Vault.open(tmp_path / "v.db", RawKey(b"k" * 32)) as vault:
        with open_redactor(PATTERNS, vault) as redactor:
            safe = redactor.redact(TEXT).text
        assert vault.conversations()[0].size == 2
        with open_redactor(PATTERNS, vault) as redactor:
            assert redactor.restore(safe) == TEXT


def test_a_refused_text_is_an_error_that_does_not_hold_it(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[types]\nEMAIL_ADDRESS = "block"\nPHONE_NUMBER = "local_only"\n'
        '[detection]\nrecogniser = "none"\nmax_chars = 99\n'
    )
    with open_redactor(policy) as redactor:
        for text, reason in (("a@example.org", "block"), ("+48 601 234 567", "local_only")):
            with pytest.raises(TextRefused) as caught:
                redactor.redact(f"Say {text} now")
            assert caught.value.reason == reason and text not in str(caught.value)
        with pytest.raises(BadInput, match="100 characters, more than"):
            redactor.redact("a" * 100)
        assert redactor.redact("nothing here").text == "nothing here"


def test_threads_share_a_redactor(tmp_path: Path) -> None:
    wrong: list[str] = []
    with open_redactor(PATTERNS, tmp_path / "vault.db") as redactor:

        def work(number: int) -> None:
            for turn in range(10):
                text = f"user{turn}@example.org wrote to own{number}x{turn}@example.org"
                safe = redactor.redact(text, conversation="shared").text
                if redactor.restore(safe, conversation="shared") != text or "@" in safe:
                    wrong.append(text)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        first = {redactor.redact("user3@example.org", conversation="shared").text for _ in range(3)}
        assert len(first) == 1


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_restoring_undoes_redacting(text: str) -> None:
    with open_redactor(PATTERNS, detector=Capitals()) as redactor:
        assert redactor.restore(redactor.redact(text).text) == text


@given(text=st.text(alphabet="aB@_.x 1", max_size=40), cuts=st.lists(st.integers(0, 60)))
def test_an_answer_may_arrive_in_parts(text: str, cuts: list[int]) -> None:
    with open_redactor(PATTERNS, detector=Capitals()) as redactor:
        safe = redactor.redact(text).text
        stream = redactor.restorer()
        places = sorted({0, len(safe), *(cut for cut in cuts if cut < len(safe))})
        parts = [stream.feed(safe[a:b]) for a, b in pairwise(places)]
        assert "".join(parts) + stream.close() == text


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, tacit_privacy.pii.api; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {
        "torch",
        "transformers",
        "onnxruntime",
        "presidio_analyzer",
        "spacy",
        "sqlalchemy",
        "aiohttp",
        "httpx",
    }
