"""A device holds what its server says against what it saw of the ledger: doubt stays until it is owned up to."""

from dataclasses import replace

import pytest
from ledgers import FIXED, Books, policy

from tacit_clients.device.ledger_watch import compared, seen_of
from tacit_clients.guard import Memory, Seen
from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.enrolment import Notice, Placement
from tacit_privacy.ledger.chain import Entry
from tacit_privacy.ledger.keys import SigningKey

LEDGER = "a" * 64
MEMORY = Memory({}, {LEDGER: Seen(10, "2" * 64)})


def placed(key: SigningKey, first: SigningKey | None = None) -> Placement:
    return Placement(state="admitted", server_key=key.public, first_key=first.public if first else "")


def notice(seen_head: str = "", restored: str = "", rotations: tuple[str, ...] = ()) -> Notice:
    return Notice(time=1.0, node_id="1", counted=0, seen_head=seen_head, restored=restored, rotations=rotations)


@pytest.fixture(scope="module")
def books() -> Books:
    """A ledger that owned up to the ten entries that the device saw."""
    event = GaussianEvent(noise_multiplier=1.0, sampling=FIXED)
    found = Books(policy(participations=9, epsilon=500.0), event, replay=False)
    found.round(1, range(200))
    found.budget.own_up(found.session, 10, "2" * 64, range(200), event)
    return found


def line_of(books: Books, kind: str) -> str:
    return next(entry.line() for entry in books.ledger.entries(books.session) if entry.kind == kind)


def test_a_ledger_that_holds_what_was_seen_is_believed(books: Books) -> None:
    assert compared(MEMORY, notice("2" * 64), placed(books.key)).doubt == ""
    assert compared(Memory(), notice(), placed(books.key)).doubt == ""


def test_a_server_that_owned_up_is_remembered_as_it_is_now(books: Books) -> None:
    standing = compared(MEMORY, notice(restored=line_of(books, "restore")), placed(books.key))
    assert standing.doubt == "" and seen_of(standing.memory).length == 5


@pytest.mark.parametrize("seen_head", ["", "3" * 64])
def test_another_or_a_shorter_ledger_is_doubted(books: Books, seen_head: str) -> None:
    standing = compared(MEMORY, notice(seen_head), placed(books.key))
    assert standing.doubt and standing.memory == MEMORY


@pytest.mark.parametrize("kind", ["reserve", "commit", "lost", "not readable", "later", "unsigned"])
def test_nothing_else_ends_the_doubt(books: Books, kind: str) -> None:
    """Another entry, one behind what was seen, one that somebody else signed."""
    restore = next(entry for entry in books.ledger.entries(books.session) if entry.kind == "restore")
    lines = {
        "not readable": "{",
        "later": replace(restore, index=10).line(),
        "unsigned": replace(restore, signature=bytes(64)).line(),
    }
    line = lines[kind] if kind in lines else line_of(books, kind)
    standing = compared(MEMORY, notice(restored=line), placed(books.key))
    assert standing.doubt and standing.memory == MEMORY


OLD, NEW, STRANGER = SigningKey.simulated(1), SigningKey.simulated(2), SigningKey.simulated(3)


@pytest.fixture(scope="module")
def handed_over() -> Books:
    """Owned up to under one key, and then handed over to another, while the device was away."""
    event = GaussianEvent(noise_multiplier=1.0, sampling=FIXED)
    found = Books(policy(participations=9, epsilon=500.0), event, replay=False, key=OLD)
    found.round(1, range(200))
    found.budget.own_up(found.session, 10, "2" * 64, range(200), event)
    found.hand_over(NEW)
    return found


def test_who_owned_up_before_its_key_was_rotated_is_believed(handed_over: Books) -> None:
    told = notice(restored=line_of(handed_over, "restore"), rotations=(line_of(handed_over, "rotate"),))
    assert compared(MEMORY, told, placed(NEW, first=OLD)).doubt == ""
    assert compared(MEMORY, told, placed(NEW)).doubt  # of a key that this device never trusted


def test_an_old_key_owns_up_to_nothing_that_came_after_it(handed_over: Books) -> None:
    """Nor does it where the server hides that it was rotated."""
    handed, restored = line_of(handed_over, "rotate"), line_of(handed_over, "restore")
    assert compared(MEMORY, notice(restored=restored), placed(NEW, first=OLD)).doubt
    by_a_stranger = replace(Entry.of_line(handed), signature=STRANGER.sign(b"")).line()
    told = notice(restored=restored, rotations=(by_a_stranger,))
    assert compared(MEMORY, told, placed(NEW, first=OLD)).doubt
    event = GaussianEvent(noise_multiplier=1.0, sampling=FIXED)
    later = Books(policy(participations=9, epsilon=500.0), event, replay=False, key=OLD)
    later.hand_over(NEW)
    later.key = OLD  # and whoever has the old key goes on with it
    later.budget.own_up(later.session, 10, "2" * 64, range(200), event)
    told = notice(restored=line_of(later, "restore"), rotations=(line_of(later, "rotate"),))
    assert compared(MEMORY, told, placed(NEW, first=OLD)).doubt
