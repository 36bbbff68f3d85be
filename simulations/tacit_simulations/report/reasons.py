"""Why a device was lost, in words. Unknown reasons are shown as they are."""

from collections.abc import Iterable

from tacit_simulations.report.figures import worded

EXPLAINED: dict[str, str] = {
    "battery": "The battery ran too low before the update was sent.",
    "churn": "The device left the fleet during the round.",
    "deadline": "The update came after the deadline of the round.",
    "death": "The device switched off during the round.",
    "duplicate": "The device answered twice; only one answer can count.",
    "error": "The device answered with an error.",
    "displaced": "Enough other devices had answered before; the round closed by count.",
    "exhausted": "The device had taken part as often as the policy allows.",
    "hang": "The device never answered.",
    "late": "The update came after the deadline of the round.",
    "malformed": "The answer could not be read as an update.",
    "memory": "The model does not fit into the memory of the device.",
    "network": "The connection broke while the model or the update was on its way.",
    "no_reply": "The device never answered.",
    "non_finite": "The update held NaN or infinity.",
    "norm": "The update was longer than the clipping norm.",
    "not_charging": "The device was not on a charger, which the policy asks for.",
    "offline": "The device could not be reached.",
    "outage": "A whole region was cut off at once.",
    "refused": "The device's own guard said no to the terms of the round.",
    "raised": "The device answered with an error.",
    "straggler": "The update came after the deadline of the round.",
    "timeout": "The device did not answer before the deadline.",
    "unavailable": "The device could not be reached.",
    "unreachable": "The device could not be reached.",
    "wrong_dtype": "The update was not in the promised number format.",
    "wrong_shape": "The update was not of the promised length.",
}

UNSTATED = "not stated"


def reason_name(reason: str) -> str:
    return worded(reason)


def explanations(reasons: Iterable[str]) -> list[tuple[str, str]]:
    """``(reason, sentence)`` for those that have one, in the order given."""
    return [(reason_name(reason), EXPLAINED[reason]) for reason in reasons if reason in EXPLAINED]
