"""What the page says: the stable words of records, modes and switches in plain language."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

_LEFT: Final = {
    "asked": "the client asked for the large model",
    "unsure": "the local model was not sure of its answer",
    "no_local_model": "there is no local model on this device",
    "local_unusable": "the local model could not be loaded",
    "needs_tools": "tools were to be called, which the local model cannot",
    "needs_json": "an answer in JSON was asked for, which the local model cannot promise",
    "needs_images": "more than text was to be read, which the local model cannot",
    "needs_choices": "several answers were asked for",
    "delegated": "the mode asks the large model",
    "plan": "a plan for reading a document was asked for; the document stayed here",
    "wording": "what was found in a document was to be put into words; the document itself stayed here",
    "hint": "a general question was asked, without what is yours",
    "predicted": "the large model was expected to know better",
    "out_of_scope": "the question was unlike those that the device knows",
    "inconsistent": "the local model said something else each time it was asked",
    "unverified": "the local model did not stand by its answer",
    "relay": "the large model was asked to go on with an answer",
}
_REFUSED: Final = {
    "block": "the policy blocks it",
    "local_only": "the policy keeps it on this device",
    "paused": "you had paused everything that leaves",
    "known_value": "the last look found a name or number that this device knows",
    "pattern": "the last look found something that looks personal",
    "masked": "it was to leave without placeholders, and holds something to mask",
    "gate_error": "the check itself failed, so nothing left",
    "not_recorded": "it could not be recorded, so it did not leave",
    "audio": "nothing here can mask speech",
    "file": "nothing here can look into files",
}
_OUTCOMES: Final = {
    "answered": "answered",
    "gone": "the client left before the end",
    "paused": "paused at the last moment; nothing was sent",
    "unreachable": "the large model could not be reached",
    "timeout": "the large model took too long",
    "malformed": "the answer could not be understood",
    "cut_off": "the answer broke off",
    "open_circuit": "not sent: the large model had failed repeatedly",
}
DONE: Final = {
    "paused": "Paused. Nothing leaves this device until you resume.",
    "resumed": "Resumed. Redacted requests may leave again.",
    "erased": "Erased.",
    "erased-conversation": "The conversation, its names and everything recorded of it are erased.",
    "erased-everything": "Everything is erased: the record, all conversations and their names, answers and examples.",
    "collecting": "Answers are now kept for you to judge.",
    "not-collecting": "No more answers are kept. Those you had not judged are erased; your examples stay.",
    "accepted": "Accepted: the device may learn from it.",
    "corrected": "Your answer is kept: the device may learn from it.",
    "dropped": "Dropped.",
    "gone": "That one is gone already.",
}
PROBLEMS: Final = {
    "no_session": (
        "This page is closed",
        "It opens with the one-time link that tacit gateway prints when it starts. The link works once, within an "
        "hour; start the gateway again for a new one.",
    ),
    "link_used": (
        "This link is used up",
        "Each link opens the page once, within an hour. If it was not you who used it, start the gateway again: that "
        "ends every session and prints a new link.",
    ),
    "no_csrf_token": (
        "Nothing was changed",
        "The form was of an older session. Go back, reload the page and try again.",
    ),
    "wrong_origin": ("Nothing was changed", "Another site asked for this. Open the page by its own address."),
    "not_found": ("There is nothing here", "The record may have been erased, or its time is over."),
    "bad_request": ("Nothing was changed", ""),
    "too_large": ("Too long", "The text is longer than the gateway takes."),
}


def why(reason: str, left: bool) -> str:
    """A record's reason; an unknown one as it is."""
    return (_LEFT if left else _REFUSED).get(reason, reason.replace("_", " "))


def outcome(word: str) -> str:
    """What came of what left."""
    if word.startswith("status_"):
        return f"the large model's endpoint refused it with status {word.removeprefix('status_')}"
    return _OUTCOMES.get(word, word.replace("_", " "))


def type_name(type: str) -> str:
    """PHONE_NUMBER as people write it."""
    words = type.replace("_", " ").lower()
    return {"id": "ID", "ip address": "IP address", "mac address": "MAC address", "us ssn": "US SSN", "url": "URL"}.get(
        words, words
    )


def counted(masked: Mapping[str, int]) -> str:
    """Counts by type in one phrase, for those who hear the page."""
    return ", ".join(f"{count} {type_name(type)}" for type, count in sorted(masked.items())) or "nothing"


def size(count: int) -> str:
    """Bytes as people read them."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def moment(at: float) -> str:
    """By the device's own clock and zone."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")


def machine_time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
