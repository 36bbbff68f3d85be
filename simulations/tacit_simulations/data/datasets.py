"""The data sets of ``tacit.datasets``: what a device under Flower's own runtimes finds by name."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from tacit_clients.training.examples import ExampleSource
from tacit_privacy.errors import BadInput
from tacit_privacy.wording import sentence
from tacit_simulations.data.config import DataConfig
from tacit_simulations.data.sources import build_source


def _source(kind: str, settings: Mapping[str, Any], seed: int, devices: int) -> ExampleSource:
    """``settings`` are those of a scenario's ``[data]`` but for ``kind``. Raises BadInput on what they do not know."""
    try:
        config = DataConfig.model_validate({**settings, "kind": kind})
    except ValidationError as error:
        raise BadInput(f"data-settings of {kind}: {sentence(error, DataConfig)}") from error
    return build_source(config, seed, devices)


home = partial(_source, "home")
banking77 = partial(_source, "banking77")
clinc150 = partial(_source, "clinc150")
sms = partial(_source, "sms")
shakespeare = partial(_source, "shakespeare")
file = partial(_source, "file")
hub = partial(_source, "hub")
