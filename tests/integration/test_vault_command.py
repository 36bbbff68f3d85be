"""``tacit vault`` as a user has it: what it shows, what it forgets, and keys that are changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tacit_privacy.cli import main
from tacit_privacy.pii.vault.opening import open_vault

TACIT = str(Path(sys.executable).with_name("tacit"))
LETTER = "Write to anna@example.org or bo@example.org.\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("TACIT_VAULT_PASSPHRASE", "TACIT_VAULT_NEW_PASSPHRASE", "TACIT_VAULT_KEY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def tacit(words: str, text: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    """In a session of its own: no terminal, so nobody can be asked."""
    return subprocess.run(
        [TACIT, *words.split()],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def made(**conversations: str) -> None:
    with open_vault(Path("v.db"), "file") as vault:
        for name, value in conversations.items():
            with vault.conversation(name) as conversation:
                conversation.placeholder("EMAIL_ADDRESS", value)


def names() -> list[str]:
    with open_vault(Path("v.db")) as vault:
        return [one.identifier for one in vault.conversations()]


def test_a_list_names_conversations_and_never_what_they_hold() -> None:
    made(letters="anna@example.org", notes="bo@example.org")
    plain, told = tacit("vault list v.db"), tacit("vault list v.db --json")
    assert plain.returncode == told.returncode == 0
    assert [row["conversation"] for row in json.loads(told.stdout)["conversations"]] == ["notes", "letters"]
    assert {row["placeholders"] for row in json.loads(told.stdout)["conversations"]} == {1}
    assert "letters" in plain.stdout and "UTC" in plain.stdout
    for shown in (plain, told):
        assert "@example.org" not in shown.stdout + shown.stderr


def test_an_empty_vault_says_so() -> None:
    made()
    done = tacit("vault list v.db")
    assert (done.returncode, done.stdout) == (0, "") and "no conversation" in done.stderr


def test_a_list_that_nobody_can_read_is_no_defect() -> None:
    made(letters="anna@example.org")
    done = subprocess.run(["bash", "-c", f"{TACIT} vault list v.db >&-"], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_erasing_forgets_one_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    made(letters="anna@example.org", notes="bo@example.org", third="cy@example.org")
    assert main(["vault", "erase", "v.db", "--conversation", "letters"]) == 0 and names() == ["third", "notes"]
    assert main(["vault", "erase", "v.db", "--conversation", "letters"]) == 2
    assert "no conversation letters" in capsys.readouterr().err
    capsys.readouterr()
    assert main(["vault", "erase", "v.db", "--all", "--json"]) == 0 and names() == []
    assert json.loads(capsys.readouterr().out) == {"vault": "v.db", "erased": 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("list none.db", "no vault none.db"),
        ("erase v.db", "--conversation NAME, or --all"),
        ("erase v.db --all --conversation a", "--conversation and --all exclude each other"),
        ("erase v.db --conversation it's", """v.db holds no conversation 'it'"'"'s'; tacit vault list v.db"""),
        ("rekey v.db --to auto", "name the new key's place"),
        ("rekey v.db --to file", "v.db.key is the key that the vault has"),
        ("rekey v.db --to file:nowhere/k", "cannot make a key in nowhere/k: no such file or directory"),
        ("list .", ". is a folder, no vault; name a file"),
        ("list /", "/ is a folder, no vault; name a file"),
        ("rekey v.db --to nowhere", "no key source nowhere"),
        ("rekey v.db --to file:v.db.key", "is the key that the vault has"),
        ("rekey v.db --to passphrase", "no new passphrase"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(words: str, said: str) -> None:
    made(letters="anna@example.org")
    done = tacit(f"vault {words}")
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert names() == ["letters"] and not Path("none.db").exists() and not Path("nowhere").exists()


def test_a_key_is_changed_and_the_old_one_opens_nothing() -> None:
    safe = tacit("redact --vault v.db", LETTER).stdout
    done = tacit("vault rekey v.db --to passphrase", TACIT_VAULT_NEW_PASSPHRASE="long and dull")
    assert done.returncode == 0 and "new key" in done.stderr and "old key is still in v.db.key; delete" in done.stderr
    assert "long and dull" not in done.stdout + done.stderr
    assert tacit("restore --vault v.db", safe, TACIT_VAULT_PASSPHRASE="long and dull").stdout == LETTER
    assert tacit("restore --vault v.db --key file", safe).returncode == 2
    back = tacit("vault rekey v.db --to file:new.key --json", TACIT_VAULT_PASSPHRASE="long and dull")
    assert back.returncode == 0 and "made the key new.key" in back.stderr
    assert json.loads(back.stdout) == {"vault": "v.db", "key": "file:new.key"}
    assert tacit("restore --vault v.db --key file:new.key", safe).stdout == LETTER
    assert tacit("restore --vault v.db", safe).stdout == LETTER  # the vault knows where its key is
    assert tacit("restore --vault v.db --key file", safe).stdout == LETTER
    old = tacit("restore --vault v.db --key passphrase", safe, TACIT_VAULT_PASSPHRASE="long and dull")
    assert old.returncode == 2 and "locked by a key file" in old.stderr


def test_a_vault_remembers_a_key_file_that_is_elsewhere() -> None:
    """Wherever one stands when it is opened; in the vault's own folder the two may move together."""
    Path("keys").mkdir()
    safe = tacit("redact --vault v.db --key file:keys/k", LETTER).stdout
    assert not Path("v.db.key").exists()
    Path("below").mkdir()
    done = subprocess.run([TACIT, "vault", "list", "../v.db"], cwd="below", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "old key is still in " in tacit("vault rekey v.db --to file:here.key").stderr
    for name in ("v.db", "here.key"):
        Path(name).rename(Path("below") / name)
    assert tacit("restore --vault below/v.db", safe).stdout == LETTER
    Path("below/here.key").rename("moved.key")
    lost = tacit("restore --vault below/v.db", safe)
    assert lost.returncode == 2 and "below/here.key" in lost.stderr and "--key file:PATH" in lost.stderr
    assert tacit("restore --vault below/v.db --key file:moved.key", safe).stdout == LETTER
    wrong = tacit("restore --vault below/v.db --key file:keys/k", safe)
    assert wrong.returncode == 2 and "--key file:PATH" in wrong.stderr


def test_file_alone_is_the_file_beside_and_a_key_that_is_there_is_named() -> None:
    safe = tacit("redact --vault v.db", LETTER).stdout
    assert "new key;" in tacit("vault rekey v.db --to file:k").stderr
    back = tacit("vault rekey v.db --to file")
    assert back.returncode == 0 and "its new key, the one that was in v.db.key" in back.stderr
    assert "old key is still in k;" in back.stderr
    Path("k").unlink()
    assert tacit("restore --vault v.db", safe).stdout == LETTER


def test_the_key_of_a_vault_in_a_folder_is_made_beside_it() -> None:
    done = tacit("redact --vault folder/v", LETTER)
    assert done.returncode == 0 and "whoever has it and folder/v reads the vault" in done.stderr


def test_a_folder_is_no_vault() -> None:
    """An empty word is the folder that one is in."""
    assert main(["vault", "list", ""]) == 2
    assert main(["redact", "--vault", "", "none.txt"]) == 2
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("vault", ["v.db", "folder/v.db"])
def test_without_a_key_no_vault_is_left(vault: str) -> None:
    for words in ("--key passphrase", "--key credential", "--key file:nowhere/k"):
        done = tacit(f"redact --vault {vault} {words}", LETTER, TACIT_VAULT_PASSPHRASE="")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert list(Path().iterdir()) == [], words
