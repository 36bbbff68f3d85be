"""The laws of redaction on as many cases as there is time for.

python tests/support/soak_redaction.py --cases N --seconds S

Each case: a few turns of unkind text with random spans under a random policy; every turn restored whole, in random
pieces, by sink and as JSON. Prints a JSON line; exit code 1 when a law fails, with the seed that repeats it.
"""

import argparse
import json
import random
import secrets
import sys
import time

from drawn_text import TYPES, Drawn, random_spans, random_text

from tacit_privacy.pii.policy import Action, RedactionPolicy, RestorePolicy
from tacit_privacy.pii.pseudonyms import Conversation
from tacit_privacy.pii.redactor import Redactor
from tacit_privacy.pii.restoring import StreamRestorer, restore

ACTIONS: tuple[Action, ...] = ("mask", "mask", "surrogate", "format", "keep")


def in_pieces(
    generator: random.Random, text: str, conversation: Conversation, sinks: RestorePolicy | None, is_json: bool
) -> str:
    stream = StreamRestorer(conversation, sinks, is_json)
    out, at = [], 0
    while at < len(text):
        size = generator.choice((1, 1, 2, 3, 5, 8, 40))
        out.append(stream.feed(text[at : at + size]))
        at += size
    return "".join((*out, stream.close()))


def streams_agree(generator: random.Random, text: str, conversation: Conversation) -> bool:
    """Whether every way to read ``text`` gives the same whole and in pieces."""
    chosen = RestorePolicy(
        text=generator.random() < 0.9, urls=generator.random() < 0.3, images=generator.random() < 0.3
    )
    for sinks in (None, chosen):
        for is_json in (False, True):
            given = json.dumps([text, {text: json.dumps([text])}]) if is_json else text
            if (
                in_pieces(generator, given, conversation, sinks, is_json)
                != restore(given, conversation, sinks, is_json).text
            ):
                return False
    return True


def holds(seed: int) -> bool:
    """Whether every law holds in the case of ``seed``."""
    generator = random.Random(seed)
    conversation = Conversation("soak", generator.randbytes(32))
    policy = RedactionPolicy(types={type: generator.choice(ACTIONS) for type in TYPES})
    turns: list[tuple[str, str]] = []
    for _ in range(generator.randrange(1, 4)):
        issued = (*conversation.issued(), *conversation.fictions())
        texts = list(dict.fromkeys(random_text(generator, issued) for _ in range(2)))
        redactor = Redactor(Drawn({text: random_spans(generator, len(text)) for text in texts}), policy)
        redacted = redactor.redact_many(texts, conversation)
        turns += zip(texts, (each.text for each in redacted), strict=True)
        if not conversation.fictions() and any(conversation.leaks(each.text) for each in redacted):
            return False
        if generator.random() < 0.3:
            conversation = Conversation.from_state("soak", conversation_key(seed), conversation.state())
    if any(restore(redacted, conversation).text != text for text, redacted in turns):
        return False
    return all(streams_agree(generator, redacted + text, conversation) for text, redacted in turns)


def conversation_key(seed: int) -> bytes:
    return random.Random(seed).randbytes(32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="the first case; the next ones count up from it")
    options = parser.parse_args()
    first = secrets.randbits(60) if options.seed is None else options.seed
    until = time.monotonic() + options.seconds
    failures: list[int] = []
    cases = 0
    while cases < options.cases and time.monotonic() < until and len(failures) < 20:
        if not holds(first + cases):
            failures.append(first + cases)
        cases += 1
    print(json.dumps({"first_seed": first, "cases": cases, "failures": len(failures), "failed_seeds": failures}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
