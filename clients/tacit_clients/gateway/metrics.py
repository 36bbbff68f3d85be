"""Counters for Prometheus in a registry of the gateway's own; labels are words of this program and never text."""

import re

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tacit_clients.modes.protocol import Provenance

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LABEL = re.compile(r"[A-Za-z0-9_./{}-]{1,48}")


class Metrics:
    """What the gateway counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        within = self.registry
        self._requests = Counter(
            "tacit_requests", "Requests", ["route", "mode", "answered_by", "outcome"], registry=within
        )
        self._refused = Counter("tacit_refused", "Requests turned away or failed", ["reason"], registry=within)
        self._masked = Counter("tacit_masked", "Values masked in what left", ["type"], registry=within)
        self._up = Counter("tacit_bytes_up", "Bytes sent to the large model", registry=within)
        self._down = Counter("tacit_bytes_down", "Bytes received from the large model", registry=within)
        self._tokens = Counter("tacit_tokens", "Tokens as counted by who answered", ["direction"], registry=within)
        self._placeholders = Counter("tacit_placeholders", "Placeholders in answers", ["what"], registry=within)
        self._latency = Histogram(
            "tacit_request_seconds", "Whole requests", ["mode"], buckets=_SECONDS, registry=within
        )
        self._first = Histogram(
            "tacit_first_token_seconds", "To the first token", ["mode"], buckets=_SECONDS, registry=within
        )
        self._gate = Histogram("tacit_gate_seconds", "Redaction and last look", buckets=_SECONDS, registry=within)
        self.in_flight = Gauge("tacit_in_flight", "Requests being answered", registry=within)
        self.paused = Gauge("tacit_paused", "1 while the owner lets nothing leave", registry=within)
        self.circuit_open = Gauge("tacit_circuit_open", "1 while the upstream is left alone", registry=within)

    def answered(self, route: str, account: Provenance, outcome: str) -> None:
        """Count one request that a mode has dealt with."""
        mode = label(account.mode)
        self._requests.labels(route, mode, account.answered_by or "none", label(outcome)).inc()
        if account.answered_by == "llm":
            self._up.inc(account.bytes_up)
            self._down.inc(account.bytes_down)
            self._gate.observe(account.gate_ms / 1e3)
        for type, count in account.masked.items():
            self._masked.labels(label(type)).inc(count)
        for what in ("restored", "unknown", "malformed", "withheld"):
            if count := getattr(account, what):
                self._placeholders.labels(what).inc(count)
        self._tokens.labels("up").inc(account.tokens_up)
        self._tokens.labels("down").inc(account.tokens_down)
        self._latency.labels(mode).observe(account.latency_ms / 1e3)
        if account.ttft_ms:
            self._first.labels(mode).observe(account.ttft_ms / 1e3)

    def refused(self, reason: str) -> None:
        self._refused.labels(label(reason)).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)


def label(word: str) -> str:
    """``word`` if it is a short plain one: a label never carries what somebody typed."""
    return word if _LABEL.fullmatch(word) else "other"
