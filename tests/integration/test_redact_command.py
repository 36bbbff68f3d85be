"""``tacit redact`` and ``tacit restore`` as a user has them: processes, pipes, files larger than what they hold."""

import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_privacy.commands import _blocks, _rows
from tacit_privacy.commands._blocks import AFTER, BEFORE, CORE, Block, blocks
from tacit_privacy.commands._redacting import Piece, Plain, Replacing
from tacit_privacy.commands._streams import Lines
from tacit_privacy.errors import BadInput
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.vault.opening import open_vault
from tacit_privacy.pii.vault.store import Vault

TACIT = str(Path(sys.executable).with_name("tacit"))
PATTERNS = '[detection]\nrecogniser = "none"\n'
LETTER = "Dear Anna Kowalska,\n\nwrite to anna@example.org or call +48 601 234 567.\n\nYours, Bo Li\n"
SECRET = "AKIA" + "IOSFODNN7EXAMPL3"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "patterns.toml").write_text(PATTERNS)
    for name in ("TACIT_VAULT_PASSPHRASE", "TACIT_VAULT_KEY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def tacit(words: str, text: str | bytes = "", code: int = 0) -> subprocess.CompletedProcess[bytes]:
    sent = text.encode() if isinstance(text, str) else text
    done = subprocess.run([TACIT, *words.split()], input=sent, capture_output=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    return done


def redact(words: str, text: str | bytes = "", code: int = 0) -> str:
    return tacit(f"redact --policy patterns.toml {words}", text, code).stdout.decode()


def running(words: str, **streams: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([TACIT, *words.split()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **streams)


def pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipes")
    return process.stdin, process.stdout


def mail(number: int) -> str:
    return f"user{number}@example.org"


# --- text


def test_a_letter_there_and_back() -> None:
    done = tacit("redact --vault v.db", LETTER)
    safe = done.stdout.decode()
    for value in ("Anna", "Kowalska", "anna@", "601 234", "Bo Li"):
        assert value not in safe
    assert safe.startswith("Dear PERSON_") and safe.count("\n") == LETTER.count("\n")
    said = done.stderr.decode()
    assert "made the key v.db.key" in said and "2 PERSON" in said and "tacit restore --vault v.db" in said
    assert stat.S_IMODE(Path("v.db.key").stat().st_mode) == 0o600
    again = tacit("redact --vault v.db", LETTER)
    assert again.stdout.decode() == safe and "made the key" not in again.stderr.decode()  # said once
    restored = tacit("restore --vault v.db", f"Answer: {safe}")
    assert restored.stdout.decode() == f"Answer: {LETTER}"
    assert "restored 4 placeholders" in restored.stderr.decode()


def test_without_a_vault_nobody_can_restore_and_that_is_said() -> None:
    first, second = (tacit("redact --policy patterns.toml", "a@example.org\n") for _ in range(2))
    assert first.stdout != second.stdout
    assert b"nobody can restore it" in first.stderr
    assert tacit("redact --quiet --policy patterns.toml", "a@example.org\n").stderr == b""
    assert sorted(each.name for each in Path().iterdir()) == ["patterns.toml"]


def test_where_nothing_was_masked_there_is_nothing_to_restore() -> None:
    for words in ("redact --policy patterns.toml", "redact --policy patterns.toml --vault v.db"):
        for text in ("", "plain words\n"):
            said = tacit(words, text).stderr.decode()
            assert said.splitlines()[-1] == "tacit: masked nothing, so there is nothing to restore"


@pytest.mark.parametrize("name", ["my talk", ""])
def test_what_is_said_to_be_typed_can_be_typed(name: str) -> None:
    Path("a.txt").write_text("a@example.org")
    words = ["redact", "--policy", "patterns.toml", "--vault", "my vault", "--conversation", name, "a.txt"]
    done = subprocess.run([TACIT, *words], capture_output=True, text=True, timeout=60, check=True)
    (hint,) = re.findall(r"; tacit (restore .*) puts it back", done.stderr)
    back = subprocess.run(f"{TACIT} {hint}", shell=True, input=done.stdout, capture_output=True, text=True, check=True)
    assert back.stdout == "a@example.org"


def test_a_key_without_a_vault_locks_nothing() -> None:
    done = tacit("redact --key passphrase", LETTER, 2)
    assert done.stderr == b"tacit: --key says how a vault is locked; add --vault\n" and done.stdout == b""


@pytest.mark.parametrize("words", ["redact a.txt -q", "redact a.txt --json", "restore a.txt --vault v.db"])
def test_a_stdout_that_is_closed_is_one_sentence(words: str) -> None:
    Path("a.txt").write_text("a@example.org")
    done = subprocess.run(["bash", "-c", f"{TACIT} {words} >&-"], capture_output=True, timeout=60, check=False)
    assert done.returncode == 2 and done.stderr.startswith(b"tacit: stdout is closed") and done.stderr.count(b"\n") == 1


def test_a_stdin_that_is_closed_is_one_sentence() -> None:
    redact("--vault v.db", "a@example.org")
    for words in ("redact", "restore --vault v.db"):
        done = subprocess.run(["bash", "-c", f"{TACIT} {words} <&-"], capture_output=True, timeout=60, check=False)
        assert done.returncode == 2 and done.stderr == b"tacit: cannot read stdin: it is closed; name files\n"


def test_files_one_after_the_other_and_line_ends_as_they_are() -> None:
    Path("one").write_bytes(b"a@example.org\r\nx\xc3\xa4\n")
    Path("two").write_bytes("\ufeffb@example.org\x00\u2028no end".encode())
    safe = redact("--vault v.db one two -", "c@example.org")
    assert safe.count("EMAIL_ADDRESS_") == 3 and "\r\n" in safe
    together = "a@example.org\r\nxä\n\ufeffb@example.org\x00\u2028no endc@example.org"
    assert tacit("restore --vault v.db", safe).stdout.decode() == together
    Path("safe").write_text(safe)
    for cut in (20, len(safe) - 9, len(safe) - 3):  # also where a placeholder begins in one file and ends in the next
        Path("left").write_bytes(safe.encode()[:cut])
        Path("right").write_bytes(safe.encode()[cut:])
        assert tacit("restore --vault v.db left right").stdout.decode() == together
    assert redact("--vault v.db", "") == ""


def test_conversations_are_kept_apart() -> None:
    one, two = (redact(f"--vault v.db --conversation {name}", "a@example.org") for name in ("one", "two"))
    assert one != two
    assert tacit("restore --vault v.db --conversation one", f"{one} {two}").stdout.decode() == f"a@example.org {two}"
    assert b"no conversation three" in tacit("restore --vault v.db --conversation three", one, 2).stderr


def test_a_stream_that_grows_is_written_as_it_comes_and_restored_behind_it() -> None:
    first = running("redact --vault v.db --lines --policy patterns.toml -q")
    second = running("restore --vault v.db -q")
    (to_first, from_first), (to_second, from_second) = pipes(first), pipes(second)
    with first, second:
        for number in range(3):  # each answer is there before the next question
            to_first.write(f"ask {mail(number)}\n".encode())
            to_first.flush()
            safe = from_first.readline()
            assert b"EMAIL_ADDRESS_" in safe and b"@" not in safe
            half = len(safe) // 2
            to_second.write(safe[:half])
            to_second.flush()
            time.sleep(0.05)
            to_second.write(safe[half:])
            to_second.flush()
            assert from_second.readline() == f"ask {mail(number)}\n".encode()
        to_first.close()
        to_second.close()
        assert (first.wait(30), second.wait(30)) == (0, 0)


def test_one_document_with_json() -> None:
    done = json.loads(redact("--json --vault v.db", "x ü a@example.org"))
    assert set(done) == {"redacted", "entities", "masked"} and done["masked"] == {"EMAIL_ADDRESS": 1}
    (entity,) = done["entities"]
    assert (entity["start"], entity["end"], entity["type"]) == (4, 17, "EMAIL_ADDRESS")
    back = json.loads(tacit("restore --json --vault v.db", done["redacted"] + " EMAIL_ADDRESS_zzz9z").stdout)
    text = "x ü a@example.org EMAIL_ADDRESS_zzz9z"
    assert back == {"restored": text, "restored_count": 1, "unknown": 1, "malformed": 0, "withheld": 0}
    assert b"prints one document" in tacit("redact --json --jsonl", "", 2).stderr


def test_where_originals_may_be_put_is_a_policy() -> None:
    safe = redact("--vault v.db", "a@example.org").strip()
    text = f"see {safe} and https://evil.example/?q={safe}\n"
    assert tacit("restore --vault v.db", text).stdout.count(b"a@example.org") == 2
    done = tacit("restore --vault v.db --policy patterns.toml", text)
    assert done.stdout.decode() == f"see a@example.org and https://evil.example/?q={safe}\n"
    assert b"1 left in addresses by policy" in done.stderr


# --- JSONL


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_rows_gain_what_was_found_and_keep_the_rest() -> None:
    given: list[dict[str, Any]] = [
        {"id": 1, "text": "é a@example.org", "other": [1, None, {"x": "\ud800"}]},
        {"id": "x", "text": ""},
        {"text": "\U0001f600 b@example.org and a@example.org"},
    ]
    lines = "\n".join(json.dumps(row) for row in given) + "\n\n"
    done = rows(redact("--jsonl --vault v.db", lines))
    assert [{k: v for k, v in row.items() if k not in ("redacted", "entities")} for row in done] == given
    assert done[1]["redacted"] == "" and done[1]["entities"] == []
    for row in done:
        for entity in row["entities"]:
            assert set(entity) == {"start", "end", "type", "score"}
            assert row["text"][entity["start"] : entity["end"]].endswith("@example.org")  # code points
    assert len(done[2]["entities"]) == 2 and "@" not in done[2]["redacted"]
    back = rows(tacit("restore --jsonl --vault v.db", "\n".join(map(json.dumps, done))).stdout.decode())
    assert [row["restored"] for row in back] == [row["text"] for row in given]


def test_everything_else_in_a_row_stays_to_the_character() -> None:
    before = r'{"b":1.00000000000000000001,"d":1E5 , "x": 1e400, "n": -0, "é\u00e9": "\u00e9\/", '
    before += '"k": 1, "k": {"k": 2, "k": 3}, '
    after = ',\t"z" : [ ] , "big": ' + "9" * 5_000 + " }\r\n"
    text = json.dumps("ü a@example.org \ud800")
    line = f'  {before}"text":{text}{after}'
    gained = redact("--jsonl --vault v.db", line)
    end = line.rindex("9") + 1
    assert gained.startswith(line[:end] + ', "redacted": "') and gained.endswith("}] }\r\n")
    replaced = redact("--jsonl --vault v.db --replace", line)
    assert replaced.startswith(f'  {before}"text":"') and after[: after.rindex("9")] in replaced
    assert "a@example.org" not in replaced
    back = tacit("restore --jsonl --vault v.db --field text --replace", replaced).stdout.decode()
    assert back.startswith(line[:end] + ', "entities": [') and back.endswith("}] }\r\n")
    assert tacit("restore --jsonl --vault v.db", gained).stdout.decode().endswith(f', "restored": {text} }}\r\n')
    assert (
        b"stdin line 1 has a field restored already"
        in tacit("restore --jsonl --vault v.db", '{"text": "", "restored": ""}', 2).stderr
    )


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    row=st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=4),
    text=st.text(),
    indent=st.booleans(),
    ascii=st.booleans(),
)
def test_a_row_is_read_as_json_is(row: dict[str, Any], text: str, indent: bool, ascii: bool) -> None:
    for name in ("text", "new"):
        row.pop(name, None)
    row = {**row, "text": "given"}
    separators = (" ,\t", " : ") if indent else (",", ":")
    line = json.dumps(row, ensure_ascii=ascii, separators=separators)
    (read,) = _rows.rows(Lines(Given([line])), "given", ("text",), ("new",))  # type: ignore[arg-type]
    assert read.text == "given"
    assert read.with_fields(new=text).startswith(line[:-1])
    assert json.loads(read.with_fields(new=text)) == {**row, "new": text}
    assert json.loads(read.with_text(text, new=[1])) == {**row, "text": text, "new": [1]}


@given(st.text(alphabet='{}[]":, \ttex1.e\\-', max_size=24))
def test_what_is_no_json_is_no_row(line: str) -> None:
    try:
        meant = json.loads(line)
    except ValueError:
        meant = None
    try:
        read = next(_rows.rows(Lines(Given([line])), "given", ("text", "t", "e", "x"), ()), None)  # type: ignore[arg-type]
    except BadInput as error:
        assert ("is not JSON" in str(error)) == (meant is None)
    else:
        assert read is None or isinstance(meant, dict)


def test_a_byte_order_mark_is_passed_over() -> None:
    for name in ("one", "two"):
        Path(name).write_bytes(b'\xef\xbb\xbf{"text": "a@example.org"}\n')
    done = rows(redact("--jsonl --vault v.db one two"))
    assert [row["text"] for row in done] == ["a@example.org", "a@example.org"]
    assert b"line 2 is not JSON" in tacit("redact --jsonl", b'{"text": ""}\n\xef\xbb\xbf{"text": ""}\n', 2).stderr


def test_the_field_is_chosen_and_may_be_replaced() -> None:
    line = json.dumps({"prompt": "a@example.org", "text": 3})
    (row,) = rows(redact("--jsonl --vault v.db --field prompt --replace", line))
    assert set(row) == {"prompt", "text", "entities"} and "@" not in row["prompt"]
    (back,) = rows(tacit("restore --jsonl --vault v.db --field prompt --replace", json.dumps(row)).stdout.decode())
    assert back["prompt"] == "a@example.org"
    assert b"add --jsonl" in tacit("redact --field prompt", "", 2).stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": 9, "text": "kept@secret.example"', "stdin line 70 is not JSON"),
        ('["kept@secret.example"]', "stdin line 70 is JSON but no object"),
        ('{"id": 9, "body": "kept@secret.example"}', "stdin line 70 has no field text; --field"),
        ('{"id": 9, "text": ["kept@secret.example"]}', "stdin line 70: text holds no text"),
        ('{"id": NaN, "text": "kept@secret.example"}', "stdin line 70 is not JSON"),
        ('{"text": "kept@secret.example"} {}', "stdin line 70 is not JSON"),
        ('{"text": "kept@secret.example",}', "stdin line 70 is not JSON"),
        ('{"text": "a", "te\\u0078t": "kept@secret.example"}', "stdin line 70 has the field text twice"),
        ('{"text": "kept@secret.example", "entities": []}', "stdin line 70 has a field entities already"),
        ('{"redacted": 1, "text": "kept@secret.example"}', "stdin line 70 has a field redacted already"),
        ('{"text": ' + "[" * 100_000, "stdin line 70 is not JSON"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_row_is_one_sentence_behind_whole_rows(line: str, said: str, workers: int) -> None:
    before = [json.dumps({"id": number, "text": mail(number)}) for number in range(69)]
    text = "\n".join([*before, line, json.dumps({"id": 10, "text": "x"})])
    done = tacit(f"redact --jsonl -q --policy patterns.toml --workers {workers}", text, 2)
    written = done.stdout.decode()
    assert written.endswith("\n") and [row["id"] for row in rows(written)] == list(range(69))
    assert said in done.stderr.decode() and done.stderr.count(b"\n") == 1
    assert b"secret" not in done.stderr


def test_a_row_that_is_longer_than_a_pipe() -> None:
    text = "word " * 200_000 + "a@example.org"
    (row,) = rows(redact("--jsonl", json.dumps({"text": text})))
    assert row["redacted"].startswith("word word") and row["redacted"].split()[-1].startswith("EMAIL_ADDRESS_")


def test_rows_are_answered_one_by_one() -> None:
    with running("redact --jsonl -q --policy patterns.toml --workers 2") as process:
        send, receive = pipes(process)
        for number in range(3):
            send.write(json.dumps({"id": number, "text": mail(number)}).encode() + b"\n")
            send.flush()
            assert json.loads(receive.readline())["id"] == number
        send.close()
        assert process.wait(30) == 0


# --- workers


def test_workers_change_nothing() -> None:
    chance = random.Random(4)
    names = ["Anna Kowalska", "John Smith", "Maria Garcia", "Fatima Hassan"]

    def sentence(number: int) -> str:
        return f"Tell {chance.choice(names)} that {mail(number % 40)} called, says {chance.choice(names)}."

    texts = [sentence(number) for number in range(90)]
    Path("rows.jsonl").write_text("\n".join(json.dumps({"id": n, "text": text}) for n, text in enumerate(texts)))
    plain = "".join(text + ("\n\n" if n % 9 else "\n") for n, text in enumerate(texts)) * 24
    Path("plain.txt").write_text(plain)
    Path("names.toml").write_text(PATTERNS + f"deny = {json.dumps(names)}\n")
    assert len(plain) > 2 * CORE
    tacit("redact --vault v.db -q", "Anna")  # all start from the same conversation
    rows_out, plain_out = [], []
    for workers in (1, 2):
        vault = f"{workers}.db"
        shutil.copy("v.db", vault)
        shutil.copy("v.db.key", f"{vault}.key")
        rows_out.append(tacit(f"redact --jsonl --vault {vault} --workers {workers} rows.jsonl").stdout)
        plain_out.append(tacit(f"redact --policy names.toml --vault {vault} --workers {workers} plain.txt").stdout)
    assert rows_out[0] == rows_out[1] and plain_out[0] == plain_out[1]
    assert [row["id"] for row in rows(rows_out[1].decode())] == list(range(90))
    assert not any(name.encode() in plain_out[1] for name in names)
    assert tacit("restore --vault 2.db", plain_out[1]).stdout.decode() == plain


def test_no_process_loads_torch_nor_is_large() -> None:
    with running("redact --jsonl -q --workers 2", stderr=subprocess.DEVNULL) as process:
        send, receive = pipes(process)
        for number in range(2):
            send.write(json.dumps({"id": number, "text": f"Anna Kowalska {mail(number)}"}).encode() + b"\n")
        send.flush()
        receive.readline()
        receive.readline()
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert len(family) >= 3
        for member in family:
            assert not [m.path for m in member.memory_maps() if "torch" in m.path]
            assert member.memory_info().rss < 500e6
        send.close()
        assert process.wait(30) == 0


def test_workers_end_with_a_parent_that_is_killed() -> None:
    with running("redact --jsonl -q --policy patterns.toml --workers 2") as process:
        send, receive = pipes(process)
        send.write(b'{"text": "a"}\n')
        send.flush()
        receive.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []
        send.close()


def test_a_worker_that_dies_is_said() -> None:
    with running("redact --jsonl -q --policy patterns.toml --workers 2", stderr=subprocess.PIPE) as process:
        send, receive = pipes(process)
        send.write(b'{"id": 1, "text": "a"}\n')
        send.flush()
        receive.readline()
        for child in psutil.Process(process.pid).children(recursive=True):
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
        time.sleep(0.3)
        send.write(b'{"id": 2, "text": "a"}\n')
        send.close()
        assert process.wait(30) == 1
        assert process.stderr is not None and b"a worker process ended before its time" in process.stderr.read()


# --- refusals


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refused_text_is_named_by_line_and_type_and_never_shown(workers: int) -> None:
    lines = [f"write to {mail(n)}" for n in range(5)]
    text = "\n".join([*lines, f"key {SECRET}", "more"])
    jsonl = "\n".join(json.dumps({"id": n, "text": line}) for n, line in enumerate(text.split("\n")))
    done = tacit(f"redact --jsonl -q --policy patterns.toml --workers {workers}", jsonl, 1)
    assert [row["id"] for row in rows(done.stdout.decode())] == [0, 1, 2, 3, 4]
    assert b"text refused (block): stdin line 6 holds a SECRET" in done.stderr
    plain = tacit(f"redact -q --policy patterns.toml --workers {workers}", text, 1)
    assert plain.stdout == b""
    assert b"stdin line 6 holds a SECRET" in plain.stderr
    for said in (done, plain):
        assert SECRET.encode() not in said.stdout + said.stderr
    Path("local.toml").write_text(PATTERNS + '[types]\nEMAIL_ADDRESS = "local_only"\n')
    Path("named.txt").write_text("\n\nx a@example.org")
    assert (
        b"(local_only): named.txt line 3 holds a EMAIL" in tacit("redact --policy local.toml named.txt", "", 1).stderr
    )


# --- bad input


@pytest.mark.parametrize(
    "command", ["redact --policy patterns.toml", "redact --policy patterns.toml --jsonl", "restore --vault v.db"]
)
def test_bytes_that_are_not_utf8_are_named_by_place(command: str) -> None:
    redact("--vault v.db", "a@example.org")
    head = b'{"text": "\xc3\xa4"}\n' * 5_000
    done = tacit(f"{command} -q", head + b"\xc3\xa4\xff\xc3\xa4", 2)
    assert f"stdin is not UTF-8 text at byte {len(head) + 2}".encode() in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert b"at byte 3 " in tacit(f"{command} -q", b"abc\xc3", 2).stderr  # cut in the middle of a letter
    if "jsonl" in command:
        assert len(rows(done.stdout.decode())) == 5_000


def test_what_cannot_be_opened_is_one_sentence() -> None:
    for words, said in (
        ("redact none.txt", b"cannot read none.txt: no such file"),
        ("redact --vault new.db none.txt", b"cannot read none.txt: no such file"),
        ("redact .", b"it is a folder"),
        ("redact --policy none.toml", b"cannot read the policy none.toml"),
        ("redact --vault patterns.toml", b"restore it from a copy"),
        ("restore --vault none.db", b"there is no vault none.db"),
        ("redact --vault v.db --key nonsense", b"no key source nonsense"),
        ("redact --vault v.db --key keyring", b"keyring here"),
        ("redact --vault v.db --key passphrase", b"set TACIT_VAULT_PASSPHRASE"),
        ("redact --workers 0", b"--workers"),
    ):
        done = tacit(words, "", 2)
        assert said in done.stderr and done.stderr.count(b"\n") == 1, done.stderr
        assert done.stdout == b""
    assert not Path("none.db").exists() and not Path("new.db").exists() and not Path("new.db.key").exists()


def test_a_locked_vault_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TACIT_VAULT_PASSPHRASE", "right")
    safe = redact("--vault v.db", "a@example.org")
    assert tacit("restore --vault v.db", safe).stdout == b"a@example.org"
    monkeypatch.setenv("TACIT_VAULT_PASSPHRASE", "wrong")
    assert b"not the vault's passphrase" in tacit("restore --vault v.db", safe, 2).stderr
    monkeypatch.delenv("TACIT_VAULT_PASSPHRASE")
    assert b"set TACIT_VAULT_PASSPHRASE" in tacit("restore --vault v.db", safe, 2).stderr
    redact("--vault w.db", "a@example.org")
    Path("w.db.key").chmod(0o644)
    assert b"chmod 600" in tacit("restore --vault w.db", safe, 2).stderr


# --- the surroundings


def test_a_reader_that_has_enough_ends_it_quietly() -> None:
    safe = redact("--vault v.db", "a@example.org").strip()
    for words, line in (
        ("redact --lines -q --policy patterns.toml", "a@example.org\n"),
        ("redact --jsonl -q --policy patterns.toml --workers 2", '{"text": "a@example.org"}\n'),
        ("restore -q --vault v.db", f"{safe}\n"),
    ):
        Path("many").write_text(line * 20_000)
        done = subprocess.run(
            ["bash", "-c", f"{TACIT} {words} many | head -n 2"], capture_output=True, timeout=60, check=False
        )
        assert done.stdout.count(b"\n") == 2 and done.stderr == b"", done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_ends_it_with_130(workers: int) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # what runs in a shell's background inherits that
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with running(
        f"redact --jsonl --policy patterns.toml --workers {workers}", stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        send, receive = pipes(process)
        send.write(b'{"text": "a"}\n')
        send.flush()
        receive.readline()
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does: workers get it too
        assert process.wait(30) == 130
        assert process.stderr is not None and process.stderr.read() == b"tacit: interrupted\n"
        send.close()


def test_what_was_written_before_a_kill_can_be_restored() -> None:
    for pause in (0.05, 0.3, 0.6):
        text = "".join(f"{number} {mail(number)}\n" for number in range(20_000))
        Path("many").write_text(text)
        with running("redact --lines -q --policy patterns.toml --vault v.db many") as process:
            _, receive = pipes(process)
            first = receive.readline()
            time.sleep(pause)
            process.kill()
            safe = first + receive.read()
        restored = tacit("restore -q --vault v.db", safe).stdout.decode()
        whole = restored[: restored.rindex("\n") + 1]
        assert text.startswith(whole) and whole.count("\n") >= 1


def test_two_at_work_in_one_conversation_take_turns() -> None:
    redact("--vault v.db -q", "start")
    both = [running("redact --jsonl -q --policy patterns.toml --vault v.db") for _ in range(2)]
    text = "".join(json.dumps({"text": f"{mail(n)}"}) + "\n" for n in range(150)).encode()
    outputs = []
    for process in both:
        send, _ = pipes(process)
        send.write(text)
        send.close()
    for process in both:
        outputs.append(process.stdout.read() if process.stdout else b"")
        assert process.wait(60) == 0
        process.__exit__(None, None, None)
    assert outputs[0] == outputs[1]


def peak(words: list[str], out: Path) -> float:
    """Megabytes that a command has in memory at most."""
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[2:], stdout=open(sys.argv[1], 'wb')).returncode\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3); sys.exit(done)"
    )
    command = [sys.executable, "-c", code, str(out), TACIT, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=True)
    return float(done.stdout)


@pytest.mark.timeout(900)
def test_files_of_any_length_take_no_more_memory() -> None:
    """With a character of four bytes in it, a text held whole would take four bytes for each of its characters."""
    words = "the quick brown fox jumps over the lazy dog and runs away into the deep dark forest \U0001f98a\n" * 12
    part = "".join(f"{words}then {mail(number)} wrote\n\n" for number in range(20))
    small, big, huge = Path("small.txt"), Path("big.txt"), Path("huge.txt")
    small.write_text(part * 10)  # several blocks
    words = "redact -q --policy patterns.toml --vault v.db"
    least = peak([*words.split(), "small.txt"], Path("small.out"))
    safe = Path("small.out").read_text()
    times = 2_500_000 // len(part * 10)
    big.write_text(part * 10 * times)
    assert peak([*words.split(), "big.txt"], Path("big.out")) < least + 8
    assert Path("big.out").read_text() == safe * times
    huge.write_text(safe * 2 * times)
    least = peak(["restore", "-q", "--vault", "v.db", "small.out"], Path("back.out"))
    assert Path("back.out").read_text() == part * 10
    assert peak(["restore", "-q", "--vault", "v.db", "huge.txt"], Path("huge.out")) < least + 8
    assert Path("huge.out").read_text() == part * 20 * times


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from tacit_privacy.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    for command in ("redact", "restore"):
        done = subprocess.run(
            [sys.executable, "-c", code, command, "--help"], capture_output=True, text=True, timeout=60, check=True
        )
        assert "--vault" in done.stdout
        loaded = {name.partition(".")[0] for name in done.stderr.split()}
        assert not loaded & {
            "torch",
            "onnxruntime",
            "presidio_analyzer",
            "sqlalchemy",
            "pydantic",
            "cryptography",
            "numpy",
        }


# --- blocks


class Given:
    """A reader that gives these pieces."""

    name = "given"

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = list(pieces)

    def read(self) -> str:
        return self._pieces.pop(0) if self._pieces else ""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("CORE", 40), ("BEFORE", 10), ("AFTER", 16), ("LONGEST_WORD", 120)):
            patch.setattr(_blocks, name, value)
        yield


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="ab \n_é.", max_size=600), size=st.integers(1, 70))
def test_blocks_are_the_text_and_never_cut_a_word(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("CORE", 40), ("BEFORE", 10), ("AFTER", 16), ("LONGEST_WORD", 120)):
            patch.setattr(_blocks, name, value)
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        made = list(blocks(Given(pieces)))  # type: ignore[arg-type]
    cores = [each.window[each.start : each.end] for each in made]
    assert "".join(cores) == text
    position = 0
    for each, core in zip(made, cores, strict=True):
        assert each.line == 1 + text.count("\n", 0, position)
        assert text[position - each.start : position - each.start + len(each.window)] == each.window
        position += len(core)
        if 0 < position < len(text) and len(core) < 100:
            assert not re.match(r"\w\w", text[position - 1 : position + 1])
    whole = list(blocks(Given([text])))  # type: ignore[arg-type]
    assert [each.window for each in whole] == ([text] if text else [])


def test_an_entity_at_a_border_is_found_once(small: None) -> None:
    """However a text is cut, an entity that its window shows is replaced whole, by the block in which it begins."""
    target = "Anna\nKowalska"
    policy = RedactionPolicy.model_validate({"detection": {"recogniser": "none"}})
    for offset in range(90):
        text = "x " * (offset // 2) + "y" * (offset % 2) + f" {target} " + "z " * 60
        with Vault.ephemeral() as vault, vault.conversation("a") as talk:
            replacing, form, out = Replacing(policy, talk), Plain([Path("patterns.toml")]), ""
            for block in blocks(Given([text])):  # type: ignore[arg-type]
                at = block.window.find(target)
                found = [Entity(at, at + len(target), "PERSON", 1.0)] if at >= 0 else []
                out += form.written(Piece(block), [found], replacing)
            (token,) = talk.issued()
        assert out == text.replace(target, token), offset


def test_an_entity_longer_than_the_next_block() -> None:
    """The whole of that block was written with the entity."""
    policy = RedactionPolicy.model_validate({"detection": {"recogniser": "none"}})
    with Vault.ephemeral() as vault, vault.conversation("a") as talk:
        replacing, form = Replacing(policy, talk), Plain([Path("patterns.toml")])
        first = form.written(Piece(Block("ab cdef gh ij", 0, 4, 1)), [[Entity(3, 10, "CUSTOM", 1.0)]], replacing)
        second = form.written(Piece(Block("ab cdef gh ij", 4, 7, 1)), [[Entity(3, 10, "CUSTOM", 1.0)]], replacing)
        third = form.written(Piece(Block("ab cdef gh ij", 7, 13, 1)), [[]], replacing)
        assert (first[:10], second, third) == ("ab CUSTOM_", "", " ij")


def test_what_only_the_next_search_finds_is_masked_from_there_on() -> None:
    """The first block's search saw less of it: what is not written yet does not leave."""
    policy = RedactionPolicy.model_validate({"detection": {"recogniser": "none"}})
    text = "to Anna Kowalska-Nowak."
    with Vault.ephemeral() as vault, vault.conversation("a") as talk:
        replacing, form = Replacing(policy, talk), Plain([Path("patterns.toml")])
        out = form.written(Piece(Block(text, 0, 8, 1)), [[Entity(3, 7, "PERSON", 0.9)]], replacing)
        out += form.written(Piece(Block(text, 8, 23, 1)), [[Entity(3, 22, "PERSON", 0.9)]], replacing)
        assert "Kowalska" not in out and "Nowak" not in out and out.endswith(".")


def test_real_entities_at_real_borders() -> None:
    """Addresses and numbers around where a block of the real size ends, with the detector that is really used."""
    filler = "plain words on a line without any end of a paragraph\n"
    head = filler * ((CORE - 200) // len(filler))
    middle = "".join(f"{mail(number)} and 4111 1111 1111 1111\n" for number in range(40))
    text = head + middle + filler * 300
    assert len(head) < CORE < len(head + middle) and BEFORE < AFTER < len(filler) * 300
    safe = redact("--vault v.db", text)
    assert "@" not in safe and "4111" not in safe
    assert tacit("restore -q --vault v.db", safe).stdout.decode() == text
    with open_vault(Path("v.db")) as vault:
        assert vault.conversations()[0].size == 41
