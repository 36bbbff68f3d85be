"""The one door to the outside: what goes to a large model goes through here, redacted and looked at, or not at all."""

from tacit_clients.egress.door import Draft, Egress, Gate
from tacit_clients.egress.records import Book, Ending, Entry
from tacit_clients.egress.settings import UpstreamSettings

__all__ = ["Book", "Draft", "Egress", "Ending", "Entry", "Gate", "UpstreamSettings"]
