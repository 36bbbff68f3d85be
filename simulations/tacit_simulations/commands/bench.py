"""Measure how fast this machine is at what Tacit does, and how well redaction works."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_simulations.commands._options import finite

if TYPE_CHECKING:
    from tacit_simulations.evaluation.speed import FleetSpeed, TrainingSpeed

app = typer.Typer(
    help="Measure how fast this machine is at what Tacit does, and how well redaction works.", no_args_is_help=True
)


@app.callback()
def bench() -> None:
    """Measure how fast this machine is at what Tacit does, and how well redaction works."""


@app.command()
def simulation(
    devices: Annotated[int, typer.Option(min=1, help="population of the fleet without a model")] = 100_000,
    cohort: Annotated[int, typer.Option(min=1, help="replies that each of its rounds waits for")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, help="its rounds that are timed")] = 30,
    training: Annotated[
        bool, typer.Option("--training", help="also train real adapters, a fixed small job; about half a minute")
    ] = False,
    engine: Annotated[str, typer.Option(help="with --training: inline, pool or ray")] = "pool",
    workers: Annotated[int, typer.Option(min=0, help="with --training: worker processes; 0: one a core")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Time emulated rounds: without a model, and with --training on one of the engines.

    The fleet without a model runs on one core in this process. Nothing that other work on the machine takes away is
    corrected for: measure on an idle one, and twice.
    """
    with json_on_stdout(as_json) as write:
        from dataclasses import asdict

        from tacit_simulations.evaluation import speed

        fleet = speed.measure_fleet(devices, cohort, rounds)
        trained = speed.measure_training(engine, workers) if training else None
        machine = speed.machine()
        write({"machine": machine, "fleet": asdict(fleet), "training": asdict(trained) if trained else None})
    if not as_json:
        _show(machine, fleet, trained)


@app.command()
def pii(
    file: Annotated[
        Path | None,
        typer.Argument(help='JSON lines {"id", "text"} with "spans" or "units"; - is stdin; without: the public sets'),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="TACIT_DATA", help="without FILE: folder above the public sets")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="redaction policy, TOML; without: the default one")] = None,
    recogniser: Annotated[
        Path | None,
        typer.Option(help="folder of a recogniser in place of the one that ships: model.onnx, tokenizer.json"),
    ] = None,
    curve: Annotated[bool, typer.Option("--curve", help="also every figure over ten thresholds of detection")] = False,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="also Presidio on the same texts, and for units the crudest rule and the ideal"),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first texts of each set, so many")] = None,
    as_json: JsonOption = False,
) -> None:
    """Score redaction: spans found, units that leak, characters masked, the way back.

    A row of FILE is {"id", "text"} with "spans", [{"start", "end", "type"}] in code points, or "units", strings that
    must not leave, or both. Exit code 1 where a redacted text does not come back as it was.
    """
    with json_on_stdout(as_json) as write:
        from tacit_simulations.commands import _bench_pii

        found = _bench_pii.measure(file, data, policy, recogniser, curve, peers, limit)
        write(found)
    if not as_json:
        _bench_pii.show(found)
    if not _bench_pii.all_came_back(found):
        raise typer.Exit(1)


@app.command()
def modes(
    data: Annotated[
        Path, typer.Option(help='JSON lines {"id", "prompt", "answer"}, optional "answers", "units", "family"')
    ],
    upstream: Annotated[str | None, typer.Option(help="base URL of the large model", metavar="URL")] = None,
    model: Annotated[str | None, typer.Option(help="with --upstream: its name there", metavar="ID")] = None,
    llm: Annotated[
        str | None,
        typer.Option(help="in place of --upstream: a causal model, served on loopback by a process", metavar="MODEL"),
    ] = None,
    slm: Annotated[
        str | None, typer.Option(help="local model: tacit-nano, a folder or a Hugging Face id", metavar="MODEL")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="its adapter, a folder in peft's format", metavar="DIR")] = None,
    modes: Annotated[
        str | None, typer.Option(help="which modes, with commas; without: all of the gateway", metavar="NAMES")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep/--no-sweep", help="try several values of each mode's knob, or its setting alone")
    ] = True,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="a setting of the gateway, like auto.probe_tokens=8; repeat it", metavar="KEY=VALUE"
        ),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="redaction policy, TOML; without: the default one")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first questions, so many")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="most tokens of an answer, of either model")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="of every request, of placeholders and of intervals")] = 0,
    price_in: Annotated[
        float, typer.Option(min=0, callback=finite, help="of a million tokens that the large model reads")
    ] = 0.0,
    price_out: Annotated[float, typer.Option(min=0, callback=finite, help="of a million tokens that it writes")] = 0.0,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="emulate also on DEVICE or DEVICE@LINK of the fleet's catalogue; repeat it", metavar="NAME"),
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(help="folder of throughput traces that mobile links replay", metavar="DIR")
    ] = None,
    llm_rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            callback=finite,
            help="emulation: tokens a second of the large model; without: as long as it took here",
        ),
    ] = None,
    outage: Annotated[int, typer.Option(min=0, help="questions asked again while the large model is gone")] = 8,
    out: Annotated[
        Path | None, typer.Option(help="empty folder for rows.jsonl, result.json and report.html", metavar="DIR")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the modes of collaboration: quality, cost, latency, energy and what leaves, on the same questions.

    Every mode runs through the parts of a real gateway, beside five baselines: a coin, the prompt's length, the small
    model alone, the large one always, redacted and raw. TACIT_UPSTREAM_KEY: the upstream's key. Exit code 1 where the
    large model, always asked, answered nothing.
    """
    with json_on_stdout(as_json) as write:
        from tacit_simulations.commands import _bench_modes
        from tacit_simulations.evaluation.modes.asking import Asking
        from tacit_simulations.evaluation.modes.profiles import Remote
        from tacit_simulations.evaluation.modes.rows import Prices

        choices = _bench_modes.Choices(
            data=data,
            modes=modes,
            sweep=sweep,
            changes=change or (),
            policy=policy,
            limit=limit,
            asking=Asking(max_tokens, seed=seed),
            prices=Prices(price_in, price_out),
            remote=Remote(llm_rate),
            places=profile or (),
            traces=traces,
            outage_questions=outage,
            out=out,
        )
        found = _bench_modes.compare(_bench_modes.Models(upstream, model, llm, slm, adapter), choices)
        write(found)
    if not as_json:
        _bench_modes.show(found, out)
    _bench_modes.check_measured(found["rows"])


@app.command()
def routing(
    train: Annotated[Path, typer.Option(help='JSON lines {"id", "prompt", "slm", "llm"}: 0 or 1, right or wrong')],
    test: Annotated[Path, typer.Option(help="rows of the same kind, which nothing is learned from")],
    target_rate: Annotated[
        float, typer.Option(min=0, max=1, callback=finite, help="share of prompts to escalate")
    ] = 0.5,
    risk: Annotated[
        float | None,
        typer.Option(
            callback=finite, help="also a threshold that keeps P(answered locally, small wrong, large right) below this"
        ),
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="of the test rows, for intervals")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="of folds, resamples and ties")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train a router on recorded answers and measure it on others, beside chance, length and TF-IDF.

    A row may have "group", its subject or user: training then looks for what holds across groups. It may have
    "confidence", the local model's own, from 0 to 1.
    """
    with json_on_stdout(as_json) as write:
        from tacit_simulations.commands import _bench_routing

        found = _bench_routing.measure(train, test, target_rate, risk, resamples, seed)
        write(found)
    if not as_json:
        _bench_routing.show(found)


@app.command()
def latency(
    slm: Annotated[
        str | None, typer.Option(help="local model: tacit-nano, a folder or a Hugging Face id", metavar="MODEL")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="its adapter, a folder in peft's format", metavar="DIR")] = None,
    prompt_tokens: Annotated[int, typer.Option(min=2, help="about so many in each prompt, of common words")] = 64,
    answer_tokens: Annotated[int, typer.Option(min=1, help="most tokens of an answer")] = 16,
    requests: Annotated[int, typer.Option(min=1, help="that are timed, one at a time")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="of the prompts")] = 0,
    predictor: Annotated[
        Path | None, typer.Option(help="also time the decisions of a trained router", metavar="FILE")
    ] = None,
    upstream: Annotated[
        str | None, typer.Option(help="also time every mode: base URL of a large model", metavar="URL")
    ] = None,
    model: Annotated[str | None, typer.Option(help="with --upstream: its name there", metavar="ID")] = None,
    llm: Annotated[
        str | None,
        typer.Option(help="in place of --upstream: a causal model, served on loopback by a process", metavar="MODEL"),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="emulate the modes also on DEVICE or DEVICE@LINK; repeat it", metavar="NAME"),
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(help="folder of throughput traces that mobile links replay", metavar="DIR")
    ] = None,
    llm_rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            callback=finite,
            help="emulation: tokens a second of the large model; without: as long as it took here",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time the device's own answers, by the model itself and through the gateway, and what checking them adds.

    With a large model also every mode end to end, here and on emulated devices; exit code 1 where it answered nothing.
    Other work on the machine is not corrected for: measure on an idle one.
    """
    with json_on_stdout(as_json) as write:
        from tacit_simulations.commands import _bench_latency
        from tacit_simulations.commands._bench_modes import Models, check_measured

        choices = _bench_latency.Choices(
            prompt_tokens, answer_tokens, requests, seed, predictor, profile or (), llm_rate, traces
        )
        found = _bench_latency.measure(Models(upstream, model, llm, slm, adapter), choices)
        write(found)
    if not as_json:
        _bench_latency.show(found)
    check_measured(found["modes"] or ())


@app.command()
def deployment(
    devices: Annotated[int, typer.Option(min=1, help="device processes, all in every round")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="rounds to hold")] = 3,
    stock: Annotated[int, typer.Option(min=0, help="how many of the devices are Flower's own SuperNode")] = 0,
    light: Annotated[
        bool, typer.Option("--light", help="devices without a model, a hundred to a process: hundreds fit a machine")
    ] = False,
    dimension: Annotated[
        int, typer.Option(min=0, help="parameters of the adapter, to the nearest rank; 0: as a new server has it")
    ] = 0,
    examples: Annotated[
        int, typer.Option(min=0, help="short examples of a device, for one step; 0: only messages travel")
    ] = 9,
    as_json: JsonOption = False,
) -> None:
    """Put a throw-away server and devices up on loopback, hold rounds, take everything down.

    Real processes, TLS, enrolment, signed terms and receipts, noise and ledger. Exit code 1 where the ledger does not
    verify. Other work on the machine is not corrected for.
    """
    with json_on_stdout(as_json) as write:
        from tacit_simulations.commands import _bench_deployment

        found = _bench_deployment.measure(devices, stock, light, rounds, dimension, examples)
        write(found)
    if not as_json:
        _bench_deployment.show(found)
    if not found["ledger_ok"]:
        raise typer.Exit(1)


def _show(machine: dict[str, Any], fleet: "FleetSpeed", trained: "TrainingSpeed | None") -> None:
    from rich.console import Console
    from rich.table import Table

    where = f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, NumPy {machine['numpy']}"
    table = Table(title="Simulation speed", caption=where, show_header=False, min_width=60)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("fleet without a model", f"{fleet.devices:,} devices, {fleet.rounds} rounds of {fleet.cohort:,}")
    table.add_row("device completions", f"{fleet.completions_per_second:,.0f} /s")
    table.add_row("devices asked", f"{fleet.tasks_per_second:,.0f} /s")
    table.add_row("a round", f"{1e3 * fleet.seconds_per_round:,.2f} ms")
    table.add_row(f"a dispatch to {fleet.cohort:,}", f"{1e3 * fleet.dispatch_seconds:,.2f} ms")
    table.add_row("to draw the population", f"{1e3 * fleet.seconds_to_draw_population:,.0f} ms")
    table.add_row("lost devices", f"{100 * fleet.lost_share:.1f}%")
    table.add_row("virtual time of a round", f"{fleet.virtual_seconds_per_round:,.0f} s")
    table.add_row("peak memory", f"{fleet.peak_rss_bytes / 1e6:,.0f} MB", end_section=True)
    if trained is not None:
        processes = f"{trained.engine}, {trained.workers} worker{'s' if trained.workers != 1 else ''}"
        table.add_row("training", processes)
        table.add_row("client trainings", f"{trained.trainings_per_second:,.1f} /s")
    console = Console()
    console.print(table)
    if trained is not None:
        console.print(f"A training: {trained.work}. Rounds of {trained.cohort}.", highlight=False)
