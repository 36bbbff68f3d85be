"""The one place of the device side that touches parts of Flower which are private by convention (flwr 1.41)."""

from flwr.supercore.task_identity import TaskIdentity


def adopt_identity(run_id: int = 1, node_id: int = 0, task_id: int = 1) -> None:
    """Tell Flower who this process is, so that a ``Message`` can be made outside Flower's own runtimes."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, node_id, task_id
