"""The vault: what stands in its file, who can open it, what survives, and what is gone when it was erased."""

import os
import pickle
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import keyring
import pytest
import vault_user
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as FailingKeyring
from keyring.backends.null import Keyring as NullKeyring

from tacit_privacy.errors import BadInput, VaultLocked
from tacit_privacy.pii.vault import keys
from tacit_privacy.pii.vault.opening import key_for, open_vault
from tacit_privacy.pii.vault.sealing import SealBroken, Sealer, bind
from tacit_privacy.pii.vault.store import DAY_S, Vault

USER = Path(vault_user.__file__)
CANARIES = ("Anna Kowalska", "talk with Anna", "resp_68af", "outbound bytes of Anna", "examples of Anna")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.db"


def opened(path: Path, clock: Callable[[], float] = time.time) -> Vault:
    return Vault.open(path, keys.KeyFile(path.with_name("vault.db.key")), clock=clock)


def cheap(words: str) -> keys.Passphrase:
    """A passphrase whose scrypt costs a test nothing."""
    return keys.Passphrase(lambda: words, cost=2**10)


def issue(vault: Vault, conversation: str, *values: str) -> list[str]:
    with vault.conversation(conversation) as talk:
        return [talk.placeholder("PERSON", value) for value in values]


def original(vault: Vault, conversation: str, token: str) -> str | None:
    found = vault.peek(conversation)
    return None if found is None else found.original(token)


def on_disk(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(path.parent.glob("vault.db*")) if each.suffix != ".key")


def raw(path: Path, statement: str, *values: object) -> list[tuple[bytes, ...]]:
    """What somebody with the file and without the key can do."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


# --- keeping


def test_a_conversation_is_there_again_with_the_same_placeholders(path: Path) -> None:
    with opened(path) as vault:
        (token,) = issue(vault, "a", "Anna Kowalska")
        (elsewhere,) = issue(vault, "b", "Anna Kowalska")
    assert token != elsewhere  # another conversation, another key
    with opened(path) as vault:
        assert original(vault, "a", token) == "Anna Kowalska"
        assert issue(vault, "a", "Anna Kowalska") == [token]
        assert original(vault, "b", token) is None
        issue(vault, "a", "Bo")
        assert [(each.identifier, each.size) for each in vault.conversations()] == [("a", 2), ("b", 1)]


def test_nothing_in_the_file_can_be_read(path: Path) -> None:
    with opened(path) as vault:
        issue(vault, CANARIES[1], CANARIES[0])
        vault.alias(CANARIES[1], CANARIES[2])
        vault.seal(CANARIES[4], CANARIES[3].encode())
        bytes_ = on_disk(path)
        assert len(bytes_) > 4096
        for canary in CANARIES:
            assert canary.encode() not in bytes_
            assert canary.encode("utf-16-le") not in bytes_
        assert vault.find(CANARIES[2]) == CANARIES[1]
    assert all(canary.encode() not in on_disk(path) for canary in CANARIES)


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    path = tmp_path / "made" / "here" / "vault.db"
    before = os.umask(0)
    try:
        with opened(path) as vault:
            issue(vault, "a", "Anna")
            names = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert {"vault.db", "vault.db-wal", "vault.db-shm", "vault.db.key", "vault.db.lock"} == set(names)
    assert set(names.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)  # a copy brought back by a careless tool
    opened(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_vault_in_memory_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Vault.ephemeral() as vault:
        (token,) = issue(vault, "a", "Anna")
        assert original(vault, "a", token) == "Anna"
        assert vault.rows("x") == []
        vault.alias("a", "resp")
        assert vault.find("resp") == "a"
    assert list(tmp_path.iterdir()) == []


def test_an_alias_finds_the_newest_conversation_it_was_given_to(path: Path) -> None:
    with opened(path) as vault:
        vault.alias("empty until now", b"\x00hash")
        assert vault.find(b"\x00hash") == "empty until now"
        issue(vault, "later", "Anna")
        vault.alias("later", b"\x00hash")
        assert vault.find(b"\x00hash") == "later"
        assert vault.find(b"\x00hasi") is None
        assert vault.erase("later")
        assert vault.find(b"\x00hash") is None


def test_known_names_are_those_of_all_conversations_that_are_left(path: Path) -> None:
    with opened(path) as vault, opened(path) as other:
        issue(vault, "a", "Anna Kowalska")
        with vault.conversation("b") as talk:
            talk.placeholder("PERSON", "Bo Li")
            talk.placeholder("EMAIL_ADDRESS", "bo@example.org")
        assert vault.known_names() == {"Anna Kowalska", "Bo Li"}
        assert vault.known_names(frozenset({"EMAIL_ADDRESS"})) == {"bo@example.org"}
        issue(other, "b", "Cem Öz")  # somebody else adds a name
        assert vault.known_names() == {"Anna Kowalska", "Bo Li", "Cem Öz"}
        other.erase("a")
        assert vault.known_names() == {"Bo Li", "Cem Öz"}


def test_records_come_back_in_order_and_go_one_by_one_or_whole(path: Path) -> None:
    now = [1_000_000.0]
    with opened(path, lambda: now[0]) as vault:
        first, second, third = (vault.seal("sent", row) for row in (b"one", b"two", b"three"))
        vault.seal("examples", b"other", expires_days=2)
        assert [each.row for each in vault.rows("sent")] == [b"one", b"two", b"three"]
        assert [each.row for each in vault.rows("sent", after=first, limit=1)] == [b"two"]
        assert "two" not in repr(vault.rows("sent"))
        assert vault.erase_rows("sent", second) == 1
        assert [each.number for each in vault.rows("sent")] == [first, third]
        assert vault.seal("sent", b"four") > third
        now[0] += 3.5 * DAY_S
        assert vault.rows("examples") == []  # past its time, though still there
        assert vault.expire() == 1
        assert vault.erase_rows("sent") == 3
        assert vault.rows("sent") == []
        assert vault.seal("sent", b"anew") and [each.row for each in vault.rows("sent")] == [b"anew"]


# --- erasing


def test_what_was_erased_is_in_no_file(path: Path) -> None:
    with opened(path) as vault, opened(path) as other:
        issue(vault, "a", *(f"Person Number{number}" for number in range(300)))
        issue(vault, "b", "Bo Li")
        vault.alias("a", "resp")
        vault.seal("sent", b"x" * 9000)
        columns = "SELECT data_key, about, state, substr(state, 5000, 64), handle FROM conversations"
        a = max(raw(path, columns), key=lambda row: len(row[2]))
        record = raw(path, "SELECT substr(sealed, 6000, 64) FROM records")[0][0]
        alias = raw(path, "SELECT alias FROM aliases")[0][0]
        assert all(part in on_disk(path) for part in (a[0], a[3], a[4], record, alias))  # the search can find
        assert vault.erase("a") and not vault.erase("a")
        vault.erase_rows("sent")
        assert not any(part in on_disk(path) for part in (a[0], a[1][:64], a[3], a[4], record, alias))
        assert original(other, "b", "x") is None and other.peek("b") is not None
        assert other.peek("a") is None


def test_what_was_replaced_is_in_no_file(path: Path) -> None:
    with opened(path) as vault:
        other, first = vault.seal("other", b"kept"), vault.replace("state", b"x" * 9000)
        old = raw(path, "SELECT substr(sealed, 6000, 64) FROM records WHERE number = ?", first)[0][0]
        assert old in on_disk(path)  # the search can find
        second = vault.replace("state", b"y" * 20_000)
        assert second > first > other and vault.numbers("state") == [second]
        assert [each.row for each in vault.rows("state")] == [b"y" * 20_000]
        assert old not in on_disk(path) and [each.row for each in vault.rows("other")] == [b"kept"]


def test_erasing_everything_leaves_an_empty_vault(path: Path) -> None:
    with opened(path) as vault:
        issue(vault, "a", "Anna")
        issue(vault, "b", "Bo")
        vault.seal("sent", b"x")
        assert vault.erase_all() == 2
        assert vault.conversations() == [] and vault.rows("sent") == [] and vault.known_names() == frozenset()
        assert len(issue(vault, "a", "Anna")) == 1


def test_who_uses_a_conversation_while_it_is_erased_does_not_bring_it_back(path: Path) -> None:
    with opened(path) as vault, opened(path) as other:
        (before,) = issue(vault, "a", "Anna")
        with vault.conversation("a") as talk:
            assert other.erase("a")
            talk.placeholder("PERSON", "Bo")
            assert talk.original(before) == "Anna"  # the answer on its way is still restored
        assert vault.peek("a") is None
        with vault.conversation("a") as talk:
            talk.placeholder("PERSON", "Bo")
            assert vault.erase("a")
            with vault.conversation("a") as anew:
                assert anew is not talk
                (after,) = [anew.placeholder("PERSON", "Anna")]
        assert after != before  # the key went with the conversation
        assert original(vault, "a", after) == "Anna"


def test_conversations_expire_after_their_last_use(path: Path) -> None:
    now = [1_000_000.0]
    with opened(path, lambda: now[0]) as vault:
        with vault.conversation("short", expires_days=1) as talk:
            token = talk.placeholder("PERSON", "Anna")
        issue(vault, "usual", "Bo")
        with vault.conversation("for ever", expires_days=float("inf")) as talk:
            talk.placeholder("PERSON", "Cem")
        vault.alias("short", "resp")
        now[0] += 0.9 * DAY_S
        with vault.conversation("short") as talk:  # a use starts the time anew, and keeps the policy
            assert talk.original(token) == "Anna"
        now[0] += 0.9 * DAY_S
        assert original(vault, "short", token) == "Anna"
        now[0] += 0.2 * DAY_S
        assert vault.peek("short") is None and vault.find("resp") is None
        assert {each.identifier for each in vault.conversations()} == {"usual", "for ever"}
        with vault.conversation("short") as talk:
            assert talk.original(token) is None
        now[0] += 31 * DAY_S
        assert vault.expire() == 2
    now[0] += 1e9
    with opened(path, lambda: now[0]) as vault:
        assert [each.identifier for each in vault.conversations()] == ["for ever"]


# --- keys


class Locker(KeyringBackend):
    """A keyring that keeps what it is given, as a desktop's would."""

    priority = 5.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # keyring's own
        self.kept: dict[tuple[str, str], str] = {}
        self.broken = False

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.broken:
            raise RuntimeError(f"cannot keep {password}")
        self.kept[service, username] = password


class PlaintextKeyring(Locker):
    """What keyrings.alt offers under this name, with the priority that somebody might give it."""


class Unrecommended(Locker):
    priority = 0.5


@pytest.fixture
def locker(monkeypatch: pytest.MonkeyPatch) -> Locker:
    backend = Locker()
    use(monkeypatch, backend)
    return backend


def use(monkeypatch: pytest.MonkeyPatch, backend: Locker | KeyringBackend) -> None:
    monkeypatch.setattr("keyring.core._keyring_backend", backend)
    assert keyring.get_keyring() is backend


def test_every_source_opens_what_it_made(path: Path, locker: Locker, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = path.parent / "credentials"
    folder.mkdir()
    (folder / keys.CREDENTIAL).write_text("ab" * 32 + "\n")
    (folder / keys.CREDENTIAL).chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    sources: list[keys.VaultKey] = [
        keys.KeyFile(path.parent / "k"),
        cheap("words"),
        keys.Credential(),
        keys.Keyring(),
        keys.RawKey(b"k" * 32),
    ]
    for number, source in enumerate(sources):
        file = path.with_name(f"{number}.db")
        with Vault.open(file, source) as vault:
            (token,) = issue(vault, "a", "Anna")
        with Vault.open(file, source) as vault:
            assert original(vault, "a", token) == "Anna"
        for other in sources[:number] + sources[number + 1 :]:
            with pytest.raises(VaultLocked, match="is locked by a"):
                Vault.open(file, other)
    ((service, entry), secret) = next(iter(locker.kept.items()))
    assert service == "tacit-vault" and len(locker.kept) == 1
    locker.kept[service, entry] = secret[::-1]
    with pytest.raises(VaultLocked, match="not the vault's keyring entry"):
        Vault.open(path.with_name("3.db"), keys.Keyring())
    locker.kept.clear()
    with pytest.raises(VaultLocked, match="has no key for this vault"):
        Vault.open(path.with_name("3.db"), keys.Keyring())


@pytest.mark.parametrize("backend", [FailingKeyring, NullKeyring, PlaintextKeyring, Unrecommended])
def test_no_keyring_that_keeps_nothing_secret_is_used(
    path: Path, backend: type[KeyringBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = backend()
    use(monkeypatch, chosen)
    with pytest.raises(VaultLocked, match="keeps nothing secret"):
        Vault.open(path, keys.Keyring())
    assert not getattr(chosen, "kept", {})
    assert raw(path, "SELECT name FROM sqlite_master") == []  # nothing was made under no key
    assert not path.with_name("vault.db.key").exists()


def test_a_chain_of_keyrings_is_as_safe_as_its_least_safe_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keyring.backends.chainer import ChainerBackend

    class Chain(ChainerBackend):
        backends: list[KeyringBackend] = []  # noqa: RUF012  # as the class it stands for has it

    use(monkeypatch, Chain())  # type: ignore[no-untyped-call]  # keyring's own
    with pytest.raises(VaultLocked, match="no keyring"):
        Vault.open(path, keys.Keyring())
    Chain.backends = [Locker(), PlaintextKeyring()]
    with pytest.raises(VaultLocked, match="keeps nothing secret"):
        Vault.open(path, keys.Keyring())
    Chain.backends = [Locker()]
    Vault.open(path, keys.Keyring()).close()


def test_a_keyring_that_fails_does_not_tell_what_it_was_to_keep(path: Path, locker: Locker) -> None:
    locker.broken = True
    with pytest.raises(VaultLocked, match="the keyring refused \\(RuntimeError\\)") as caught:
        Vault.open(path, keys.Keyring())
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_wrong_or_missing_passphrase_reads_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Vault.open(path, cheap("right")) as vault:
        issue(vault, "a", "Anna")
    monkeypatch.delenv(keys.PASSPHRASE, raising=False)
    with pytest.raises(VaultLocked, match="not the vault's passphrase") as caught:
        Vault.open(path, cheap("wrong"))
    assert caught.value.exit_code == 2
    with pytest.raises(VaultLocked, match="TACIT_VAULT_PASSPHRASE"):
        open_vault(path)
    monkeypatch.setenv(keys.PASSPHRASE, "right")
    with open_vault(path) as vault:
        assert vault.peek("a") is not None
    stored = raw(path, "SELECT key FROM tacit_vault")[0][0]
    assert b'"n": 1024' in stored and b'"salt"' in stored and b"right" not in stored


def test_a_header_can_name_any_key_file_and_does_no_harm(path: Path) -> None:
    for named in ('"a\\u0000b"', '"\\ud800"', "3", '""', '"vault.db"', '"/"'):
        path.unlink(missing_ok=True)
        Vault.open(path, keys.KeyFile(path.with_name("vault.db.key"))).close()
        path.with_name("vault.db.key").unlink()
        key = f'{{"kind": "file", "parameters": {{"path": {named}}}}}'
        with sqlite3.connect(path) as connection:
            connection.execute('UPDATE tacit_vault SET "key" = ?', (key.encode(),))
        connection.close()
        with pytest.raises(BadInput):
            open_vault(path)


def test_scrypt_costs_what_is_recommended_and_a_file_cannot_ask_for_more(path: Path) -> None:
    _, parameters = keys.Passphrase(lambda: "words").create("")
    assert (parameters["n"], parameters["r"], parameters["p"]) == (2**17, 8, 1)
    for broken in ({"n": 2**30}, {"n": 3}, {"r": 10**6}, {"salt": "xyz"}, {"p": None}):
        with pytest.raises(BadInput, match="header"):
            keys.Passphrase(lambda: "words").unlock({**parameters, **broken})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_key_file_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    opened(path).close()
    key = path.with_name("vault.db.key")
    key.chmod(mode)
    with pytest.raises(VaultLocked, match=r"others may read .* chmod 600"):
        opened(path)


def test_key_files_that_hold_no_key_are_refused(path: Path) -> None:
    key = path.with_name("vault.db.key")
    opened(path).close()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(key.read_text().strip()) == 64
    whole = key.read_text()
    for content in ("", "abc", "z" * 64, whole + "00"):
        key.write_text(content)
        with pytest.raises(VaultLocked, match="holds no key"):
            opened(path)
    key.write_text(whole.strip()[::-1])
    with pytest.raises(VaultLocked, match="not the vault's key file"):
        opened(path)
    key.unlink()
    with pytest.raises(VaultLocked, match="no such file"):
        keys.KeyFile(key).unlock({})
    key.mkdir()
    with pytest.raises(VaultLocked):
        opened(path)


def test_a_lost_key_is_not_replaced_by_a_new_one(path: Path) -> None:
    opened(path).close()
    path.with_name("vault.db.key").unlink()
    with pytest.raises(VaultLocked, match="cannot read the vault's key"):
        opened(path)
    assert not path.with_name("vault.db.key").exists()


def test_the_source_is_found_by_itself_and_never_changes_silently(
    path: Path, locker: Locker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (keys.PASSPHRASE, "CREDENTIALS_DIRECTORY", "TACIT_VAULT_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(key_for(path), keys.KeyFile)
    said: list[str] = []
    open_vault(path, say=said.append).close()
    open_vault(path, say=said.append).close()
    assert len(said) == 1 and "vault.db.key" in said[0]
    monkeypatch.setenv(keys.PASSPHRASE, "words")
    assert isinstance(key_for(path.with_name("new.db")), keys.Passphrase)
    assert isinstance(key_for(path), keys.KeyFile)  # the file says so
    with pytest.raises(VaultLocked, match="locked by a key file"):
        open_vault(path, "passphrase")
    monkeypatch.setenv("TACIT_VAULT_KEY", "keyring")
    assert isinstance(key_for(path.with_name("new.db")), keys.Keyring)
    named = key_for(path, f"file:{path}.other")
    assert isinstance(named, keys.KeyFile) and named.path == Path(f"{path}.other")
    with pytest.raises(BadInput, match="no key source nonsense; choose auto"):
        open_vault(path, "nonsense")


def test_changing_the_key_keeps_everything_and_locks_the_old_one_out(path: Path) -> None:
    old, new = cheap("old"), cheap("new")
    with Vault.open(path, old) as vault, Vault.open(path, old) as other:
        (token,) = issue(vault, "a", "Anna")
        vault.alias("a", "resp")
        vault.seal("sent", b"x")
        wrapped = [
            row[0] for row in raw(path, "SELECT data_key FROM conversations UNION ALL SELECT data_key FROM kinds")
        ]
        assert all(each in on_disk(path) for each in wrapped)
        vault.rotate(new)
        assert not any(each in on_disk(path) for each in wrapped)  # what the old key opens is nowhere any more
        assert original(vault, "a", token) == "Anna"
        for call in (lambda: other.peek("a"), lambda: issue(other, "b", "Bo"), lambda: other.seal("sent", b"y")):
            with pytest.raises(VaultLocked, match="was changed meanwhile"):
                call()
    with pytest.raises(VaultLocked):
        Vault.open(path, old)
    with Vault.open(path, new) as vault:
        assert original(vault, "a", token) == "Anna" and vault.find("resp") == "a"
        assert [each.row for each in vault.rows("sent")] == [b"x"]
        assert issue(vault, "a", "Anna") == [token]
        vault.rotate(keys.KeyFile(path.with_name("vault.db.key")))
    with opened(path) as vault:
        assert original(vault, "a", token) == "Anna"


def test_a_key_that_cannot_be_had_changes_nothing(path: Path) -> None:
    with Vault.open(path, cheap("old")) as vault:
        (token,) = issue(vault, "a", "Anna")
        with pytest.raises(VaultLocked):
            vault.rotate(cheap(""))
        assert original(vault, "a", token) == "Anna"
    with Vault.open(path, cheap("old")) as vault:
        assert original(vault, "a", token) == "Anna"


# --- damage and tampering


def test_rows_cannot_change_places(path: Path) -> None:
    with opened(path) as vault:
        (token,) = issue(vault, "a", "Anna")
        (older,) = raw(path, "SELECT version, about, state FROM conversations")
        issue(vault, "a", "Bo")
        issue(vault, "b", "Cem")
        handle_a = raw(path, "SELECT handle FROM conversations WHERE version = 2")[0][0]
        handle_b = raw(path, "SELECT handle FROM conversations WHERE version = 1")[0][0]
        kept = raw(path, "SELECT * FROM conversations ORDER BY handle")
    restore = "INSERT OR REPLACE INTO conversations VALUES (?, ?, ?, ?, ?)"
    for statement in (
        "UPDATE conversations SET state = (SELECT state FROM conversations WHERE handle = :b) WHERE handle = :a",
        "UPDATE conversations SET (version, data_key, about, state) = "
        "(SELECT version, data_key, about, state FROM conversations WHERE handle = :b) WHERE handle = :a",
        "UPDATE conversations SET version = 7 WHERE handle = :a",
        "UPDATE conversations SET state = :older WHERE handle = :a",
        "UPDATE conversations SET state = about WHERE handle = :a",
    ):
        connection = sqlite3.connect(path)
        with connection:
            connection.execute(statement, {"a": handle_a, "b": handle_b, "older": older[2]})
        connection.close()
        with pytest.raises(BadInput, match="does not fit its seal") as caught, opened(path) as vault:
            vault.peek("a")
        assert caught.value.__suppress_context__
        for row in kept:
            raw(path, restore, *row)
        with opened(path) as vault:
            assert original(vault, "a", token) == "Anna"


def test_a_damaged_conversation_locks_no_other_and_can_be_erased(path: Path) -> None:
    with opened(path) as vault:
        (token,) = issue(vault, "a", "Anna")
        issue(vault, "b", "Bo")
    raw(path, "UPDATE conversations SET about = state, state = about WHERE version = 1 AND rowid = 2")
    with opened(path) as vault:
        readable = [each.identifier for each in vault.conversations()]
        assert len(readable) == 1
        (damaged,) = {"a", "b"} - set(readable)
        with pytest.raises(BadInput, match="does not fit its seal"):
            vault.peek(damaged)
        with pytest.raises(BadInput, match="does not fit its seal"):
            vault.known_names()  # whoever checks against it must not check against less
        assert original(vault, readable[0], token) == ("Anna" if readable == ["a"] else None)
        assert vault.erase(damaged)
        assert len(vault.known_names()) == 1


def test_an_alias_cannot_be_bent_to_another_conversation(path: Path) -> None:
    with opened(path) as vault:
        issue(vault, "a", "Anna")
        issue(vault, "b", "Bo")
        vault.alias("a", "resp")
        raw(path, "UPDATE aliases SET handle = (SELECT handle FROM conversations WHERE handle <> aliases.handle)")
        with pytest.raises(BadInput, match="does not fit its seal"):
            vault.find("resp")


def test_a_record_cannot_take_anothers_number_or_live_longer(path: Path) -> None:
    for statement in ("UPDATE records SET number = number + 5", "UPDATE records SET expires = expires + 86400000"):
        with opened(path) as vault:
            vault.erase_rows("sent")
            vault.seal("sent", b"x", expires_days=3)
            raw(path, statement)
            with pytest.raises(BadInput, match="does not fit its seal"):
                vault.rows("sent")


def test_a_damaged_file_is_one_sentence(path: Path) -> None:
    for content in (b"not a database at all" * 300, b"SQLite format 3\x00" + b"\xff" * 5000):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="restore it from a copy") as caught:
            opened(path)
        assert "\n" not in str(caught.value) and not isinstance(caught.value, VaultLocked)
    path.unlink()
    raw(path, "CREATE TABLE songs (name)")
    with pytest.raises(BadInput, match="is a database, but no vault"):
        opened(path)
    with pytest.raises(BadInput, match="there is no vault"):
        Vault.open(path.with_name("none.db"), cheap("x"), create=False)
    assert not path.with_name("none.db").exists()
    path.with_name("empty.db").touch()
    with pytest.raises(BadInput, match=r"empty\.db is empty, no vault"):
        Vault.open(path.with_name("empty.db"), cheap("x"), create=False)
    newer = path.with_name("newer.db")
    Vault.open(newer, cheap("x")).close()
    raw(newer, "UPDATE tacit_vault SET format = 99")
    with pytest.raises(BadInput, match="format 99"):
        Vault.open(newer, cheap("x"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_is_found_or_harmless(tmp_path: Path, place: float, flip: int) -> None:
    whole = tmp_path / "whole.db"
    if not whole.exists():
        with Vault.open(whole, keys.RawKey(b"k" * 32)) as vault:
            (token,) = issue(vault, "a", "Anna Kowalska")
            vault.seal("sent", b"something")
        (tmp_path / "token").write_text(token)
    token, content = (tmp_path / "token").read_text(), bytearray(whole.read_bytes())
    content[int(place * len(content))] ^= flip
    damaged = tmp_path / "damaged.db"
    for name in ("damaged.db-wal", "damaged.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    damaged.write_bytes(content)
    try:
        with Vault.open(damaged, keys.RawKey(b"k" * 32)) as vault:
            found, rows = vault.peek("a"), vault.rows("sent")
    except BadInput as error:
        assert "\n" not in str(error) and "Anna" not in str(error)
        return
    assert found is None or found.original(token) == "Anna Kowalska"
    assert [each.row for each in rows] in ([], [b"something"])


@given(parts=st.lists(st.one_of(st.text(), st.binary(), st.integers())), others=st.lists(st.text()))
def test_two_places_are_never_one(parts: list[bytes | str | int], others: list[str]) -> None:
    assert (bind(*parts) == bind(*others)) == ([(type(p), p) for p in parts] == [(str, p) for p in others])


@given(plain=st.binary(max_size=200), cut=st.integers(0, 27))
def test_a_seal_opens_at_its_place_alone(plain: bytes, cut: int) -> None:
    sealer = Sealer(b"k" * 32)
    sealed = sealer.seal(plain, "table", 1)
    assert sealer.open(sealed, "table", 1) == plain
    for wrong, place in ((sealed, ("table", 2)), (sealed[:cut], ("table", 1)), (sealed + b"x", ("table", 1))):
        with pytest.raises(SealBroken):
            sealer.open(wrong, *place)


# --- several at once


def test_processes_and_threads_issue_in_one_conversation_without_losing_any(path: Path) -> None:
    opened(path).close()
    logs = [path.with_name(f"log{number}") for number in range(3)]
    runs = [
        subprocess.Popen([sys.executable, USER, "issue", path, "shared", f"Mine{number}", "40", log])
        for number, log in enumerate(logs)
    ]
    with opened(path) as vault:
        threads = [
            threading.Thread(target=lambda word=word: [issue(vault, "shared", f"{word} {n}") for n in range(20)])
            for word in ("Left", "Right")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [run.wait(60) for run in runs] == [0, 0, 0]
        talk = vault.peek("shared")
    assert talk is not None
    issued = [line.split("\t") for log in logs for line in log.read_text().splitlines()]
    assert len(issued) == 120
    assert all(talk.original(token) == value for token, value in issued)
    by_value: dict[str, set[str]] = {}
    for token, value in issued:
        by_value.setdefault(value, set()).add(token)
    assert all(
        len(tokens) == 1 for tokens in by_value.values()
    )  # the same value, the same placeholder, whoever issued it
    assert len(talk.issued()) == 20 + 60 + 40


def test_another_process_in_a_conversation_is_waited_for_and_others_are_not_held_up(path: Path) -> None:
    opened(path).close()
    run = subprocess.Popen(
        [sys.executable, USER, "hold", path, "busy"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if run.stdin is None or run.stdout is None:
        raise RuntimeError("no pipes")
    with run.stdin, run.stdout, opened(path) as vault:
        assert run.stdout.readline() == "in\n"
        assert len(issue(vault, "free", "Anna")) == 1
        with (
            pytest.raises(BadInput, match="another process has worked in this conversation"),
            vault.conversation("busy", patience_s=0.2),
        ):
            pass
        run.send_signal(signal.SIGKILL)  # its lock ends with it
        assert run.wait(30) == -signal.SIGKILL
        with vault.conversation("busy", patience_s=5) as talk:
            assert talk.issued() == {}  # it had not been acknowledged


def test_a_killed_writer_loses_nothing_that_was_acknowledged(path: Path) -> None:
    opened(path).close()
    log = path.with_name("log")
    for pause in (0.0, 0.05, 0.12, 0.2):
        run = subprocess.Popen([sys.executable, USER, "issue", path, "talk", f"Word{pause}", "100000", log])
        begun = log.stat().st_size if log.exists() else 0
        while not log.exists() or log.stat().st_size == begun:
            time.sleep(0.01)
        time.sleep(pause)
        run.kill()
        run.wait(30)
        with opened(path) as vault:
            talk = vault.peek("talk")
        assert talk is not None
        noted = [line.split("\t") for line in log.read_text().splitlines() if line.count("\t") == 1]
        assert noted and all(talk.original(token) == value for token, value in noted)


def test_a_record_whose_writer_is_killed_is_the_old_or_the_new_one_and_whole(path: Path) -> None:
    opened(path).close()
    log = path.with_name("log")
    for pause in (0.0, 0.03, 0.07, 0.12, 0.2):
        begun = log.stat().st_size if log.exists() else 0
        run = subprocess.Popen([sys.executable, USER, "replace", path, log])
        while not log.exists() or log.stat().st_size == begun:
            time.sleep(0.01)
        time.sleep(pause)
        run.kill()
        run.wait(30)
        noted = int(log.read_text().split()[-1])
        with opened(path) as vault:
            (found,) = vault.rows("state")
        assert found.row in {b"%08d" % number * 200_000 for number in (noted, noted + 1)}


def test_several_processes_may_make_one_vault(path: Path) -> None:
    logs = [path.with_name(f"log{number}") for number in range(4)]
    runs = [
        subprocess.Popen([sys.executable, USER, "issue", path, f"t{number}", "W", "3", log])
        for number, log in enumerate(logs)
    ]
    assert [run.wait(60) for run in runs] == [0] * 4
    with opened(path) as vault:
        assert len(vault.conversations()) == 4


def test_a_vault_is_neither_pickled_nor_used_after_a_fork(path: Path) -> None:
    with opened(path) as vault:
        with pytest.raises(TypeError):
            pickle.dumps(vault)
        pid = os.fork()
        if not pid:
            try:
                vault.peek("a")
            except RuntimeError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert "vault.db" in repr(vault)


def test_errors_of_the_database_show_no_values(path: Path) -> None:
    with opened(path) as vault:
        issue(vault, "a", "Anna")
        raw(path, "DROP TABLE aliases")
        with pytest.raises(BadInput, match="no such table") as caught:
            vault.alias("a", "resp")
        assert "resp" not in str(caught.value) and "Anna" not in str(caught.value)
