"""From what a run left in its journals to ``result.json``."""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tacit_clients.slm.adapters import initial_vector
from tacit_clients.training.examples import Task
from tacit_clients.training.local import Score
from tacit_simulations.canaries import Canaries, empirical
from tacit_simulations.evaluation.study import Study, Vector, add
from tacit_simulations.fleet.figures import fleet_facts
from tacit_simulations.fleet.population import Population
from tacit_simulations.outputs import Journal, OutputFolder, finite, versions
from tacit_simulations.progress import Watcher
from tacit_simulations.scenario import Scenario

if TYPE_CHECKING:
    from tacit_simulations.run import Prepared, Trained

METRICS = {Task.INSTRUCT: "exact-match accuracy", Task.CLASSIFY: "accuracy", Task.LANGUAGE: "next-token accuracy"}
WALL = ("wall_seconds", "client_trainings_per_second")  # all that may differ between two runs of one scenario


def compare(
    study: Study,
    scenario: Scenario,
    arm: "Trained",
    plain: "Trained | None",
    population: Population,
    watch: Watcher,
) -> dict[str, Any] | None:
    """Everything that is set beside the run, scored on the panel. None where no panel is wanted."""
    wanted = scenario.evaluation.compare
    if not scenario.evaluation.devices:
        return None
    watch.stage("Evaluation", 4 + 2 * scenario.privacy.enabled)
    name = "federated_private" if scenario.privacy.enabled else "federated"
    shared = {name: arm.vector} | ({"federated": plain.vector} if plain else {})
    if "untrained" in wanted:
        shared["untrained"] = initial_vector(study.setup.spec)
    if "centralised" in wanted and (devices := _took_part(arm, study.canaries)):
        shared["centralised"] = study.centralised(devices)
        watch.step("centralised")
    scores = _scores(study, wanted, shared, arm.vector, watch)
    found: dict[str, Any] = {"metric_name": METRICS[study.setup.source().task], "simulator_only": True}
    found["panel"] = {
        "devices": len(study.panel),
        "scored": len(scores[name]),
        "left_out": sorted(set(study.panel) - set(scores[name])),
    }
    for key, by_device in scores.items():
        found[key] = _figures(add(list(by_device.values())))
    if scenario.evaluation.held_out:
        found["held_out"] = {key: _figures(study.held_out(vector)) for key, vector in shared.items()}
    found[name]["curve"] = _curve(arm.journal)
    if plain:
        found["federated"]["curve"] = _curve(plain.journal)
    found["per_tier"] = _per_tier(population, scores, (name, "personalised"))
    return found


def _scores(
    study: Study, wanted: Sequence[str], shared: dict[str, Vector], private: Vector, watch: Watcher
) -> dict[str, dict[int, Score]]:
    """Scores by arm and panel device: the same devices in every arm, those that could be scored in all of them."""
    scores = {}
    for key, vector in shared.items():
        scores[key] = study.shared(vector)
        watch.step(key)
    if "local_only" in wanted:
        scores["local_only"] = study.local_only()
        watch.step("local only")
    if "personalised" in wanted:
        scores["personalised"] = study.personalised(private)
        watch.step("personalised")
    panel = sorted(set.intersection(*(set(by_device) for by_device in scores.values())))
    return {key: {device: by_device[device] for device in panel} for key, by_device in scores.items()}


def _took_part(arm: "Trained", canaries: Canaries) -> list[int]:
    """Devices whose data the federation learnt from: the centralised model learns from the same."""
    found = {device for row in arm.rounds if row["released"] for device in row["accepted"]}
    return sorted(found - set(canaries.members))


def _figures(score: Score) -> dict[str, Any]:
    return {"loss": finite(score.loss), "metric": finite(score.metric), "examples": score.count}


def _curve(journal: Journal) -> list[dict[str, Any]]:
    rows = [row for key, row in journal.items() if key.startswith("score/")]
    return sorted(rows, key=lambda row: int(row["round"]))


def _per_tier(
    population: Population, scores: dict[str, dict[int, Score]], keys: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    tiers: dict[str, dict[str, Any]] = {}
    for key in keys:
        grouped: dict[str, list[Score]] = {}
        for device, score in scores.get(key, {}).items():
            grouped.setdefault(population.tier(device), []).append(score)
        for tier, found in grouped.items():
            tiers.setdefault(tier, {"devices": len(found)})[key] = finite(add(found).metric)
    return dict(sorted(tiers.items()))


def assemble(
    scenario: Scenario, prepared: "Prepared", arm: "Trained", evaluation: dict[str, Any] | None, folder: OutputFolder
) -> dict[str, Any]:
    """The document that DESIGN's contract describes, without wall times."""
    result: dict[str, Any] = {
        "scenario": scenario.name,
        "description": scenario.description,
        "seed": scenario.seed,
        "versions": versions(),
        "devices": prepared.devices,
        "model": {"name": prepared.model.name, "parameters": prepared.model.parameters},
        "adapter": {"dimension": prepared.spec.dimension, "method": prepared.spec.method, "rank": prepared.spec.rank},
        "fleet": fleet_facts(prepared.emulator().availability, scenario.fleet.start),
        "rounds": _rounds(arm, overlapping=scenario.federation.policy == "buffered"),
        "privacy": _privacy(scenario, prepared, arm),
        "config": scenario.model_dump(mode="json", exclude={"runtime"}),
        "config_digest": prepared.config_digest,
    }
    if arm.stopped:
        result["stopped"] = arm.stopped
    if evaluation is not None:
        result["evaluation"] = evaluation
    return result


def _privacy(scenario: Scenario, prepared: "Prepared", arm: "Trained") -> dict[str, Any]:
    privacy = scenario.privacy
    found: dict[str, Any] = {
        "enabled": privacy.enabled,
        "unit": "device",
        "adjacency": str(privacy.adjacency),
        "delta": prepared.delta,
        "epsilon": None,
        "bounds": [],
        "empirical_lower_bound": None,
    }
    if scenario.training.example_dp is not None:
        found["example_level"] = arm.journal.get("example_level")
    if not privacy.enabled:
        return found
    spent = arm.journal.get("privacy")
    if privacy.canaries:
        found["empirical"] = empirical(arm.journal.get("canaries"), privacy, prepared.delta)
        found["empirical_lower_bound"] = found["empirical"]["lower_bound"]
    return found | {
        "epsilon": spent["epsilon"],
        "assumption": spent["assumption"],
        "bounds": spent["bounds"],
        "epsilon_cap": privacy.epsilon,
        "noise_multiplier": prepared.noise_multiplier,
        "clip_norm": privacy.clip_norm,
        "participations": privacy.participations,
        "separation": privacy.separation,
        "noise": privacy.noise,
        "parts": {slot.statistic.name: slot.noise_multiplier for slot in prepared.private.slots},
        "sampling": privacy.sampling,
        "noise_source": "seeded",
        "ledger_head": arm.journal.get("ledger_head"),
    }


def _rounds(arm: "Trained", overlapping: bool) -> list[dict[str, Any]]:
    seen = [_seen(arm.journal, row["round"]) for row in arm.rounds]
    if overlapping:
        seen = _settled(arm.rounds, seen)
    return [_round(row, arm.journal, noted) for row, noted in zip(arm.rounds, seen, strict=True)]


def _settled(rounds: Sequence[dict[str, Any]], seen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Devices by the buffered round in which they settled, not the one they were asked in; costs stay where they were.

    Messages live equally long, so silent devices run out of time in the order in which they were asked.
    """
    waiting: deque[tuple[str, str]] = deque()
    tiers: dict[str, str] = {}
    found = []
    for row, noted in zip(rounds, seen, strict=True):
        tiers |= noted.get("asked", {})
        waiting.extend(noted.get("lost", {}).items())
        lost = dict(waiting.popleft() for _ in range(min(row["dropped"].get("missing", 0), len(waiting))))
        settled = [*map(str, row["accepted"]), *lost]
        found.append(noted | {"lost": lost, "asked": {device: tiers[device] for device in settled if device in tiers}})
    return found


def _round(row: dict[str, Any], journal: Journal, seen: dict[str, Any]) -> dict[str, Any]:
    """The server's record, with what only the emulator knows: why devices were lost, and what they spent."""
    score = journal.get(f"score/{row['round']}") or {}
    dropped = dict(row["dropped"])
    lost = seen.get("lost", {})
    if lost:
        for reason in ("missing", "displaced"):  # to the server, a lost device only stays silent
            dropped = _explain(dropped, reason, list(lost.values()))
            lost = {} if reason == "missing" and "missing" in row["dropped"] else lost
    return {
        "round": row["round"],
        "sampled": row["sampled"],
        "completed": row["completed"],
        "released": row["released"],
        "dropped": dropped,
        "virtual_start": row["started"],
        "virtual_seconds": row["finished"] - row["started"],
        "loss": score.get("loss"),
        "metric": score.get("metric"),
        "epsilon": row["epsilon"],
        "bytes_up": seen.get("bytes_up", row["bytes_up"]),
        "bytes_down": seen.get("bytes_down", row["bytes_down"]),
        "energy_j": seen.get("energy_j"),
        "money": seen.get("money"),
        "noise_to_clip": row["noise_to_clip"],
        "clip_norm": row["clip_norm"],
        # noised and paid for, unlike loss and metric above, which the simulator alone can see
        "within_clip": row["within_clip"],
        "released_loss": row["released_loss"],
        "released_metric": row["released_metric"],
        "staleness": row.get("staleness"),
        "staleness_max": row.get("staleness_max"),
        "tiers": _tiers(row, seen),
    }


def _seen(journal: Journal, number: int) -> dict[str, Any]:
    """What the emulator noted of a round's dispatches: one, or in buffered rounds several, ``round.wave``."""
    rows = [row for key, row in journal.items() if key == f"dispatch/{number}" or key.startswith(f"dispatch/{number}.")]
    merged: dict[str, Any] = {"lost": {}, "asked": {}} if rows else {}
    for row in rows:
        for key in ("bytes_up", "bytes_down", "energy_j", "money"):
            merged[key] = merged.get(key, 0.0) + row[key]
        merged["lost"] |= row["lost"]
        merged["asked"] |= row["asked"]
    return merged


def _explain(dropped: dict[str, int], silent: str, words: list[str]) -> dict[str, int]:
    if silent not in dropped or len(words) > dropped[silent]:
        return dropped
    explained = {reason: count for reason, count in dropped.items() if reason != silent}
    if dropped[silent] > len(words):
        explained[silent] = dropped[silent] - len(words)
    for word in words:
        explained[word] = explained.get(word, 0) + 1
    return explained


def _tiers(row: dict[str, Any], seen: dict[str, Any]) -> dict[str, Any]:
    """Who was asked, who contributed, who was lost and why, by tier."""
    accepted, lost = {str(device) for device in row["accepted"]}, seen.get("lost", {})
    found: dict[str, dict[str, Any]] = {}
    for device, tier in seen.get("asked", {}).items():
        cell = found.setdefault(tier, {"sampled": 0, "completed": 0, "dropped": {}})
        cell["sampled"] += 1
        if device in accepted:
            cell["completed"] += 1
        else:
            reason = lost.get(device, "not_used")
            cell["dropped"][reason] = cell["dropped"].get(reason, 0) + 1
    return dict(sorted(found.items()))
