"""A coordinator's steps over a budget, in processes of their own: to race for it, and to be killed at its boundaries.

``spender.py race URL RUN ROUNDS LOG``: reserves, "releases" (a line in LOG), commits, and prints how many there were.
``spender.py kill URL FOLDER``: the same in a child that a SIGKILL ends at its first boundary, then in one that it ends
at its second, and so on until one lives; prints a line of JSON for each. A boundary is every statement to the
database, before and after, every commit and every release.
"""

import json
import os
import signal
import sys
from itertools import count
from pathlib import Path

import numpy as np
from ledgers import KEY, begun, policy
from sqlalchemy import Engine, event

from tacit_privacy.accounting.budget import Budget
from tacit_privacy.accounting.events import GaussianEvent, Sampling
from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.errors import BudgetExhausted
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.database import begin, open_database
from tacit_privacy.ledger.receipts import SignedReceipt
from tacit_privacy.ledger.verify import verify
from tacit_privacy.mechanisms.noise import SystemNoise

SAMPLING = Sampling(kind="fixed", cohort=2, population=50)
ALLOWED = policy(epsilon=6.0, participations=1_000, population=50)
ENDLESS = policy(epsilon=1e6, participations=1_000_000, population=50)
DEVICES = [1, 2]
EVENT = GaussianEvent(noise_multiplier=4.0, sampling=SAMPLING)


class Boundaries:
    """Counts them, and kills at one."""

    def __init__(self, kill_at: int) -> None:
        self.seen, self.kill_at = 0, kill_at

    def __call__(self, *anything: object) -> None:
        self.seen += 1
        if self.seen == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def spend(engine: Engine, allowed: BudgetPolicy, run: str, rounds: int, log: Path, cross: Boundaries) -> int:
    """How many releases the budget allowed."""
    noise = SystemNoise()
    budget = Budget(allowed, Ledger(KEY.sign, lambda: 1.0), begun(run, noise), noise, replay=False, closes=False)
    asked = np.array(DEVICES, dtype=np.intp)
    with begin(engine) as session:
        budget.open(session, KEY.public)
    cross()
    for number in range(1, rounds + 1):
        try:
            with begin(engine) as session:
                reservation = budget.reserve(session, number, asked, EVENT)
        except BudgetExhausted:
            return number - 1
        cross()
        with log.open("a") as file:  # what a device or a model's user would see
            file.write(f"{reservation.id}\n")
            file.flush()
            os.fsync(file.fileno())
        cross()
        with begin(engine) as session:
            budget.commit(session, reservation, DEVICES, "1" * 64, [SignedReceipt(b"a receipt")])
        cross()
    return rounds


def child(url: str, log: Path, kill_at: int) -> None:
    """Spends until it is killed. Never returns."""
    cross = Boundaries(kill_at)
    engine = open_database(url)
    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(engine, name, cross)
    spend(engine, ENDLESS, "run", 2, log, cross)
    os._exit(0)


def kill_everywhere(url: str, folder: Path) -> None:
    """Every start of the run is killed one boundary later than the one before, and settles what that left open."""
    for kill_at in count(1):
        log = folder / f"log {kill_at}"
        pid = os.fork()
        if pid == 0:
            child(url, log, kill_at)
        _, status = os.waitpid(pid, 0)
        engine = open_database(url)
        with begin(engine) as session:
            lines = [entry.line() for entry in Ledger(KEY.sign, float).entries(session)]
        engine.dispose()
        found = verify(lines, KEY.public)
        released = log.read_text().split() if log.exists() else []
        problems = [problem.kind for problem in found.problems if problem.kind != "empty"]
        lost = sorted(set(released) - found.account.charged.keys())
        killed = os.WIFSIGNALED(status)
        print(json.dumps({"killed": killed, "released": len(released), "problems": problems, "lost": lost}), flush=True)
        if not killed:
            return


def main(what: str, url: str, *words: str) -> None:
    if what == "kill":
        kill_everywhere(url, Path(words[0]))
    else:
        run, rounds, log = words
        print(spend(open_database(url), ALLOWED, run, int(rounds), Path(log), Boundaries(0)))


if __name__ == "__main__":
    main(*sys.argv[1:])
