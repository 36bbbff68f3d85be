"""The training work that every engine is timed on: LoRA steps on tacit-nano, written as plainly as torch allows.

Four SGD steps of 8 x 32 tokens, rank 8 on the query and value projections: what the bare loop and Flower's runtime run.
"""

import multiprocessing
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

STEPS, BATCH, LENGTH, RANK, RATE = 4, 8, 32, 8, 0.1
TARGETS = ("q_proj", "v_proj")


@cache
def resident() -> tuple[Any, list[Any]]:
    """The model with trainable B and frozen A, once a process, on one thread."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    import tacit_clients.slm

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = Path(tacit_clients.slm.__file__).parent / "nano"
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(TARGETS)))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_B" in name)
    return model, [parameter for parameter in model.parameters() if parameter.requires_grad]


def train(arrays: list[np.ndarray], client: int) -> list[np.ndarray]:
    """One client's round: load, four steps on its own tokens, read back."""
    import torch

    model, parameters = resident()
    generator = torch.Generator().manual_seed(client)
    vocabulary = model.config.vocab_size
    with torch.no_grad():
        for parameter, array in zip(parameters, arrays, strict=True):
            parameter.copy_(torch.from_numpy(array))
    for _ in range(STEPS):
        tokens = torch.randint(0, vocabulary, (BATCH, LENGTH), generator=generator)
        gradients = torch.autograd.grad(model(input_ids=tokens, labels=tokens).loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=RATE)
    return [parameter.detach().numpy().copy() for parameter in parameters]


def start() -> list[np.ndarray]:
    return [parameter.detach().numpy().copy() for parameter in resident()[1]]


def _worker(clients: int, rounds: int, barrier: Any, results: Any) -> None:
    arrays, spent = start(), []
    train(arrays, 0)
    barrier.wait()
    for number in range(rounds):
        begin = time.perf_counter()
        for client in range(clients):
            train(arrays, number * clients + client)
        spent.append(time.perf_counter() - begin)
    results.put(spent)


def bare_rate(processes: int, cohort: int, rounds: int) -> float:
    """Clients per second of a bare loop in ``processes`` processes, the median round of ``cohort`` clients in all."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    share = cohort // processes
    workers = [context.Process(target=_worker, args=(share, rounds, barrier, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    spent = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return float(processes * share / np.median(spent))


def flower_rate(population: int, cohort: int, rounds: int) -> float:
    """Clients per second of Flower's own simulation runtime on the same steps, the median round, start-up left out."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    client, server, marks = ClientApp(), ServerApp(), []

    @client.train()
    def fit(message: Message, context: Context) -> Message:
        import bare_steps

        arrays = [np.array(array) for array in message.content.array_records["arrays"].to_numpy_ndarrays()]
        trained = bare_steps.train(arrays, int(context.node_config["partition-id"]))
        content = RecordDict({"arrays": ArrayRecord(trained), "metrics": MetricRecord({"num-examples": 1})})
        return Message(content, reply_to=message)

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(
            fraction_train=cohort / population,
            fraction_evaluate=0.0,
            min_train_nodes=cohort,
            min_available_nodes=population,
        )
        strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(start()),
            num_rounds=rounds,
            evaluate_fn=lambda number, arrays: marks.append(time.perf_counter()),
        )

    backend: Any = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2}}
    run_simulation(server, client, num_supernodes=population, backend_config=backend)
    return cohort / float(np.median(np.diff(marks)[1:]))
