"""A comparison of modes whose answers are made up: figures round on purpose, no model asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upstreams import Upstream

from tacit_clients.gateway.settings import GatewaySettings
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.randomness import stream
from tacit_simulations.evaluation.modes import baselines, profiles
from tacit_simulations.evaluation.modes.asking import Outcome
from tacit_simulations.evaluation.modes.leaving import Crossing
from tacit_simulations.evaluation.modes.llm_server import Endpoint
from tacit_simulations.evaluation.modes.measures import Pool
from tacit_simulations.evaluation.modes.run import Measured, Plan, compared, drawn
from tacit_simulations.evaluation.modes.sweeps import Run
from tacit_simulations.evaluation.modes.tapping import Work
from tacit_simulations.evaluation.modes.tasks import Task
from tacit_simulations.fleet.network import MeanNetwork

BLANK = Outcome("a", "all", False, True, "", "local", None, 10.0, 1.0, Work(), Work(), Crossing(), 1)
FAMILIES = ("command", "lookup", "note", "errand")
# mode, knob, value, share of the hard questions that is asked, quality when asked, exposure of what is sent
RUNS: tuple[tuple[str, str, float | None, float, float, float], ...] = (
    *(("auto", "auto.threshold", t, t**2, 0.9, 0.7) for t in (0.2, 0.5, 0.8, 0.95)),
    *(("routing", "routing.rate", t, t, 0.95, 0.7) for t in (0.1, 0.3, 0.5, 0.7)),
    *(("fusion", "fusion.weight", t, 1.0, 0.9 + t / 20, 0.7) for t in (0.0, 1.0)),
    ("auxiliary", "", None, 1.0, 0.8, 0.05),
    ("pipeline", "", None, 1.0, 0.88, 0.6),
    ("distillation", "", None, 0.1, 0.85, 0.1),
)


def outcome(task: Task, right: bool, asked: bool, exposed: float, confidence: float | None = None) -> Outcome:
    """One answer. What asks the large model takes a quarter of a second, what does not a twentieth."""
    first = Work(local_in=20, local_out=1, local_ms=20.0)
    whole = Work(local_in=20, local_out=8, local_ms=50.0)
    if asked:
        more: dict[str, Any] = {
            "calls": 1,
            "llm_in": 30,
            "llm_out": 10,
            "llm_ms": 180.0,
            "bytes_up": 300,
            "bytes_down": 900,
        }
        first, whole = Work(20, 1, 20.0, **more, gate_ms=6.0), Work(20, 8, 50.0, **more, gate_ms=6.0)
    crossed = Crossing(2, int(exposed > 0.9) * 2, 10, round(10 * exposed), 50, round(50 * exposed))
    who = "llm" if asked else "local"
    late = 250.0 + len(task.prompt) if asked else 50.0 + len(task.prompt)
    return Outcome(task.id, task.family, right, True, "", who, confidence, late, late / 3, whole, first, crossed, 10**9)


def plan(tasks: Sequence[Task], local: Any, endpoint: Endpoint, **more: Any) -> Plan:
    """Settings that wait little, the default policy without the recogniser, three devices."""

    def change(changes: Any) -> GatewaySettings:
        base = {"upstream.url": endpoint.url, "upstream.model": endpoint.model, "upstream.backoff_s": 0.01}
        return GatewaySettings.read(None, base | dict(changes))

    policy = RedactionPolicy.model_validate({"detection": {"recogniser": "none"}})
    found: dict[str, Any] = {
        "policy": policy,
        "parameters": 10**6,
        "places": [profiles.place(name) for name in profiles.DEFAULTS],
    }
    return Plan("made-up", tasks, change({}), change, local=local, **(found | more))


def plan_of(end: Upstream, tasks: Sequence[Task], local: Any, **more: Any) -> Plan:
    """``plan`` against a test's own endpoint."""
    return plan(tasks, local, Endpoint(end.url, "up-1", "up-1"), **more)


def made_up(count: int = 200) -> dict[str, Any]:
    """A document of ``tacit bench modes --json``."""
    rng = stream(0, "made-up-modes")
    tasks = [Task(str(at), "x" * int(rng.integers(20, 90)), ("y",), ("u",), FAMILIES[at % 4]) for at in range(count)]
    easy = [bool(rng.random() < (0.9, 0.2, 0.6, 0.1)[at % 4]) for at in range(count)]
    known = [bool(rng.random() < 0.92) for _ in tasks]
    local = [outcome(task, right, False, 0.0) for task, right in zip(tasks, easy, strict=True)]
    llm = [outcome(task, right, True, 0.7) for task, right in zip(tasks, known, strict=True)]
    raw = [outcome(task, True, True, 1.0) for task in tasks]
    found = [
        Measured(Run("local"), baselines.ALWAYS_LOCAL, Pool.of(local), local[:8]),
        Measured(Run("llm"), baselines.ALWAYS_REDACTED, Pool.of(llm), local[:8]),
        Measured(Run("llm"), baselines.ALWAYS_RAW, Pool.of(raw), ()),
        *drawn(tasks, local, llm),
    ]
    for mode, knob, value, share, quality, exposed in RUNS:
        answers = []
        for task, right in zip(tasks, easy, strict=True):
            asked = bool(rng.random() < (share if not right else share / 3))
            is_right = bool(rng.random() < quality) if asked else right
            answers.append(outcome(task, is_right, asked, exposed if asked else 0.0, float(rng.random())))
        found.append(Measured(Run(mode, knob, value), None, Pool.of(answers), local[:8]))
    told = compared(plan(tasks, None, Endpoint("http://127.0.0.1:9/v1", "m", "m")), found, MeanNetwork())
    return {
        **told,
        "models": {"slm": "made-up-small", "adapter": None, "slm_parameters": 10**6, "llm": "made-up-large"},
        "settings": {"seed": 0, "price_in": 2.0, "price_out": 8.0, "changes": [], "max_tokens": 64},
        "machine": {"processor": "made-up", "cores": 2, "python": "3.11"},
    }


if __name__ == "__main__":  # to look at: python tests/support/made_up_modes.py FILE
    import sys

    from tacit_simulations.report.comparison import comparison_report

    Path(sys.argv[1]).write_text(comparison_report(made_up(int(sys.argv[2]) if len(sys.argv) > 2 else 200)))
