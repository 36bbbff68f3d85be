"""Messages: 500 of 10,000 devices are sent a round, answer at once and are heard, here and in Flower's own runtime.

The devices do nothing but return what they were sent, so only the road of a message is timed: making it, handing it
over, calling the ClientApp, collecting the reply.
"""

import argparse
import os
import subprocess
import sys
import time
from typing import Any

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import numpy as np
from figures import Figure, save, verdict
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

POPULATION, ASKED, DIMENSION, ROUNDS, WANTED_S = 10_000, 500, 8_192, 3, 0.2
client = ClientApp()


@client.train()
def echo(message: Message, context: Context) -> Message:
    content = {"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)


def ours() -> dict[str, float]:
    """Median seconds to push the messages and until every reply is in, and how many come: some devices are lost."""
    from tacit_simulations.clock import VirtualClock
    from tacit_simulations.engines import RuntimeConfig, make_engine
    from tacit_simulations.fleet.config import FleetConfig
    from tacit_simulations.fleet.dispatch import Work
    from tacit_simulations.fleet.emulator import Emulator
    from tacit_simulations.grid import Answer, Call, FleetGrid

    def job(call: Call) -> Answer:
        context = Context(run_id=1, node_id=call.device + 1, node_config={}, state=call.state, run_config={})
        return Answer(client(call.message, context), context.state)

    config = FleetConfig(devices=POPULATION, crash_rate=0.0)
    clock, rng = VirtualClock(config.start), np.random.default_rng(1)
    emulator = Emulator.of(1, config, Work.of_model(1.5e6, DIMENSION, 32, 48, config))
    pushed: list[float] = []
    heard: list[float] = []
    answers: list[float] = []
    with make_engine(RuntimeConfig(engine="inline")) as engine:
        grid = FleetGrid(emulator, clock, engine, job)
        for number in range(4 * ROUNDS):
            begin = time.perf_counter()
            reachable = np.fromiter(grid.get_node_ids(), np.int64)
            asked = rng.choice(reachable, ASKED, replace=False).tolist()
            content = RecordDict({"arrays": ArrayRecord([np.zeros(DIMENSION, np.float32)])})
            batch = [Message(content, node, "train", ttl=3600.0, group_id=str(number)) for node in asked]
            names = list(grid.push_messages(batch))
            pushed.append(time.perf_counter() - begin)
            clock.advance_to(clock.now() + 3600.0)
            replies = list(grid.pull_messages(names))
            heard.append(time.perf_counter() - begin)
            answers.append(len(replies))
    medians = {"pushed": pushed[1:], "heard": heard[1:], "answers": answers[1:]}
    return {name: float(np.median(values)) for name, values in medians.items()}


def flower() -> float:
    """Median seconds of a round in Flower's simulation runtime, its start-up and first round left out."""
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    server, marks = ServerApp(), [0.0]

    def mark(number: int, arrays: ArrayRecord) -> None:
        marks.append(time.perf_counter())

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        FedAvg(
            fraction_train=ASKED / POPULATION,
            fraction_evaluate=0.0,
            min_train_nodes=ASKED,
            min_available_nodes=POPULATION,
        ).start(
            grid=grid,
            initial_arrays=ArrayRecord([np.zeros(DIMENSION, np.float32)]),
            num_rounds=ROUNDS,
            evaluate_fn=mark,
        )

    resources: dict[str, Any] = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2}}
    run_simulation(server, client, num_supernodes=POPULATION, backend_config=resources)
    return float(np.median(np.diff(marks)[2:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flower", action="store_true", help="time Flower's runtime alone and print its seconds")
    if parser.parse_args().flower:
        print("seconds", flower())
        return
    mine = ours()
    done = subprocess.run([sys.executable, __file__, "--flower"], check=True, capture_output=True, text=True)
    peer = next(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("seconds "))
    rows = [
        Figure(
            f"dispatch of 500 out of 10,000 devices with real messages, in one process; the ClientApp of the "
            f"{mine['answers']:.0f} that finish is called",
            f"{mine['pushed']:.3f} s",
            f"a round of Flower's simulation runtime: {peer:.1f} s",
            f"under {WANTED_S} s",
            mine["pushed"] < WANTED_S,
        ),
        Figure(
            "the same until every reply is in",
            f"{mine['heard']:.3f} s",
            f"{peer / mine['heard']:.0f} times less than Flower's",
        ),
    ]
    save("dispatch", rows, {"ours": mine, "flower_seconds_per_round": peer, "rounds": ROUNDS})
    sys.exit(verdict(rows))


if __name__ == "__main__":
    main()
