"""A fleet of households as an ExampleSource."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tacit_clients.training.examples import DeviceData, Example, Task
from tacit_privacy.randomness import stream
from tacit_simulations.data.home import grammar
from tacit_simulations.data.home.household import Household


@dataclass(frozen=True, slots=True)
class HomeSource:
    """``devices`` households, generated one by one as they are asked for.

    Sizes are skewed on purpose: a household has between half and twice ``train_per_device`` training examples
    (log-normal). ``test_per_device`` is the same for all.
    """

    seed: int
    devices: int
    train_per_device: int = 24
    test_per_device: int = 12
    held_out_size: int = 512
    dialect: str = grammar.FLEET

    @property
    def task(self) -> Task:
        return Task.INSTRUCT

    @property
    def labels(self) -> Sequence[str]:
        return ()

    def device(self, index: int) -> DeviceData:
        size = stream(self.seed, "household-size", index).lognormal(0.0, 0.35) * self.train_per_device
        train = int(np.clip(size, self.train_per_device / 2, self.train_per_device * 2))
        said = Household(self.seed, index, self.dialect).say(train + self.test_per_device)
        examples = [Example(utterance.text, utterance.action) for utterance in said]
        return DeviceData(tuple(examples[:train]), tuple(examples[train:]))

    def held_out(self) -> Sequence[Example]:
        """Eight utterances each from households beyond the fleet."""
        homes = range(self.devices, self.devices + -(-self.held_out_size // 8))
        said = [u for home in homes for u in Household(self.seed, home, self.dialect).say(8)]
        return [Example(u.text, u.action) for u in said[: self.held_out_size]]
