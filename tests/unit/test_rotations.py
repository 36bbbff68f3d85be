"""A device follows its server from one signing key to the next, by what the keys themselves say and nothing else."""

import json
from collections.abc import Callable, Sequence

import pytest
from ledgers import FIXED, KEY, Books, policy

from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.errors import LedgerBroken
from tacit_privacy.ledger.bodies import Rotated
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.rotations import followed, rotations

KEYS = [KEY, *(SigningKey.simulated(8, number) for number in range(3))]
STRANGER = SigningKey.simulated(9)


def books() -> Books:
    return Books(policy(participations=5, epsilon=100.0), GaussianEvent(noise_multiplier=1.0, sampling=FIXED))


def handed_over(times: int = 3) -> tuple[str, ...]:
    """A ledger with a round between any two rotations."""
    found = books()
    for number, key in enumerate(KEYS[1 : times + 1], 1):
        found.round(number, [1])
        found.hand_over(key)
    return rotations(found.session)


@pytest.mark.parametrize("begins", range(4))
def test_whatever_key_was_pinned_the_newest_is_found(begins: int) -> None:
    assert followed(KEYS[begins].public, handed_over()) == KEYS[3].public


def test_no_rotation_changes_nothing() -> None:
    assert rotations(books().session) == ()
    assert followed(KEY.public, ()) == KEY.public


def test_a_run_that_is_called_like_a_rotation_is_none() -> None:
    found = Books(policy(), GaussianEvent(noise_multiplier=9.0, sampling=FIXED), run='"kind":"rotate"')
    assert rotations(found.session) == ()


def test_a_key_that_no_rotation_names_is_not_left() -> None:
    with pytest.raises(LedgerBroken, match="not by the key that is pinned"):
        followed(STRANGER.public, handed_over())


def without_the_second(told: Sequence[str]) -> list[str]:
    return [told[0], told[2]]


def backwards(told: Sequence[str]) -> list[str]:
    return [told[0], told[2], told[1]]


def twice(told: Sequence[str]) -> list[str]:
    return [told[0], told[0]]


def signed_anew(told: Sequence[str]) -> list[str]:
    """As a stranger would write it who has the list, and none of the keys."""
    entry = json.loads(told[1])
    entry["signature"] = STRANGER.sign(bytes.fromhex(entry["hash"])).hex()
    return [told[0], json.dumps(entry)]


def to_a_stranger(told: Sequence[str]) -> list[str]:
    entry = json.loads(told[1])
    entry["body"]["public_key"] = STRANGER.public
    return [told[0], json.dumps(entry)]


def other_words(told: Sequence[str]) -> list[str]:
    return [told[0], '{"kind": "rotate"}']


def no_words(told: Sequence[str]) -> list[str]:
    return ["[]"]


def another_kind(told: Sequence[str]) -> list[str]:
    found = books()
    found.round(1, [1])
    return [found.lines()[-1]]


Change = Callable[[Sequence[str]], list[str]]


@pytest.mark.parametrize(
    "change",
    [without_the_second, backwards, twice, signed_anew, to_a_stranger, other_words, no_words, another_kind],
)
def test_a_chain_that_does_not_hold_is_refused(change: Change) -> None:
    with pytest.raises(LedgerBroken):
        followed(KEY.public, change(handed_over()))


def test_nobody_is_named_who_did_not_agree() -> None:
    """Whoever has the old key can sign an entry that names any key; the endorsement is what he cannot make."""
    found = books()
    named = Rotated(public_key=STRANGER.public, endorsement=KEY.sign(b"something").hex())
    found.ledger.append(found.session, named)
    with pytest.raises(LedgerBroken, match="did not endorse"):
        followed(KEY.public, rotations(found.session))
