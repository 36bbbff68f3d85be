"""The first screen: one sentence in plain language, the figures it rests on, and what must not be missed."""

from tacit_simulations.report.document import Note, Tile
from tacit_simulations.report.figures import (
    amount,
    count,
    duration,
    energy,
    percent,
    plural,
    size,
    trimmed,
    worded,
)
from tacit_simulations.report.reading import Run
from tacit_simulations.report.reasons import reason_name
from tacit_simulations.report.sections.budget import seeded_mark, upwards
from tacit_simulations.report.sections.cost import currency_of, summed
from tacit_simulations.report.sections.learning import gap_closed, metric_format, metric_of
from tacit_simulations.report.sections.turnout import asked, total

SEEDED = Note(
    "Seeded noise protects nobody.",
    "The noise of this run was drawn from a seed, so that the run can be repeated. Whoever knows the seed can take the "
    "noise away again. Epsilon here says what the same schedule would promise with noise from the operating system, as "
    "a deployment draws it; it promises nothing about this run.",
    alarm=True,
)

OVERLAP = Note(
    "Rounds overlap.",
    "The server was buffered: it stepped whenever enough updates were in and kept other devices at work meanwhile. A "
    "round counts the devices that answered or ran out of time in it, whenever they were asked; those still at work at "
    "the end are not counted, but what they spent is part of the cost.",
    alarm=False,
)


def headline(run: Run) -> str:
    """One sentence: who, how long, how well, at what price."""
    who = "An emulated fleet" if run.devices is None else f"{plural(run.devices, 'emulated device')}"
    if not run.rounds:
        return f"{who}: no round was run."
    rounds = plural(len(run.rounds), "round")
    reached, before = metric_of(run, "federated_private"), metric_of(run, "untrained")
    private = reached is not None
    if reached is None:
        reached = metric_of(run, "federated")
    if reached is None or run.evaluation is None:
        return _timing_headline(run, who, rounds)
    show, metric = metric_format(run.evaluation), worded(run.evaluation.metric_name)
    moved = f"reached {show(reached)}"
    if before is not None:
        verb = "rose" if reached > before else "fell"
        moved = f"{verb} from {show(before)} to {show(reached)}" if reached != before else f"stayed at {show(reached)}"
    return f"{who} learned together for {rounds}: {metric} {moved}, {_price(run, private)}."


def _price(run: Run, private: bool) -> str:
    privacy = run.privacy
    if not private or privacy is None or not privacy.guaranteed:
        return "without a promise of privacy"
    cap = "" if privacy.epsilon_cap is None else f" of {trimmed(privacy.epsilon_cap)}"
    spent = f"\N{GREEK SMALL LETTER EPSILON} {upwards(privacy.epsilon)}{cap} of the privacy budget"
    return f"for {spent}{seeded_mark(privacy)}"


def _timing_headline(run: Run, who: str, rounds: str) -> str:
    whole = total(r.turnout for r in run.rounds)
    share = percent(whole.completed / whole.sampled) if whole.sampled else "none"
    took = elapsed(run)
    within = f" within {duration(took)} of virtual time" if took is not None else ""
    return f"{who} went through {rounds}{within}; {share} of the {asked(run).devices} finished."


def elapsed(run: Run) -> float | None:
    """Virtual seconds from the start of the first to the end of the last round."""
    placed = [r for r in run.rounds if r.virtual_start is not None and r.virtual_seconds is not None]
    if placed:
        ends = [(r.virtual_start or 0.0) + (r.virtual_seconds or 0.0) for r in placed]
        return max(ends) - min(r.virtual_start or 0.0 for r in placed)
    return summed(run.rounds, lambda r: r.virtual_seconds)


def standfirst(run: Run) -> str:
    """The second sentence or two: what privacy cost, what personalising gained, who was lost."""
    said = []
    closed = gap_closed(run)
    if closed is not None:
        said.append(f"That is {percent(closed)} of the way to what the same fleet learns without noise.")
    own, shared = metric_of(run, "personalised"), metric_of(run, "federated_private")
    if run.evaluation is not None and own is not None and shared is not None:
        show = metric_format(run.evaluation)
        verb = "leaves it at" if show(own) == show(shared) else "brings it to"
        said.append(f"A personal adapter on each device {verb} {show(own)}.")
    whole = total(r.turnout for r in run.rounds)
    if whole.sampled and whole.dropped:
        reason, lost = reason_name(next(iter(whole.dropped))), percent(whole.lost / whole.sampled)
        said.append(f"{lost} of the {asked(run).devices} came to nothing, most often: {reason}.")
    return " ".join(said)


def notes(run: Run) -> list[Note]:
    """Red ones first: seeded noise, then no guarantee at all; then why the run ended early."""
    found = []
    if run.privacy is not None and run.privacy.noise_source == "seeded" and run.privacy.guaranteed:
        found.append(SEEDED)
    if run.privacy is not None and not run.privacy.guaranteed:
        found.append(
            Note(
                "No guarantee.",
                "This run gives no bound on epsilon: nothing limits what its model reveals.",
                True,
            )
        )
    if run.buffered and run.rounds:
        found.append(OVERLAP)
    if run.stopped:
        found.append(Note("The run ended early.", run.stopped, False))
    return found


def tiles(run: Run) -> list[Tile]:
    """Up to eight headline figures; those that the run does not state are left out."""
    found = [*_model_tiles(run), *_fleet_tiles(run), *_cost_tiles(run)]
    return found


def _model_tiles(run: Run) -> list[Tile]:
    found = []
    if run.privacy is not None and run.privacy.guaranteed:
        cap, spent = run.privacy.epsilon_cap, run.privacy.epsilon or 0.0
        delta = "" if run.privacy.delta is None else f"\N{GREEK SMALL LETTER DELTA} = {trimmed(run.privacy.delta, 3)}"
        mark = seeded_mark(run.privacy).strip(" ()")
        detail = ", ".join(part for part in (f"cap {trimmed(cap)}" if cap else "", delta, mark) if part)
        share = min(1.0, spent / cap) if cap else None
        found.append(Tile("\N{GREEK SMALL LETTER EPSILON} spent", upwards(spent), detail, share))
    key = "federated_private" if metric_of(run, "federated_private") is not None else "federated"
    reached = metric_of(run, key)
    if run.evaluation is not None and reached is not None:
        show, before = metric_format(run.evaluation), metric_of(run, "untrained")
        detail = "" if before is None else f"{show(before)} untrained"
        found.append(Tile(worded(run.evaluation.metric_name), show(reached), detail))
    return found


def _fleet_tiles(run: Run) -> list[Tile]:
    whole = total(r.turnout for r in run.rounds)
    found = []
    if whole.sampled:
        share = whole.completed / whole.sampled
        found.append(
            Tile(
                "devices finished",
                percent(share),
                f"{count(whole.completed)} of {count(whole.sampled)} {asked(run).word}",
                share,
            )
        )
    took = elapsed(run)
    if took is not None:
        detail = "" if run.wall_seconds is None else f"emulated in {duration(run.wall_seconds)}"
        found.append(Tile("virtual time", duration(took), detail))
    return found


def _cost_tiles(run: Run) -> list[Tile]:
    found = []
    done = sum(r.turnout.completed for r in run.rounds)
    joules = summed(run.rounds, lambda r: r.energy_j)
    if joules is not None:
        found.append(Tile("energy", energy(joules), f"{energy(joules / done)} an update" if done else ""))
    down, up = summed(run.rounds, lambda r: r.bytes_down), summed(run.rounds, lambda r: r.bytes_up)
    if down is not None or up is not None:
        found.append(Tile("traffic", size((down or 0.0) + (up or 0.0)), f"{size(up)} of it up"))
    spent = summed(run.rounds, lambda r: r.money)
    if spent is not None:
        currency = currency_of(run)
        each = f"{amount(spent / done, currency)} an update" if done else ""
        found.append(Tile("money", amount(spent, currency), each if spent else "no connection had a price"))
    return found
