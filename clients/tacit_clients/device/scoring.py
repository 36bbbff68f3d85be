"""An adapter's loss on the device's own held-out examples, which decides whether it is taken into use."""

from dataclasses import dataclass

from tacit_clients.device.data import device_data, task_of
from tacit_clients.device.folders import Vector
from tacit_clients.device.settings import DataSettings
from tacit_clients.slm.adapters import AdaptedModel
from tacit_clients.slm.places import HeldAdapter
from tacit_clients.training.local import evaluate
from tacit_clients.training.personal import evaluate_personal
from tacit_privacy.contract import LocalTraining


@dataclass(frozen=True)
class Scorer:
    """Examples are read anew for every question, so that all adapters are scored on those of today."""

    adapted: AdaptedModel
    settings: DataSettings

    def loss(self, shared: Vector, personal: HeldAdapter | None = None) -> float | None:
        """In nats a token, of the shared adapter alone or with a personal one; None where nothing is held out."""
        held_out, task = device_data(self.settings).test, task_of(self.settings)
        longest = LocalTraining().max_length
        self.adapted.load_vector(shared, self.adapted.spec.rank)
        if personal is None:
            found = evaluate(self.adapted, held_out, task, longest)
        else:
            self.adapted.add_personal(personal.spec)
            self.adapted.load_vector(personal.vector, personal.spec.rank, "personal")
            found = evaluate_personal(self.adapted, held_out, task, longest)
        return found.loss if found.tokens else None
