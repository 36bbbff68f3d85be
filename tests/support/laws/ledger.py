"""Laws of the record that a run leaves: nobody can change it unseen, and no restart gives budget back."""

import json
import random
from collections.abc import Callable, Iterator, Sequence

from laws.subject import Finding, Law, NotOffered, Record, Subject

ROUNDS = 98  # and four entries more
Lines = Sequence[str]
Change = Callable[[Lines, int], list[str]]


def flipped(lines: Lines, index: int, bit: int) -> list[str]:
    """One bit of one line, counted over its bytes."""
    line = bytearray(lines[index].encode("ascii"))
    line[bit // 8] ^= 1 << bit % 8
    return [*lines[:index], line.decode("latin-1"), *lines[index + 1 :]]


def deleted(lines: Lines, index: int) -> list[str]:
    return [*lines[:index], *lines[index + 1 :]]


def repeated(lines: Lines, index: int) -> list[str]:
    return [*lines[: index + 1], *lines[index:]]


def swapped(lines: Lines, index: int) -> list[str]:
    """With the next line, around the end with the first."""
    found, other = list(lines), (index + 1) % len(lines)
    found[index], found[other] = found[other], found[index]
    return found


def resigned(lines: Lines, index: int) -> list[str]:
    """The signature of the next entry in the place of its own: right form, right key, wrong content."""
    entry, other = json.loads(lines[index]), json.loads(lines[(index + 1) % len(lines)])
    line = lines[index].replace(entry["signature"], other["signature"])
    return [*lines[:index], line, *lines[index + 1 :]]


CHANGES: dict[str, Change] = {"deleted": deleted, "repeated": repeated, "swapped": swapped, "resigned": resigned}


def changes(lines: Lines, rng: random.Random, every: int = 1) -> Iterator[tuple[str, list[str]]]:
    """Every ``every``-th entry changed in every way, flips at one random bit of each."""
    for index in range(0, len(lines), every):
        bit = rng.randrange(8 * len(lines[index]))
        yield f"entry {index}, bit {bit}", flipped(lines, index, bit)
        for name, change in CHANGES.items():
            yield f"entry {index} {name}", change(lines, index)


def unnoticed(record: Record, rng: random.Random, every: int = 1) -> tuple[int, list[str]]:
    """How many changes were tried, and those that the record passes with."""
    tried = list(changes(record.lines, rng, every))
    return len(tried), [name for name, lines in tried if record.accepts(lines, None)]


def unnoticed_ends(record: Record, every: int = 1) -> tuple[int, list[str]]:
    """Every truncation against its closing entry, and every rollback and a fork against a head seen earlier."""
    cuts = range(0, len(record.lines), every)
    passed = [f"cut to {cut}" for cut in cuts if record.accepts(record.lines[:cut], None)]
    passed += [f"cut to {cut}, with a witness" for cut in cuts if record.accepts(record.lines[:cut], record.head)]
    if record.accepts(record.fork, record.head):
        passed.append("another history by the same key")
    return 2 * len(cuts) + 1, passed


def tampering(subject: Subject) -> Finding:
    """A finished record that was changed in any way does not pass."""
    try:
        record = subject.record(ROUNDS)
    except NotOffered as reason:
        before, after = subject.edited_state()
        shown = f"{reason}; 50 releases edited to one are loaded, epsilon {before:.4g} becomes {after:.3g}"
        return Finding("has none", shown, {"before": before, "after": after})
    if not record.accepts(record.lines, record.head):
        return Finding("breaks", "an honest record does not pass")
    rng = random.Random(7)
    tried, passed = unnoticed(record, rng, every=4)
    ends, cut = unnoticed_ends(record, every=4)
    shown = "; ".join([*passed, *cut][:3]) or f"{tried + ends} changes of {len(record.lines)} entries, all found"
    return Finding("breaks" if passed or cut else "keeps", shown, {"unnoticed": float(len(passed) + len(cut))})


def continuity(subject: Subject) -> Finding:
    """Loading a state from before the newest releases is noticed by somebody, and not left to whoever keeps it."""
    noticed = subject.notices_rollback()
    shown = "refused" if noticed else "loaded as any other, and what came after is free again"
    return Finding("keeps" if noticed else "has none", shown, {"noticed": float(noticed)})


LAWS = (
    Law(
        "ledger",
        "A record that was changed does not pass",
        f"A finished record of {ROUNDS} rounds. Entries flipped at a random bit, deleted, repeated, swapped, given "
        "another entry's signature; cut at the end; an older head and another history against a witness.",
        "Crosby and Wallach 2009 (tamper-evident logging).",
        "record",
        tampering,
    ),
    Law(
        "continuity",
        "A restart gives no budget back",
        "A state saved after one release, then 49 more releases, then the old state is loaded again.",
        "Rollback of a stateful service; what came after was released.",
        "notices_rollback",
        continuity,
    ),
)
