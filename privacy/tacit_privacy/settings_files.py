"""Settings files in TOML: read with a sentence for whatever is wrong, and written with what each setting means."""

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tacit_privacy.errors import BadInput
from tacit_privacy.wording import sentence

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path, what: str = "", remedy: str = "") -> dict[str, Any]:
    """The table in a file. Raises BadInput, which calls it ``what`` and ends in ``remedy`` where there is none."""
    named = f"{what} {path}".strip()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot read {named}: {error.strerror}" + (f"; {remedy}" if remedy else "")) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{named} is not UTF-8: byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{named} is not TOML: {error}") from error


def validated(model: type[Model], table: dict[str, Any], where: str) -> Model:
    """Settings of ``model``. Raises BadInput, one sentence that begins with ``where``."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise BadInput(f"{where}: {sentence(error, model)}") from error


def toml_text(settings: dict[str, Any], model: type[BaseModel]) -> str:
    """Settings of ``model`` as TOML, simple ones first, each below what it means.

    JSON's way of writing words, numbers and lists is TOML's too.
    """
    simple = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    lines = [line for name, value in simple.items() for line in _lines(model, name, value)]
    for name, table in settings.items():
        if isinstance(table, dict):
            inner = model.model_fields[name].annotation
            if not isinstance(inner, type) or not issubclass(inner, BaseModel):
                raise BadInput(f"{name} is no table of settings")
            lines += ["", f"[{name}]", *(line for key, value in table.items() for line in _lines(inner, key, value))]
    return "\n".join(lines).lstrip("\n") + "\n"


def _lines(model: type[BaseModel], name: str, value: Any) -> list[str]:
    told = model.model_fields[name].description
    return ([f"# {told}"] if told else []) + [f"{name} = {json.dumps(value, ensure_ascii=False)}"]
