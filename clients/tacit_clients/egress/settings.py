"""The upstream and how patiently it is asked."""

import ipaddress
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr, model_validator


class UpstreamSettings(BaseModel, frozen=True, extra="forbid"):
    """Where the large model is. ``url`` ends in the API's version, such as https://api.openai.com/v1."""

    url: str
    model: str = Field(min_length=1, max_length=200)
    key: SecretStr | None = Field(default=None, exclude=True)
    allow_http: bool = (
        False  # to another machine, without TLS: everybody on the way reads the redacted text and the key
    )
    ask_usage: bool = True  # streams: stream_options.include_usage, which some old servers refuse
    ca_file: str | None = None  # certificate authority of a server of one's own, in place of the system's
    connect_s: PositiveFloat = 5.0
    first_byte_s: PositiveFloat = 60.0  # of a stream; a whole answer may take total_s
    idle_s: PositiveFloat = 30.0
    total_s: PositiveFloat = 600.0
    retries: NonNegativeInt = 2
    retry_after_s: PositiveFloat = 10.0  # a longer Retry-After is not waited for
    backoff_s: PositiveFloat = 0.25
    connections: PositiveInt = 64
    max_response_bytes: PositiveInt = 32 * 2**20
    max_event_bytes: PositiveInt = 2**20
    breaker_failures: PositiveInt = 5
    breaker_rest_s: PositiveFloat = 10.0

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must be http:// or https:// and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "url must hold neither user, password, query nor fragment; the key has an option of its own"
            )
        if parts.scheme == "http" and not self.allow_http and not is_loopback(parts.hostname):
            raise ValueError("url is http:// on another machine; use https:// or allow it with upstream.allow_http")
        return self

    @property
    def endpoint(self) -> str:
        return self.url.rstrip("/") + "/chat/completions"


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this machine alone."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
