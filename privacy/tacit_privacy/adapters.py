"""The arithmetic of an adapter's flat vector that server and device share, without torch."""

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.contract import AdapterSpec
from tacit_privacy.randomness import frozen_factor


def offsets(spec: AdapterSpec) -> list[int]:
    """Where each linear module begins inside one unit of rank, in floats."""
    widths = [module.rows + (module.columns if spec.method == "lora" else 0) for module in spec.linear]
    return [0, *np.cumsum(widths).tolist()[:-1]]


def initial_vector(spec: AdapterSpec) -> NDArray[np.float32]:
    """The vector of an adapter that changes nothing yet, shape ``(dimension,)``: zeros, but for ``lora`` A as drawn."""
    vector = np.zeros(spec.dimension, dtype=np.float32)
    if spec.method == "lora":
        block = vector[spec.dense_size :].reshape(spec.rank, spec.width)
        for module, start in zip(spec.linear, offsets(spec), strict=True):
            begin = start + module.rows
            block[:, begin : begin + module.columns] = frozen_factor(spec.seed, module.name, spec.rank, module.columns)
    return vector
