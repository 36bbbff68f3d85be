"""The owner's page: what left this device, what did not, and the switches that decide it. ``router`` is all of it."""

from tacit_clients.gateway.page.render import refusal
from tacit_clients.gateway.page.routes import router

__all__ = ["refusal", "router"]
