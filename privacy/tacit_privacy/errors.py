"""Every error class of the project, one tree.

TacitError                    something Tacit can name; ``exit_code`` is what the command line returns
├── BadInput                  the caller's words, files or settings; exit code 2, nothing was written
│   ├── MissingExtra          an optional library is not installed
│   ├── ModelDoesNotFit       a model needs more memory than a device tier has
│   ├── FleetExhausted        too few devices may still take part and can be asked
│   ├── PromptTooLong         a prompt leaves the local model no room for an answer
│   └── VaultLocked           a vault whose key is missing or wrong; nothing was read
├── BudgetExhausted           the privacy budget refuses; exit code 1
├── AdmissionRefused          a device is not let into a fleet; nothing was changed
├── RequestRefused            a request to the server is unsigned, old, repeated or nobody's
├── RunTakenOver              another coordinator holds the run; nothing more may be written
├── UpdateRefused             one device's update is not acceptable; costs its sender, never the round
│   └── NonFiniteUpdate       NaN or infinity: clipping those would hide them
├── TermsRefused              the device's own guard says no to a round
├── LedgerBroken              a chain, signature or sequence does not verify
├── TextRefused               a text may not leave this device, by policy or since a check failed; never holds the text
├── ServerUnreachable         a device's server does not answer; it is asked again later
├── NodeUnknown               the server does not know this device's node any more
├── RunOver                   the run that a message belongs to has ended
├── Busy                      the local model answers as many as it may; ask again later
├── UpstreamFailed            the large model's endpoint is gone, slow, busy or wrong in form
└── EngineFailed              the engine that runs devices, or the local model, cannot go on
"""


class TacitError(Exception):
    """The root of the tree. Every error keeps its arguments, so it survives pickling."""

    exit_code = 1


class BadInput(TacitError):
    """One clear sentence about what was given, and the remedy."""

    exit_code = 2


class MissingExtra(BadInput):
    """An optional library is missing; the message says what to type."""


class ModelDoesNotFit(BadInput):
    """A model needs more memory than a device tier offers."""

    def __init__(self, model: str, needs_bytes: float, tier: str, has_bytes: float) -> None:
        super().__init__(model, needs_bytes, tier, has_bytes)
        self.model, self.needs_bytes, self.tier, self.has_bytes = model, needs_bytes, tier, has_bytes

    def __str__(self) -> str:
        return (
            f"model {self.model} needs {self.needs_bytes / 1e6:.0f} MB to train but tier {self.tier} offers "
            f"{self.has_bytes / 1e6:.0f} MB; choose a smaller model or leave the tier out of fleet.tiers"
        )


class FleetExhausted(BadInput):
    """Too few devices may still take part and can be asked. A run that has learnt something keeps what it has."""


class PromptTooLong(BadInput):
    """A prompt leaves the local model no room for an answer. Lengths in tokens."""

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(tokens, context)
        self.tokens, self.context = tokens, context

    def __str__(self) -> str:
        return (
            f"the prompt has {self.tokens} tokens and the local model reads {self.context} with its answer; "
            "shorten the conversation or name a model with a longer context"
        )


class BudgetExhausted(TacitError):
    """A charge would pass the cap on epsilon or on participations. Nothing was released and nothing was spent."""

    def __init__(self, asked: float, cap: float, participations: int = 0, allowed: int = 0) -> None:
        super().__init__(asked, cap, participations, allowed)
        self.asked, self.cap, self.participations, self.allowed = asked, cap, participations, allowed

    def __str__(self) -> str:
        if self.participations > self.allowed:
            return (
                f"a device would take part {self.participations} times but the policy allows {self.allowed}; "
                "ask other devices or raise privacy.participations"
            )
        return (
            f"epsilon would reach {self.asked:.4g} but the cap is {self.cap:.4g}; "
            "run fewer rounds, raise privacy.noise_multiplier or raise privacy.epsilon"
        )


class AdmissionRefused(TacitError):
    """A device is not let into a fleet. ``reason`` is one stable word, for logs and programs."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"the device was not admitted: {self.detail}"


class RequestRefused(TacitError):
    """A request is unsigned, too old, repeated, or of somebody who may not. ``reason`` is one stable word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the request was refused: {self.reason}"


class RunTakenOver(TacitError):
    """Another coordinator has taken a run over: whoever had it before may write nothing more."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self.run = run

    def __str__(self) -> str:
        return f"another coordinator has taken over run {self.run}; this one ends"


class UpdateRefused(TacitError):
    """One device's update is not acceptable. ``reason`` is a short stable word for reports."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"update refused ({self.reason}): {self.detail}" if self.detail else f"update refused ({self.reason})"


class NonFiniteUpdate(UpdateRefused):
    """The update holds NaN or infinity."""

    def __init__(self, reason: str = "non_finite", detail: str = "the update holds NaN or infinity") -> None:
        super().__init__(reason, detail)


class TermsRefused(TacitError):
    """The device's guard refuses a round. ``reason`` is a short stable word for reports."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"terms refused ({self.reason}): {self.detail}"


class LedgerBroken(TacitError):
    """A chain, signature or sequence does not verify."""


class VaultLocked(BadInput):
    """A vault's key is missing or wrong. Nothing was read and nothing was changed."""


class TextRefused(TacitError):
    """A text may not leave this device. ``reason`` is a short stable word; the error never holds the text."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"text refused ({self.reason}): {self.detail}" if self.detail else f"text refused ({self.reason})"


class ServerUnreachable(TacitError):
    """A device's server does not answer, or not with sense. Nothing is lost: what was to be sent is kept."""


class NodeUnknown(TacitError):
    """The server does not know this device's node: it was revoked, or the server began anew."""

    def __str__(self) -> str:
        return "the server does not know this device's node; it asks for its number, or was revoked"


class RunOver(TacitError):
    """The run that a message belongs to has ended: its reply is of no use to anybody."""


class Busy(TacitError):
    """The local model answers as many requests as it may and as many wait. Nothing was begun."""

    def __init__(self, running: int, waiting: int) -> None:
        super().__init__(running, waiting)
        self.running, self.waiting = running, waiting

    def __str__(self) -> str:
        return (
            f"the local model answers {self.running} requests and {self.waiting} wait; ask again in a moment, "
            "or let it answer more at once"
        )


class UpstreamFailed(TacitError):
    """The large model's endpoint cannot be used. ``reason``: unreachable, timeout, status, malformed, open_circuit."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason, status)
        self.reason, self.status = reason, status

    def __str__(self) -> str:
        return f"upstream failed ({self.reason}{f' {self.status}' if self.status else ''})"


class EngineFailed(TacitError):
    """What computes cannot go on: workers keep dying, a cluster is gone, the local model is closed or gives NaN."""
