"""Why a device's work did not count, in plain words: one table for every word that server, device and fleet can say.

A result counts losses by short stable words. The server's and the fleet's stand alone; a word of a device's own guard
stands behind ``refused.``, because the same word may mean another thing there. Words of other programs are shown as
they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tacit_simulations.report.figures import worded


@dataclass(frozen=True, slots=True)
class Reason:
    """``name`` fits a chart's margin, ``meaning`` is a sentence."""

    name: str
    meaning: str


REASONS: dict[str, Reason] = {
    # the emulated fleet: tacit_simulations.fleet.outcomes.Outcome
    "late": Reason("too late", "The update would have come after the deadline of the round."),
    "battery": Reason("battery low", "The battery was too low to begin, or ran too low on the way."),
    "offline": Reason("offline", "The device was switched off or had no connection where it was."),
    "outage": Reason("outage", "Power or network had failed in the whole region."),
    "memory": Reason("too little memory", "The model does not fit into the memory of the device."),
    "not_charging": Reason("not charging", "The device was not on a charger, or was unplugged, and the policy asks."),
    "not_on_wifi": Reason(
        "not on Wi-Fi", "Only a connection with a price was left, and the policy asks for one without."
    ),
    "busy": Reason("in use", "The owner was using the device, or picked it up."),
    "churn": Reason("left the fleet", "The device had not joined yet, or had left for good."),
    "in_flight": Reason("still at work", "The device was still at work on an earlier task."),
    "crashed": Reason("job crashed", "The training job died, as jobs sometimes do."),
    "network": Reason("transfer broke", "The connection broke while the model or the update was on its way."),
    "displaced": Reason("not needed", "The update came, but enough others had come before: the round closed by count."),
    # the server: tacit_server.coordinator, rounds and aggregation
    "missing": Reason("no answer", "No answer came before the deadline of the round; the server cannot know why."),
    "unavailable": Reason("out of reach", "The draw fell on a device that could not be asked at that time."),
    "unreachable": Reason("not reached", "The round could not be sent: the device had just gone."),
    "exhausted": Reason("had its turns", "The device had taken part as often as the policy allows."),
    "resting": Reason("in a pause", "The device had been in a round too short a time before, by the policy."),
    "failed": Reason("device error", "The device answered with an error instead of an update."),
    "malformed": Reason("unreadable", "The answer could not be read as an update."),
    "receipt": Reason("wrong receipt", "The receipt beside the update was for other terms or another update."),
    "duplicate": Reason(
        "answered twice", "The device had already contributed to this round; only one update can count."
    ),
    "non_finite": Reason("not numbers", "The update held NaN or infinity."),
    "norm": Reason("too long", "The update was longer than the clipping norm."),
    "codes": Reason("odd codes", "The update, in few bits a number, held a code that no device sends."),
    "statistic": Reason("odd statistic", "A number beside the update was outside the range that was agreed."),
    "wrong_dtype": Reason("wrong format", "The update was not in the promised number format."),
    "wrong_shape": Reason("wrong length", "The update did not have the promised number of entries."),
    "not_used": Reason(
        "not used", "The device finished, but the server did not use its update: it was not needed, or was refused."
    ),
    "not stated": Reason("not stated", "The result counts the device as invited and says no more about it."),
    # a device that said no: tacit_clients.guard and app
    "refused": Reason(
        "device refused",
        "The device's own guard said no: by its own count it has had its turns, or the terms looked wrong.",
    ),
    "refused.signature": Reason("bad signature", "The terms were not signed by the server key that the device trusts."),
    "refused.malformed": Reason("unreadable terms", "The device could not read the terms of the round."),
    "refused.adapter": Reason("other adapter", "The adapter that was sent is not the one the device is ready for."),
    "refused.rank": Reason("rank too high", "The server asked for a larger adapter than the device offers."),
    "refused.training": Reason("endless work", "The terms asked for more passes or longer examples than make sense."),
    "refused.levels": Reason("odd grid", "The number grid of the terms is coarser or finer than makes sense."),
    "refused.bits": Reason("odd coding", "In the bits that the terms ask for, little would be left of an update."),
    "refused.clip": Reason("clip too large", "The clipping norm is beyond what was promised, or makes no sense."),
    "refused.noise": Reason("too little noise", "There would be less noise than was promised, or than the owner asks."),
    "refused.separation": Reason("in a pause", "The round came too soon after the device's last one, by the promise."),
    "refused.statistics": Reason("odd statistics", "The terms asked for the same number twice."),
    "refused.replayed": Reason("old round", "The terms were for a round that the device has already passed."),
    "refused.exhausted": Reason(
        "had its turns", "By its own count the device had taken part as often as was promised."
    ),
    "refused.rollback": Reason("ledger shrank", "The server showed a shorter ledger than the device had seen before."),
    "refused.fork": Reason("ledger changed", "The server showed another ledger than the device had seen before."),
    "refused.ledger": Reason("another ledger", "The server showed another ledger than its own one."),
    "refused.failed": Reason("failed", "The device could not carry out the round, and does not tell why."),
    "refused.runs": Reason("too many runs", "The device remembers as many runs as it can and forgets none."),
    "refused.memory": Reason("damaged memory", "The device's own record of past rounds was damaged or changed."),
    "refused.non_finite": Reason("training diverged", "Training on the device gave NaN or infinity."),
    "refused.bad_input": Reason("no usable data", "The device had no data, or none that fits the task."),
}

UNSTATED = "not stated"


def reason_name(reason: str) -> str:
    """A few plain words for ``reason``; a word that the table lacks is shown as it is."""
    known = REASONS.get(reason)
    return known.name if known else worded(reason)


def explanations(reasons: Iterable[str]) -> list[tuple[str, str]]:
    """``(name, sentence)`` for those that have one, in the order given."""
    return [(REASONS[reason].name, REASONS[reason].meaning) for reason in reasons if reason in REASONS]
