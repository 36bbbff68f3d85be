"""Every mode that a gateway has, in the order in which it names them."""

from pydantic import BaseModel

from tacit_clients.egress import Egress
from tacit_clients.modes.auto import AutoMode, AutoSettings
from tacit_clients.modes.auxiliary import AuxiliaryMode, AuxiliarySettings
from tacit_clients.modes.distillation import DistillationMode, DistillationSettings
from tacit_clients.modes.fusion import FusionMode, FusionSettings
from tacit_clients.modes.llm import LlmMode
from tacit_clients.modes.local import LocalMode
from tacit_clients.modes.pipeline import PipelineMode, PipelineSettings
from tacit_clients.modes.protocol import Mode, Registry
from tacit_clients.modes.routing import RoutingMode, RoutingSettings, load_predictor
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.vault.store import Vault


class ModesSettings(BaseModel, frozen=True, extra="forbid"):
    """Of the five modes of collaboration, each in a table of its own."""

    pipeline: PipelineSettings = PipelineSettings()
    routing: RoutingSettings = RoutingSettings()
    auxiliary: AuxiliarySettings = AuxiliarySettings()
    distillation: DistillationSettings = DistillationSettings()
    fusion: FusionSettings = FusionSettings()


def registry_of(
    egress: Egress,
    local: LocalMode | None,
    policy: RedactionPolicy,
    vault: Vault,
    auto: AutoSettings,
    settings: ModesSettings,
) -> Registry:
    """Raises BadInput where a file that the settings name cannot be used."""
    modes: list[Mode] = [AutoMode(egress, local, auto), LlmMode(egress, local, policy)]
    if local is not None:
        modes.append(local)
    return Registry(
        *modes,
        PipelineMode(egress, local, settings.pipeline),
        RoutingMode(egress, local, settings.routing, load_predictor(settings.routing.predictor)),
        AuxiliaryMode(egress, local, settings.auxiliary),
        DistillationMode(egress, local, settings.distillation.buffer(vault), settings.distillation),
        FusionMode(egress, local, settings.fusion),
    )
