"""What is seen of a model and its adapter before anything is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from tacit_clients.slm.places import NANO, check
from tacit_privacy.errors import BadInput


def folder(path: Path, *files: str, **config: Any) -> Path:
    path.mkdir()
    for name in files:
        (path / name).write_text(json.dumps(config) if name.endswith(".json") else "x")
    return path


def test_the_packaged_model_is_there() -> None:
    check(NANO, (None,))


@pytest.mark.parametrize(
    ("files", "word"),
    [(None, "no model folder"), ((), "config.json"), (("config.json",), "no weights")],
)
def test_a_folder_must_hold_a_model(tmp_path: Path, files: tuple[str, ...] | None, word: str) -> None:
    place = tmp_path / "model" if files is None else folder(tmp_path / "model", *files)
    with pytest.raises(BadInput, match=word):
        check(str(place))


@pytest.mark.parametrize("weights", ["model.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin"])
def test_a_whole_folder_passes(tmp_path: Path, weights: str) -> None:
    check(str(folder(tmp_path / "model", "config.json", weights)))


def test_a_config_that_is_no_json_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path / "model", "model.safetensors")
    (place / "config.json").write_text("not json")
    with pytest.raises(BadInput, match=r"config\.json"):
        check(str(place))


@pytest.mark.parametrize(
    ("files", "kind", "word"),
    [
        ((), "LORA", "no adapter in"),
        (("adapter_config.json",), "LORA", r"adapter_model\.safetensors"),
        (("adapter_config.json", "adapter_model.safetensors"), "IA3", "no LoRA"),
    ],
)
def test_an_adapter_must_be_whole(tmp_path: Path, files: tuple[str, ...], kind: str, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        check(NANO, (None, folder(tmp_path / "adapter", *files, peft_type=kind)))


def test_a_whole_adapter_passes(tmp_path: Path) -> None:
    check(NANO, [folder(tmp_path / "adapter", "adapter_config.json", "adapter_model.safetensors", peft_type="LORA")])


def test_an_id_is_looked_up_in_the_cache_and_else_at_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Hub:
        def model_info(self, name: str, timeout: float) -> None:
            asked.append(name)
            if name == "somebody/gone":
                raise ConnectionError(name)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    check("somebody/model")
    with pytest.raises(BadInput, match=r"no folder somebody/gone.* cannot be reached"):
        check("somebody/gone")
    with pytest.raises(BadInput, match="no id of a model"):
        check("too/many/parts")
    assert asked == ["somebody/model", "somebody/gone"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput, match="HF_HUB_OFFLINE"):
        check("somebody/model")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: f"/cache/{name}/{file}")
    check("somebody/model")
    assert len(asked) == 2


def test_checking_loads_no_torch() -> None:
    words = "import sys; from tacit_clients.slm.places import check; check('tacit-nano'); "
    words += "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'safetensors')))"
    assert subprocess.run([sys.executable, "-c", words], env=dict(os.environ), capture_output=True).returncode == 0
