"""The Flower ClientApp: a thin shell that turns messages into calls of pure functions and results into messages."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from tacit_clients import guard
from tacit_clients.answering import asked_terms, description, refusal, sent_adapter, signed_update
from tacit_clients.slm.adapters import AdaptedModel
from tacit_clients.statistics import asks_for_scores, slots
from tacit_clients.training.example_dp import ExampleSpent
from tacit_clients.training.examples import DeviceData, Task
from tacit_clients.training.local import LocalResult, Vector, evaluate, train
from tacit_clients.training.personal import evaluate_personal, train_personal
from tacit_privacy.contract import QUERY_DESCRIBE, LocalTraining, RoundTerms
from tacit_privacy.contract import RECORD_DESCRIPTION as RECORD_DESCRIPTION
from tacit_privacy.errors import BadInput, NonFiniteUpdate, TacitError, TermsRefused, UpdateRefused
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.coding import Coding
from tacit_privacy.mechanisms.noise import NoiseSource, SystemNoise

# Records of Flower's Context.state: the device's own memory. None of them is ever part of a reply.
STATE_GUARD = "tacit.guard"  # ConfigRecord: what the guard remembers
STATE_PERSONAL = "tacit.personal"  # ArrayRecord: the personal adapter's vector
STATE_SCORES = "tacit.scores"  # ConfigRecord: before, after and personal score of the newest round, for the owner
STATE_EXAMPLE_DP = "tacit.example-dp"  # ConfigRecord: what example-level DP-SGD has spent, by kind of step


@dataclass(frozen=True, slots=True)
class Personal:
    """How a device trains the adapter that never leaves it."""

    rank: int
    training: LocalTraining


def _wall_clock(terms: RoundTerms) -> float:
    return time.time()


def _system_noise(round_number: int) -> NoiseSource:
    return SystemNoise()


@dataclass(frozen=True)
class Device:
    """What a device brings to a round.

    ``rng`` draws the order of its examples for a round, ``noise`` the noise and the coins of example-level DP-SGD, and
    what an update in few bits is rounded by: seeded in a simulation, the operating system's in deployment.
    ``server_key`` is the pinned key (hexadecimal) that terms must be signed by; None pins nothing: for simulations and
    trials. ``rank`` 0 means the adapter's own.
    """

    identity: str
    data: DeviceData
    task: Task
    adapted: AdaptedModel
    rng: Callable[[int], np.random.Generator]
    key: SigningKey | None = None
    server_key: str | None = None
    rank: int = 0
    noise: Callable[[int], NoiseSource] = field(default=_system_noise)
    personal: Personal | None = None
    floor: guard.Floor = guard.NO_FLOOR  # what the owner insists on
    one_ledger: bool = False  # whether its server has one ledger for all runs, as a deployment's has
    now: Callable[[RoundTerms], float] = field(default=_wall_clock)  # seconds; a simulation's time is its server's
    # what a simulated canary sends instead of what it learnt
    contribution: Callable[[RoundTerms], Vector] | None = None
    scores: bool = False  # whether to evaluate before and after, for the owner alone


def make_client_app(device_of: Callable[[Context], Device]) -> ClientApp:
    """A ClientApp whose devices come from ``device_of``: a simulation's fleet, or the one device it runs on.

    Flower sends the text of an exception to the server. It may quote the device's data, so what leaves is a word or the
    name of the exception's class.
    """
    app = ClientApp()

    @app.train()
    def train_round(message: Message, context: Context) -> Message:
        try:
            content = answer(message.content, context.state, device_of(context))
        except (TermsRefused, UpdateRefused) as refused:
            content = refusal(refused.reason)
        except BadInput:
            content = refusal("bad_input")
        except Exception as error:
            raise _nameless(error) from None
        return Message(content, reply_to=message)

    @app.query(QUERY_DESCRIBE.removeprefix("query."))
    def describe(message: Message, context: Context) -> Message:
        try:
            return Message(describe_device(device_of(context)), reply_to=message)
        except Exception as error:
            raise _nameless(error) from None

    return app


def _nameless(error: Exception) -> TacitError:
    return TacitError(f"the device failed with {type(error).__name__}")


def describe_device(device: Device) -> RecordDict:
    """Who a device is: what the server's roster is made of."""
    spec = device.adapted.spec
    return description(device.identity, device.rank or spec.rank, spec, device.key.public if device.key else "")


def answer(content: RecordDict, state: RecordDict, device: Device) -> RecordDict:
    """One round on the device: guard, train, clip, sign. Updates ``state``.

    No metric, loss or count is in the reply but those that the terms name as statistics: a slot each behind the update,
    which the server sums with the others and noises.

    Raises TermsRefused when the guard says no, BadInput when the model cannot learn the task.
    """
    terms, payload, signature = asked_terms(content)
    memory = _memory(state, device)
    agreed = guard.check(
        memory,
        terms,
        payload,
        signature,
        device.adapted.spec,
        device.server_key,
        device.floor,
        device.now(terms),
        device.one_ledger,
    )
    if device.rank and terms.rank > device.rank:
        raise TermsRefused("rank", f"rank {terms.rank} is above this device's {device.rank}")
    start = sent_adapter(content, terms, device.adapted.spec)
    before = _score(device, start, terms) if device.scores or asks_for_scores(terms) else {}
    result = _learn(device, start, terms)
    noise, coding = device.noise(terms.round), Coding(terms.bits, terms.quantum, terms.levels)
    update = coding.encode(result.delta, terms.clip_norm, slots(terms, result, before), noise)
    participation = agreed.of(terms.run).participations
    reply = signed_update(terms, payload, update, participation, device.identity, device.key, noise)
    _remember(state, device, terms, start, result, before)
    state[STATE_GUARD] = ConfigRecord(dict(agreed.as_values(device.key)))
    return reply


def _learn(device: Device, start: Vector, terms: RoundTerms) -> LocalResult:
    """What training changed: nothing, where the device has no example or its examples do not give numbers.

    It then contributes zeros, as its neighbour in the sense of the guarantee does. A refusal would tell what it holds,
    and could give its place in a cohort to another device.
    """
    if device.contribution is not None:
        return LocalResult(device.contribution(terms), 0, 0, 0.0, 0.0)
    if device.data.train:
        with suppress(NonFiniteUpdate):
            return train(
                device.adapted,
                device.data.train,
                device.task,
                start,
                terms.rank,
                terms.training,
                device.rng(terms.round),
                noise=device.noise(terms.round),
            )
    return LocalResult(np.zeros_like(start), 0, 0, 0.0, 0.0)


def _memory(state: RecordDict, device: Device) -> guard.Memory:
    if STATE_GUARD not in state:
        return guard.Memory()
    own = device.key.public if device.key else None
    return guard.Memory.from_values(dict(state.config_records[STATE_GUARD]), own)


def _score(device: Device, vector: Vector, terms: RoundTerms) -> dict[str, float]:
    device.adapted.load_vector(vector, terms.rank)
    found = evaluate(device.adapted, device.data.test, device.task, terms.training.max_length)
    return {"loss": found.loss, "metric": found.metric}


def _remember(
    state: RecordDict,
    device: Device,
    terms: RoundTerms,
    start: Vector,
    result: LocalResult,
    before: dict[str, float],
) -> None:
    """Write down what belongs to the device's owner: scores, what example-level DP spent, the personal adapter."""
    scores: dict[str, float] = {}
    if device.scores:
        scores |= {f"{name}_before": value for name, value in before.items()}
        after = _score(device, start + result.delta, terms)
        scores |= {f"{name}_after": value for name, value in after.items()}
    if result.spent is not None:
        spent = result.spent
        known = dict(state.config_records[STATE_EXAMPLE_DP]) if STATE_EXAMPLE_DP in state else {}
        kind = f"{spent.noise_multiplier!r}/{spent.rate!r}"
        steps = known.get(kind, 0)
        known[kind] = (steps if isinstance(steps, int) else 0) + spent.steps
        state[STATE_EXAMPLE_DP] = ConfigRecord(known)
    if device.personal is not None and device.data.train:
        with suppress(NonFiniteUpdate):  # it costs the owner this round's personal adapter, and the fleet nothing
            scores |= _train_personal(state, device, device.personal, terms, start)
    if scores:
        state[STATE_SCORES] = ConfigRecord({"round": terms.round, **scores})


def example_spent(state: RecordDict, delta: float) -> list[ExampleSpent]:
    """What a device's state says that example-level DP-SGD has spent on it; empty where it never did.

    For the owner of the device, and for a simulator, which owns them all: it depends on how many examples there are.
    """
    if STATE_EXAMPLE_DP not in state:
        return []
    spent = []
    for kind, steps in state.config_records[STATE_EXAMPLE_DP].items():
        noise, rate = kind.split("/")
        if isinstance(steps, int):
            spent.append(ExampleSpent(float(noise), float(rate), steps, delta))
    return spent


def _train_personal(
    state: RecordDict, device: Device, personal: Personal, terms: RoundTerms, start: Vector
) -> dict[str, float]:
    """Train the personal adapter over the shared one as it arrived; its vector stays in ``state``."""
    rng = device.rng(terms.round)
    vector = train_personal(
        device.adapted, start, terms.rank, device.data.train, device.task, personal.rank, personal.training, rng
    )
    state[STATE_PERSONAL] = ArrayRecord([vector])
    if not device.scores:
        return {}
    found = evaluate_personal(device.adapted, device.data.test, device.task, personal.training.max_length)
    return {"loss_personal": found.loss, "metric_personal": found.metric}


def _plain(context: Context) -> Device:
    from tacit_clients.plain import device_of  # it loads a model, which importing this module must not

    return device_of(context)


app = make_client_app(_plain)  # for Flower's own runtimes: clientapp = "tacit_clients.app:app"
