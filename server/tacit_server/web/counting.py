"""What the server counts about itself, for Prometheus. Labels are few and public: never a device's name or a text."""

from prometheus_client import CollectorRegistry, Counter, generate_latest

_FLEET_CALLS = frozenset(
    {
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "get-fab",
        "push-object",
        "pull-object",
        "confirm-message-received",
        "register-node",
        "unregister-node",
        "next",
        "confirm",
        "reply",
    }
)


class Counts:
    """Counters of one process, and a registry to which gauges may be added."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._refused = Counter("tacit_refused", "Requests refused, by reason", ["why"], registry=self.registry)
        self._calls = Counter(
            "tacit_fleet_calls", "Calls of nodes, Flower's and ours", ["call"], registry=self.registry
        )
        self._bytes = Counter("tacit_fleet_bytes", "Bytes that nodes sent", registry=self.registry)
        self._told = Counter("tacit_fleet_bytes_out", "Bytes that nodes were answered", registry=self.registry)
        self._enrolments = Counter("tacit_enrolments", "Applications, by outcome", ["outcome"], registry=self.registry)

    def refused(self, why: str) -> None:
        self._refused.labels(why).inc()

    def fleet(self, call: str, size: int, answered: int) -> None:
        """``size`` and ``answered``: bytes of the request's body and of the answer's."""
        self._calls.labels(call if call in _FLEET_CALLS else "other").inc()
        self._bytes.inc(size)
        self._told.inc(answered)

    def enrolment(self, outcome: str) -> None:
        self._enrolments.labels(outcome).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
