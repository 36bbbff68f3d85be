"""``mode = "timing"``: rounds of a fleet without any model, from a scenario to its folder."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from tacit_privacy.errors import FleetExhausted
from tacit_server.config import bits_for
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.figures import fleet_facts
from tacit_simulations.fleet.population import Population
from tacit_simulations.fleet.roster import ranks_of
from tacit_simulations.outputs import OutputFolder, to_json, versions, write_whole
from tacit_simulations.progress import Watcher
from tacit_simulations.report import report
from tacit_simulations.scenario import Scenario
from tacit_simulations.timing import TimingPlan, TimingSimulation
from tacit_simulations.workload import examples_seen

_NANO_PARAMETERS, _FLOATS_PER_RANK = 1.1e6, 1024.0  # what a device would train where no model is loaded


def simulate_timing(scenario: Scenario, out: Path, resume: bool, watch: Watcher) -> dict[str, Any]:
    """Rounds in virtual time; time, energy, bytes and money only. Nothing is learnt and nothing is spent.

    It takes seconds and keeps nothing on the way: to resume is to do it again, in the folder of the same scenario. A
    fleet that runs out of devices ends the run early with what it has; raises FleetExhausted when that is nothing.
    """
    began = time.monotonic()
    examples = examples_seen(scenario.training, np.array([float(scenario.data.train_per_device)]))[0]
    population = Population.of(scenario.seed, scenario.fleet)
    bits = bits_for(scenario.federation, scenario.privacy)
    parameters = scenario.model.parameters or _NANO_PARAMETERS
    floats = _FLOATS_PER_RANK * ranks_of(population, scenario.adapter.rank, scenario.adapter.tiers)
    work = Work.of_model(parameters, floats, scenario.training.max_length, float(examples), scenario.fleet, bits)
    emulator = Emulator(population, scenario.fleet, work)
    with OutputFolder(out).claimed(scenario.digest, resume):
        watch.stage("Rounds", scenario.federation.rounds)
        plan = TimingPlan.of(scenario.federation, scenario.privacy)
        rounds: list[dict[str, Any]] = []
        stopped = ""
        try:
            for timing in TimingSimulation(emulator, plan, scenario.seed).rounds():
                rounds.append(timing.row())
                watch.step(f"{timing.completed} completed")
        except FleetExhausted as exhausted:
            if not rounds:
                raise
            stopped = str(exhausted)
    result: dict[str, Any] = {
        "scenario": scenario.name,
        "description": scenario.description,
        "seed": scenario.seed,
        "versions": versions(),
        "devices": emulator.devices,
        "fleet": fleet_facts(emulator.availability, scenario.fleet.start),
        "rounds": rounds,
        "config": scenario.model_dump(mode="json", exclude={"runtime"}),
        "config_digest": scenario.digest,
        "wall_seconds": round(time.monotonic() - began, 3),
    }
    if stopped:
        result["stopped"] = stopped
    write_whole(out / "report.html", report(result))
    write_whole(out / "result.json", to_json(result))
    return result
