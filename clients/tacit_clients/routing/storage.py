"""A router as one JSON file: read without trust, no pickle, nothing executed."""

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from tacit_clients.routing.calibration import NEVER, Calibration
from tacit_clients.routing.familiarity import BITS, Familiarity
from tacit_clients.routing.spec import Spec
from tacit_privacy.errors import BadInput
from tacit_privacy.files import OWNER_ALONE, write_whole

if TYPE_CHECKING:
    from tacit_clients.routing.predictor import Predictor

FORMAT: Final = "tacit-router"
MOST_BYTES: Final = 8_000_000

_Share = Annotated[float, Field(ge=0, le=1)]


class _File(BaseModel, frozen=True, extra="forbid"):
    format: Literal["tacit-router"]
    version: Literal[1]
    spec: Spec
    weights: str  # base64 of little-endian float32
    slope: Annotated[FiniteFloat, Field(gt=0)]
    intercept: FiniteFloat
    threshold: Annotated[FiniteFloat, Field(ge=0, le=NEVER)]
    scope_level: Annotated[float, Field(ge=0, lt=1)]
    known: str  # base64 of little-endian uint16, buckets of every kept query one after the other
    known_sizes: str  # base64 of little-endian uint16, how many each has
    aside: tuple[_Share, ...]


def save(predictor: "Predictor", path: Path) -> None:
    """Write ``path`` whole or not at all, for its owner alone: hashed words can be guessed. Raises BadInput."""
    sets = predictor.familiarity.sets()
    known = np.concatenate([*sets, np.zeros(0, dtype=np.uint16)])
    file = _File(
        format="tacit-router",
        version=1,
        spec=predictor.spec,
        weights=_text(predictor.weights, "<f4"),
        slope=predictor.calibration.slope,
        intercept=predictor.calibration.intercept,
        threshold=predictor.threshold,
        scope_level=predictor.scope_level,
        known=_text(known, "<u2"),
        known_sizes=_text(np.array([len(each) for each in sets]), "<u2"),
        aside=tuple(float(min(1.0, max(0.0, value))) for value in predictor.familiarity.aside),
    )
    write_whole(path, file.model_dump_json(indent=1) + "\n", mode=OWNER_ALONE)


def load(path: Path) -> tuple[Spec, NDArray[np.float32], Calibration, float, Familiarity, float]:
    """What a Predictor is made of, in its order. Raises BadInput, which names the field that is wrong."""
    try:
        with path.open("rb") as opened:
            raw = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > MOST_BYTES:
        raise BadInput(
            f"{path} is larger than {MOST_BYTES:,} bytes, so it is no router; tacit models train-router makes one"
        )
    try:
        file = _File.model_validate_json(raw)
        weights = _array(file.weights, "<f4").astype(np.float32)
        familiarity = _familiarity(file)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BadInput(
            f"{path} is no router: {where}: {first['msg'].lower()}; tacit models train-router makes one"
        ) from error
    except (ValueError, binascii.Error) as error:
        raise BadInput(f"{path} is no router: {error}; tacit models train-router makes one") from error
    calibration = Calibration(file.slope, file.intercept)
    return file.spec, weights, calibration, file.threshold, familiarity, file.scope_level


def _familiarity(file: _File) -> Familiarity:
    known, sizes = _array(file.known, "<u2").astype(np.uint16), _array(file.known_sizes, "<u2").astype(np.int64)
    if sizes.sum() != len(known) or (len(known) and int(known.max()) >= 1 << BITS):
        raise ValueError("known and known_sizes do not belong together")
    sets = np.split(known, np.cumsum(sizes)[:-1]) if len(sizes) else []
    if any(np.any(np.diff(each.astype(np.int64)) <= 0) for each in sets):
        raise ValueError("a known query names a bucket twice or out of order")
    return Familiarity.from_sets(sets, np.sort(np.array(file.aside, dtype=np.float64)))


def _text(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")


def _array(text: str, kind: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind)
