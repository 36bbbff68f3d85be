"""What a device receives, keeps and owes: whole, unchanged, one record, and never code."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tacit_clients.device.journal import Journal, Turn
from tacit_clients.device.outbox import Outbox
from tacit_clients.flower_seam import NodeKey, Parcel, adopt_identity, check_codeless
from tacit_privacy.enrolment import Placement
from tacit_privacy.errors import BadInput
from tacit_privacy.pii.vault.keys import RawKey
from tacit_privacy.pii.vault.store import Vault
from tacit_server.deployment.bundle import bundle

adopt_identity()


def parcel(values: list[float], word: str = "w") -> Parcel:
    content = RecordDict(
        {
            "adapter": ArrayRecord([np.array(values, dtype=np.float32)]),
            "terms": ConfigRecord({"payload": word.encode()}),
        }
    )
    return Parcel.of(Message(content, 7, "train"))


@given(values=st.lists(st.floats(width=32, allow_nan=False), max_size=20), word=st.text(max_size=20))
@settings(max_examples=30, deadline=None)
def test_a_parcel_is_what_was_sent(values: list[float], word: str) -> None:
    kept = Parcel.unpack(parcel(values, word).pack())
    message = kept.message()
    np.testing.assert_array_equal(
        message.content.array_records["adapter"].to_numpy_ndarrays()[0], np.array(values, np.float32)
    )
    assert message.content.config_records["terms"]["payload"] == word.encode()
    assert message.metadata.message_id == kept.message_id


def test_a_message_that_was_changed_is_refused() -> None:
    """SuperLink keeps parts by the hash that they are said to have, and checks none."""
    good = parcel([1.0, 2.0])
    for name, content in good.objects.items():
        changed = bytes([content[0] ^ 1]) + content[1:]
        with pytest.raises(BadInput, match="changed on its way"):
            replace(good, objects={**good.objects, name: changed}).message()
        missing = {other: part for other, part in good.objects.items() if other != name}
        with pytest.raises(BadInput, match="cannot be read"):
            replace(good, objects=missing).message()


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_toml", ".toml").replace("_py", ".py"), text)
    return buffer.getvalue()


APP = '[tool.flwr.app.components]\nclientapp = "tacit_clients.app:app"\n'


def test_the_servers_own_bundle_is_taken() -> None:
    check_codeless(bundle())
    check_codeless(zipped(pyproject_toml=APP))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (zipped(pyproject_toml=APP, tacit_clients__app_py="print(1)"), "carries 'tacit_clients/app.py'"),
        (zipped(pyproject_toml=APP, sitecustomize_py=""), "carries 'sitecustomize.py'"),
        (zipped(pyproject_toml=APP.replace("tacit_clients", "evil")), "names another app"),
        (zipped(pyproject_toml="[tool]"), "cannot be read"),
        (zipped(LICENSE=""), "cannot be read"),
        (b"no archive", "cannot be read"),
    ],
)
def test_a_bundle_with_code_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        check_codeless(data)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(Vault.ephemeral(), Outbox(tmp_path / "outbox"))


def owed_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "outbox").iterdir())


def test_what_is_remembered_and_what_is_owed_are_one(tmp_path: Path) -> None:
    """Each opening of the store finds the step that was kept last, whole."""
    key, path, outbox = RawKey.generate(), tmp_path / "store.vault", Outbox(tmp_path / "outbox")
    with Journal(Vault.open(path, key), outbox) as journal:
        before = Turn(RecordDict({"tacit.guard": ConfigRecord({"runs": "{}"})}), asked=parcel([1.0]))
        journal.keep(before)
        after = Turn(RecordDict({"tacit.guard": ConfigRecord({"runs": '{"r": 1}'})}), owed=parcel([2.0]))
    with Journal(Vault.open(path, key, create=False), outbox) as journal:
        found = journal.turn()
        assert found.asked is not None and found.owed is None
        journal.keep(after)
    with Journal(Vault.open(path, key, create=False), outbox) as journal:
        found = journal.turn()
        assert found.asked is None and found.owed is not None
        assert found.state.config_records["tacit.guard"]["runs"] == '{"r": 1}'
        journal.keep(replace(found, owed=None))
        assert journal.turn().owed is None and owed_files(tmp_path) == []


def test_a_message_is_kept_bare_and_an_update_whole(journal: Journal) -> None:
    asked, owed = parcel([1.0], "what was asked"), parcel([2.0])
    journal.keep(Turn(RecordDict(), asked=asked))
    assert journal.turn().asked == asked.bare()
    journal.keep(Turn(RecordDict(), owed=owed))
    assert journal.turn() == Turn(journal.turn().state, owed=owed)


def test_what_is_owed_is_sealed_in_one_file_of_the_owners_alone(journal: Journal, tmp_path: Path) -> None:
    word = "Ottilie Grünspan"
    journal.keep(Turn(RecordDict(), owed=parcel([1.0], word)))
    (first,) = owed_files(tmp_path)
    assert first.stat().st_mode & 0o777 == 0o600 and first.parent.stat().st_mode & 0o777 == 0o700
    assert word.encode() not in first.read_bytes()
    (tmp_path / "outbox" / "of-a-process-that-was-killed").write_bytes(b"x")
    journal.keep(Turn(RecordDict(), owed=parcel([2.0], word)))
    (second,) = owed_files(tmp_path)
    assert second != first
    journal.erase()
    assert owed_files(tmp_path) == []


@pytest.mark.parametrize("damage", ["gone", "changed", "swapped"])
def test_an_update_whose_file_is_damaged_is_owed_no_more(journal: Journal, tmp_path: Path, damage: str) -> None:
    """The device goes on, with all that it remembers of the round."""
    state = RecordDict({"tacit.guard": ConfigRecord({"runs": '{"r": 1}'})})
    journal.keep(Turn(state, owed=parcel([1.0])))
    (old,) = owed_files(tmp_path)
    before = old.read_bytes()
    journal.keep(Turn(state, owed=parcel([2.0])))
    (file,) = owed_files(tmp_path)
    if damage == "gone":
        file.unlink()
    else:
        now = file.read_bytes()
        file.write_bytes(before if damage == "swapped" else bytes([*now[:-1], now[-1] ^ 1]))
    with capture_logs() as said:
        found = journal.turn()
    assert found.owed is None and found.state.config_records["tacit.guard"]["runs"] == '{"r": 1}'
    assert [entry["event"] for entry in said] == ["an update is lost"]


def test_a_turn_keeps_every_value_that_a_device_remembers(journal: Journal) -> None:
    config = ConfigRecord({"text": "ü", "bytes": b"\x00\xff", "number": 3, "real": 0.1, "flag": True, "list": [1, 2]})
    arrays = ArrayRecord([np.arange(5, dtype=np.float32), np.array([[1, 2]], dtype=np.int32)])
    journal.keep(Turn(RecordDict({"c": config, "a": arrays})))
    state = journal.turn().state
    assert dict(state.config_records["c"]) == dict(config)
    for found, wanted in zip(state.array_records["a"].to_numpy_ndarrays(), arrays.to_numpy_ndarrays(), strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype


def test_keys_and_placement_are_kept(journal: Journal) -> None:
    assert journal.keys() is None and journal.placement() is None
    signing, node = journal.make_keys()
    found = journal.keys()
    assert found is not None and (found[0].public, found[1].public) == (signing.public, node.public)
    placed = Placement(state="admitted", identity="device-1", node_id="5", server_key="a" * 64, model="m")
    journal.place(placed)
    assert journal.placement() == placed
    journal.erase()
    assert journal.keys() is None and journal.placement() is None


def test_a_node_key_never_prints_itself() -> None:
    key = NodeKey.generate()
    assert "PRIVATE" not in repr(key) and "BEGIN PUBLIC KEY" in key.public
