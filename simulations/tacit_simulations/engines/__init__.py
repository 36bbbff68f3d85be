"""Who runs the devices' code: inline, a process pool, or Ray. Speed may differ; a single byte of the result may not."""

from tacit_simulations.engines.base import Engine, Failed, Job
from tacit_simulations.engines.config import RuntimeConfig

__all__ = ["Engine", "Failed", "Job", "RuntimeConfig", "make_engine"]


def make_engine(config: RuntimeConfig) -> Engine:
    """The engine that ``config`` names, started. Close it, or use it as a context manager."""
    match config.engine:
        case "inline":
            from tacit_simulations.engines.inline import InlineEngine

            return InlineEngine(config)
        case "pool":
            from tacit_simulations.engines.pool import PoolEngine

            return PoolEngine(config)
        case "ray":
            from tacit_simulations.engines.ray_engine import RayEngine

            return RayEngine(config)
