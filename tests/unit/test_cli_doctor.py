"""`tacit doctor`: every wanting thing is found, and comes with what to type."""

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tacit_privacy import cli
from tacit_simulations.commands import _checkup, _nano, _recogniser, doctor
from tacit_simulations.commands._findings import Finding


def distribution(folder: Path, name: str, version: str, *requires: str, extras: tuple[str, ...] = ()) -> None:
    """Lay an installed distribution into ``folder``, as pip would."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    rows = [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {text}" for text in requires]
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *rows]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_each_required_library_is_held_against_its_range(site: Path) -> None:
    distribution(
        site, "pond", "1.0", "frog>=2", "newt<3", "toad", "eel[deep]>=1", "carp>=1; extra == 'big'", extras=("big",)
    )
    distribution(site, "frog", "1.9")
    distribution(site, "newt", "2.5")
    distribution(
        site, "eel", "1.1", "squid==4; extra == 'deep'", "crab==1; extra == 'shallow'", extras=("deep", "shallow")
    )
    found = {finding.name: finding for finding in _checkup.libraries("pond")}
    assert {name: finding.state for name, finding in found.items()} == {
        "frog": "missing",  # out of range
        "newt": "ok",
        "toad": "missing",  # not there
        "eel": "ok",
        "squid": "missing",  # what the extra brings
        "carp": "absent",  # optional
    }
    assert found["frog"].remedy == "pip install 'frog>=2'"
    assert found["carp"].remedy == "pip install 'pond[big]'"
    assert "1.9 is outside >=2" in found["frog"].detail


def test_pins_that_libraries_put_on_each_other_are_followed_in_circles(site: Path) -> None:
    distribution(site, "pond", "1.0", "frog")
    distribution(site, "frog", "1.0", "newt")
    distribution(site, "newt", "1.0", "frog>=2")
    (found,) = _checkup.conflicts("pond")
    assert (found.name, found.state) == ("frog", "missing")
    assert found.detail == "newt wants >=2, 1.0 is installed"


def test_pins_that_hold_are_one_line(site: Path) -> None:
    distribution(site, "pond", "1.0", "frog")
    distribution(site, "frog", "1.0")
    (found,) = _checkup.conflicts("pond")
    assert (found.name, found.state) == ("agreement", "ok")


def test_requirements_of_another_platform_are_left_out(site: Path) -> None:
    distribution(site, "pond", "1.0", "frog; sys_platform == 'no-such-platform'")
    assert list(_checkup.libraries("pond")) == []


def model(folder: Path, shape: tuple[int, ...] = (2, 3)) -> Path:
    """A folder with all files of a model; the card states the hash of its weights."""
    header = json.dumps(
        {"__metadata__": {"format": "pt"}, "w": {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]}}
    )
    weights = struct.pack("<Q", len(header)) + header.encode()
    (folder / "model.safetensors").write_bytes(weights)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "README.md").write_text(f"SHA-256: `{hashlib.sha256(weights).hexdigest()}`\n")
    return folder


def test_a_whole_model_is_counted_from_its_header(tmp_path: Path) -> None:
    state, detail, _ = _nano.inspect_folder(model(tmp_path, (1000, 1100)))
    assert state == "ok"
    assert "1.10M parameters" in detail


@pytest.mark.parametrize("name", _nano.NEEDED)
def test_a_model_without_one_of_its_files_is_missing(tmp_path: Path, name: str) -> None:
    (model(tmp_path) / name).unlink()
    state, detail, remedy = _nano.inspect_folder(tmp_path)
    assert state == "missing"
    assert name in detail
    assert remedy


def test_weights_that_the_card_does_not_describe_are_missing(tmp_path: Path) -> None:
    with (model(tmp_path) / "model.safetensors").open("ab") as weights:
        weights.write(b"\0")
    state, detail, _ = _nano.inspect_folder(tmp_path)
    assert state == "missing"
    assert "the model card does not state" in detail


def test_a_recogniser_is_checked_by_every_digest_of_its_card(tmp_path: Path) -> None:
    for name in _recogniser.NEEDED[:-1]:
        (tmp_path / name).write_text(name)
    assert _recogniser.inspect_folder(tmp_path)[:2] == ("missing", "without README.md")
    rows = [f"| {name} | {hashlib.sha256(name.encode()).hexdigest()} |" for name in _recogniser.NEEDED[:-1]]
    (tmp_path / "README.md").write_text("\n".join(rows) + "\n")
    assert _recogniser.inspect_folder(tmp_path)[0] == "ok"
    (tmp_path / "labels.json").write_text("changed")
    state, detail, remedy = _recogniser.inspect_folder(tmp_path)
    assert state == "missing" and "labels.json" in detail and remedy


def test_weights_that_are_none_are_missing(tmp_path: Path) -> None:
    folder = model(tmp_path)
    junk = b"\xff" * 64
    (folder / "model.safetensors").write_bytes(junk)
    (folder / "README.md").write_text(hashlib.sha256(junk).hexdigest())
    state, detail, _ = _nano.inspect_folder(folder)
    assert state == "missing"
    assert "cannot be read" in detail


@pytest.mark.parametrize(("value", "state"), [(None, "absent"), ("nowhere", "absent"), (".", "ok")])
def test_the_folder_of_real_data_is_optional(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, state: str
) -> None:
    if value is None:
        monkeypatch.delenv("TACIT_DATA", raising=False)
    else:
        monkeypatch.setenv("TACIT_DATA", str(tmp_path / value))
    found = {finding.name: finding for finding in _checkup.model_and_data()}["TACIT_DATA"]
    assert found.state == state
    assert bool(found.remedy) == (state != "ok")


def test_what_is_wanting_comes_with_what_to_type() -> None:
    for finding in _checkup.examine():
        if finding.state in ("missing", "absent"):
            assert finding.remedy, finding


def test_json_and_exit_code_tell_the_same(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    here = Finding("libraries", "frog", "ok", "1.0")
    gone = Finding("libraries", "toad", "missing", "needs 2", "pip install toad")
    for findings, code in (([here], 0), ([here, gone], 1)):
        monkeypatch.setattr(_checkup, "examine", lambda deep, findings=findings: findings)
        assert cli.main(["doctor", "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        assert document["ok"] == (code == 0)
        assert [row["name"] for row in document["findings"]] == [finding.name for finding in findings]
        assert cli.main(["doctor"]) == code
        assert ("pip install toad" in capsys.readouterr().out) == (code == 1)


def test_without_deep_nothing_heavy_is_imported() -> None:
    code = "import sys; from tacit_privacy.cli import main; main(['doctor', '--json']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    modules = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "psutil" in modules
    assert not modules & {"torch", "flwr", "transformers", "ray", "opacus", "plotly"}


def test_the_help_of_doctor_names_its_module() -> None:
    assert doctor.app.info.help == doctor.__doc__
