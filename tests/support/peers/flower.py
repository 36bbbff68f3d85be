"""Flower's own differential privacy: its strategy wrappers, its client-side mod, its accountant."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
)
from flwr.supercore.differential_privacy import add_gaussian_noise_inplace
from flwr.supercore.privacy_accounting import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    SamplingMethod,
)
from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant
from laws.subject import Floats, NotOffered, Question, Subject

from tacit_clients.flower_seam import adopt_identity

_SIZE = 1_000_000  # numbers that a standard deviation is measured over: within 0.2 % of the truth


class Flower(Subject):
    name = "Flower"

    def __init__(self) -> None:
        self.version = version("flwr")
        logging.getLogger("flwr").setLevel(logging.CRITICAL)
        adopt_identity()  # a message wants to know in which run it is made

    def mean(
        self, updates: Sequence[Floats | None], weights: Sequence[float], planned: int, clip: float, noise: float
    ) -> Floats | None:
        """`DifferentialPrivacyServerSideFixedClipping(FedAvg(), ...).aggregate_train`, without an accountant.

        Where answers are missing it logs that this "could impact the differential privacy guarantees". With an
        accountant it keeps the two laws on influence: it gives up such a round, and refuses unequal weights.
        """
        wrapper = DifferentialPrivacyServerSideFixedClipping(FedAvg(), noise, clip, planned)
        wrapper.current_arrays = _record(np.zeros(_length(updates)))
        arrays, _ = wrapper.aggregate_train(1, _replies(updates, weights))
        return None if arrays is None else np.asarray(arrays["w"].numpy(), dtype=np.float64)

    def adapted_clip(self, start: float, norm: float, devices: int, rounds: int) -> float:
        """`DifferentialPrivacyServerSideAdaptiveClipping(FedAvg(), ...).aggregate_train`, rate and quantile its own."""
        wrapper = DifferentialPrivacyServerSideAdaptiveClipping(FedAvg(), 0.0, devices, initial_clipping_norm=start)
        wrapper.current_arrays = _record(np.zeros(4))
        for number in range(1, rounds + 1):
            updates = [np.array([norm, 0.0, 0.0, 0.0]) for _ in range(devices)]
            wrapper.aggregate_train(number, _replies(updates, [1.0] * devices))
        return wrapper.clipping_norm

    def drawn_noise(self, size: int) -> tuple[Floats, float | None]:
        """`flwr.supercore.differential_privacy.add_gaussian_noise_inplace`, which every wrapper and mod calls: NumPy's
        global generator, in the type of the array. There is no other source to choose.
        """
        drawn = np.zeros(size)
        add_gaussian_noise_inplace([drawn], 1.0)
        return drawn, None

    def epsilon(self, question: Question) -> Mapping[str, float | Exception]:
        """`RdpAccountant.compose` and `get_epsilon`, the sampling method as asked: `no-amplification` and `poisson`
        with `add-or-remove-one`, `without-replacement` with `replace-one`. No other pair is taken. The strategy
        wrappers take `no-amplification` alone, for cohorts that `sample_nodes` draws with a fixed size: where the
        question is about a fixed cohort, that is what is shown.
        """
        if question.sampling == "none" and question.adjacency == "replace-one":
            raise NotOffered("refuses replace-one for plain releases")
        config = _config(question)
        accountant = RdpAccountant(config)
        event = GaussianPrivacyEvent(question.noise_multiplier, question.cohort, question.population)
        try:
            accountant.compose(event, question.rounds)
            return {"RDP": accountant.get_epsilon(question.delta)}
        except (ArithmeticError, RuntimeError, ValueError) as error:
            return {"RDP": error}

    def calibrated_noise(self, epsilon: float, delta: float) -> float:
        """`LocalDpMod(clipping_norm=1, sensitivity=1, ...)` around a client that changes one number by 1."""
        mod = LocalDpMod(clipping_norm=1.0, sensitivity=1.0, epsilon=epsilon, delta=delta)
        np.random.seed(1)  # the only source it has
        asked = Message(RecordDict({"arrays": _record(np.zeros(_SIZE))}), dst_node_id=1, message_type="train")

        def client(message: Message, context: Context) -> Message:
            changed = np.zeros(_SIZE)
            changed[0] = 1.0
            return Message(RecordDict({"arrays": _record(changed)}), reply_to=message)

        answer = mod(asked, Context(0, 1, {}, RecordDict(), {}), client)
        return float(np.std(answer.content.array_records["arrays"]["w"].numpy()[1:]))

    def compositions(self, count: int) -> Iterable[tuple[str, float, float]]:
        """`RdpAccountant.compose(event, count)` and as many calls, for the sampling methods that it has."""
        questions = (
            Question(4.0, count, 1e-6, "none"),
            Question(2.0, count, 1e-6, "poisson", 100, 1000),
            Question(2.0, count, 1e-6, "uniform", 100, 1000, "replace-one"),
        )
        for question in questions:
            once, single = RdpAccountant(_config(question)), RdpAccountant(_config(question))
            event = GaussianPrivacyEvent(question.noise_multiplier, question.cohort, question.population)
            once.compose(event, count)
            for _ in range(count):
                single.compose(event)
            yield f"Gaussian, {question.sampling}", once.get_epsilon(1e-6), single.get_epsilon(1e-6)

    def edited_state(self) -> tuple[float, float]:
        """`RdpAccountant.state_dict`, its count set to 1, `load_state_dict` into a new one."""
        accountant, event = _spender()
        accountant.compose(event, 50)
        state = accountant.state_dict()
        state["compositions"][0]["count"] = 1  # type: ignore[index]
        again, _ = _spender()
        again.load_state_dict(state)
        return accountant.get_epsilon(1e-6), again.get_epsilon(1e-6)

    def notices_rollback(self) -> bool:
        """`RdpAccountant.load_state_dict` of a state from before the newest 49 releases, then `would_exceed`."""
        accountant, event = _spender(limit=10.1)
        accountant.compose(event)
        saved = accountant.state_dict()
        accountant.compose(event, 49)
        if not accountant.would_exceed(event):
            raise NotOffered("the budget was not spent")
        accountant.load_state_dict(saved)
        return accountant.would_exceed(event)


def _config(question: Question) -> PrivacyConfig:
    method = {
        "none": SamplingMethod.NO_AMPLIFICATION,
        "fixed": SamplingMethod.NO_AMPLIFICATION,
        "poisson": SamplingMethod.POISSON,
        "uniform": SamplingMethod.WITHOUT_REPLACEMENT,
    }[question.sampling]
    replaces = question.adjacency == "replace-one" and question.sampling == "uniform"
    relation = NeighboringRelation.REPLACE_ONE if replaces else NeighboringRelation.ADD_OR_REMOVE_ONE
    return PrivacyConfig(question.delta, question.population, relation, method)


def _spender(limit: float | None = None) -> tuple[RdpAccountant, GaussianPrivacyEvent]:
    config = PrivacyConfig(
        1e-6, 1000, NeighboringRelation.ADD_OR_REMOVE_ONE, SamplingMethod.NO_AMPLIFICATION, max_epsilon=limit
    )
    return RdpAccountant(config), GaussianPrivacyEvent(4.0, 100, 1000)


def _length(updates: Sequence[Floats | None]) -> int:
    return len(next(update for update in updates if update is not None))


def _record(values: Floats) -> ArrayRecord:
    return ArrayRecord({"w": Array(np.array(values))})


def _replies(updates: Sequence[Floats | None], weights: Sequence[float]) -> list[Message]:
    replies = []
    for node, (update, weight) in enumerate(zip(updates, weights, strict=True), 1):
        asked = Message(RecordDict({"config": ConfigRecord()}), dst_node_id=node, message_type="train")
        if update is None:
            replies.append(Message(Error(code=0, reason="battery"), reply_to=asked))
        else:
            content = RecordDict({"arrays": _record(update), "metrics": MetricRecord({"num-examples": weight})})
            replies.append(Message(content, reply_to=asked))
    return replies
