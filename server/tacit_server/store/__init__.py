"""What the server remembers: rounds, checkpoints, and the ledger's tables in the same database."""

from tacit_server.store.database import Checkpoint, Store

__all__ = ["Checkpoint", "Store"]
