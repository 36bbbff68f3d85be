"""What a device knows of the shared adapters that it took, refused and went back from, and the rule it judges by."""

import math
from typing import Any, Final

from tacit_privacy.contract import Fact

_REMEMBERED: Final = 100  # refusals


class Kept(Fact, allow_inf_nan=False):
    """A shared adapter on the device. Without ``vector``: the model as it was shipped."""

    vector: str = ""  # digest of its bytes, and the name of its folder
    run: str = ""
    round: int = 0
    loss: float | None = None  # on held-out examples, when it was taken; None: there were none


class AdapterState(Fact):
    """The journal's record. It is the truth: link and folders follow it."""

    in_use: Kept = Kept()
    before: Kept | None = None  # what the owner can go back to; None: nothing is kept any more
    entries: int = 0  # of the ledger, the most that any adapter came with
    refused: tuple[str, ...] = ()  # digests that are not looked at again, the newest last
    rolled_back: str = ""  # what the owner went back from, until another one is taken

    def told(self) -> dict[str, Any]:
        """What an owner reads of it."""
        can_go_back = bool(self.in_use.vector) and self.before is not None
        return {**self.in_use.model_dump(), "can_roll_back": can_go_back, "rolled_back": self.rolled_back}

    def refusing(self, vector: str) -> "AdapterState":
        return self.model_copy(update={"refused": (*self.refused, vector)[-_REMEMBERED:]})


def worse(before: float | None, after: float | None, by: float) -> bool:
    """Whether a loss is more than ``by`` nats above another. None: nothing to score by, so nothing is held against it.

    A loss that is no number is worse than any that is.
    """
    if before is None or after is None:
        return False
    return not math.isfinite(after) or (math.isfinite(before) and after > before + by)
