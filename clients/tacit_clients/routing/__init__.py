"""Whether to ask the large model: a calibrated predictor of "it is right and the small one wrong", on the device."""

from tacit_clients.routing.calibration import NEVER, threshold_for_rate, threshold_for_risk
from tacit_clients.routing.examples import Example
from tacit_clients.routing.federated import LocalSteps, initial, local_delta
from tacit_clients.routing.fitting import Fit, RouterSettings, fit
from tacit_clients.routing.predictor import Decision, Predictor
from tacit_clients.routing.signals import Damage, Signals
from tacit_clients.routing.spec import Spec

__all__ = [
    "NEVER",
    "Damage",
    "Decision",
    "Example",
    "Fit",
    "LocalSteps",
    "Predictor",
    "RouterSettings",
    "Signals",
    "Spec",
    "fit",
    "initial",
    "local_delta",
    "threshold_for_rate",
    "threshold_for_risk",
]
