"""Devices of an emulated fleet of which some never come back. A module of its own, so that workers can import it."""

import time

import numpy as np
from flwr.app import Message
from replies import terms_of, update_for

from tacit_clients.flower_seam import adopt_identity
from tacit_simulations.grid import Answer, Call


def hang_or_answer(every: int, call: Call) -> Answer:
    """Every ``every``-th device hangs; device i of the others sends i in each coordinate."""
    adopt_identity()
    if call.device % every == 0:
        while True:
            time.sleep(0.01)
    terms = terms_of(call.message)
    update = update_for(call.message, call.device, np.full(terms.spec.prefix(terms.rank), call.device, np.int32))
    return Answer(Message(update, reply_to=call.message), call.state)
