"""A file is there whole or not at all, whatever its writing ends by."""

import os
import stat
from pathlib import Path

import pytest

from tacit_privacy.errors import BadInput
from tacit_privacy.files import OWNER_ALONE, write_whole


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_text_that_no_file_can_hold_leaves_the_old_file_and_nothing_beside(tmp_path: Path) -> None:
    file = tmp_path / "told.json"
    write_whole(file, "old\n")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "new \ud800\n")
    assert os.listdir(tmp_path) == ["told.json"] and file.read_text() == "old\n"


def test_a_place_that_takes_no_file_is_one_sentence_and_left_clean(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "held").touch()
    (tmp_path / "file").touch()
    for place in (tmp_path / "folder", tmp_path / "file" / "below", tmp_path / "gone" / "below"):
        with pytest.raises(BadInput, match=r"cannot write .*; try elsewhere"):
            write_whole(place, "text", "try elsewhere")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_file_for_its_owner_alone_is_so_from_its_first_byte_and_over_an_open_one(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_whole(tmp_path / "open", "anybody")
        assert mode(tmp_path / "open") == 0o644
        write_whole(tmp_path / "open", "the owner", mode=OWNER_ALONE)
        assert mode(tmp_path / "open") == 0o600
    finally:
        os.umask(before)


def test_what_lies_beside_already_is_never_written_through(tmp_path: Path) -> None:
    """A link that somebody put there, or what a killed process of the same number left, open to all."""
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / f".told.{os.getpid()}").symlink_to(tmp_path / "elsewhere")
    write_whole(tmp_path / "told", "text", mode=OWNER_ALONE)
    assert (tmp_path / "elsewhere").read_text() == "kept"
    assert not (tmp_path / "told").is_symlink() and mode(tmp_path / "told") == 0o600
