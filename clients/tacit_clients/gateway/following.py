"""Keeps the local model on the adapters that a device of a fleet has in use, while requests run."""

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from tacit_clients.device.in_use import DeviceAdapters, InUse, Unreadable
from tacit_clients.slm.places import HeldAdapter, same_model
from tacit_privacy.errors import BadInput

if TYPE_CHECKING:
    from tacit_clients.gateway.settings import LocalSettings

_EVERY_S: Final = 1.0
_REST_S: Final = 60.0  # before adapters that could not be used are tried again: that builds a set of modules
_SHOWN: Final = 12  # digits of a digest
_UNREAD: Final = "adapter of the device cannot be read: the one before stays"
_UNUSED: Final = "adapter of the device cannot be used: the one before stays"


class Swappable(Protocol):
    """What a local model must do; ``tacit_clients.slm.generation.LocalModel`` does."""

    async def swap_both(self, adapter: HeldAdapter | None, personal: HeldAdapter | None) -> None: ...


def device_of(chosen: "LocalSettings") -> tuple[DeviceAdapters, str]:
    """The device that the settings name, and the model to answer with: the device's own. Raises BadInput.

    A model that is named beside it must be the same one. A device that was not let in yet knows none.
    """
    if chosen.device is None:
        raise BadInput("the settings name no device; give --device DIR")
    device = DeviceAdapters.open(chosen.device, chosen.device_key)
    own, named = device.model(), "model" in chosen.model_fields_set
    if own and named and not same_model(own, chosen.model):
        device.close()
        raise BadInput(f"the device in {chosen.device} learns with {own}, not with {chosen.model}; leave --slm out")
    return device, chosen.model if named or not own else own


class Following:
    """``start``: what the local model was opened with."""

    def __init__(self, local: Swappable, device: DeviceAdapters, start: InUse, every_s: float = _EVERY_S) -> None:
        self._local, self._device, self._taken, self._every_s = local, device, start, every_s
        self._problems: tuple[Unreadable, ...] = ()
        self._refused: tuple[InUse, float] | None = None  # what could not be used, and when

    @property
    def adapter(self) -> str:
        """The first digits of the shared adapter that answers now; empty: the model without one."""
        return self._taken.digest[:_SHOWN]

    @property
    def personal(self) -> bool:
        return self._taken.personal is not None

    async def run(self, log: Any) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.step(log)
            except Exception as error:  # a defect: it costs this look, and not the ones that follow
                log.error(_UNREAD, kind=type(error).__name__)
            await asyncio.sleep(self._every_s)

    async def step(self, log: Any) -> None:
        """Look once, off the event loop, and take what has changed. Whatever goes wrong, the old adapters stay."""
        found, problems = await asyncio.to_thread(self._device.look)
        for problem in set(problems) - set(self._problems):
            log.error(_UNREAD, kind=problem.kind, reason=problem.which)
        self._problems = problems
        if found != self._taken and not self._resting(found):
            await self._take(found, log)

    async def _take(self, found: InUse, log: Any) -> None:
        shown = found.digest[:_SHOWN]
        try:
            await self._local.swap_both(found.shared, found.personal)
        except Exception as error:  # torch's own among them
            self._refused = found, time.monotonic()
            log.error(_UNUSED, kind=type(error).__name__, adapter=shown)
            return
        self._taken, self._refused = found, None
        log.info("adapter of the device in use", adapter=shown, reason="personal" if self.personal else "shared")

    def _resting(self, found: InUse) -> bool:
        return self._refused is not None and self._refused[0] == found and time.monotonic() < self._refused[1] + _REST_S
