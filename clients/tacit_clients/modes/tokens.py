"""Fusion token by token: the large model writes, the small one weighs each of its tokens against those it held likely.

Speculative: one request gives a whole answer with its likeliest tokens at each place, and one local pass weighs all of
them. Up to the first place where both together prefer another token the answer stands; with that token it is sent back
to be gone on from. Only tokens that the large model itself named are ever chosen.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tacit_clients.egress import Egress
from tacit_clients.modes.asking import Whole, ask_llm
from tacit_clients.modes.local import LocalMode, local_request
from tacit_clients.modes.protocol import Ask, Json
from tacit_privacy.errors import TacitError, UpstreamFailed

TOP: Final = 20  # what OpenAI's protocol allows
_NOT_TAKEN: Final = frozenset((400, 404, 422))  # what an endpoint answers that cannot do what it was asked
_TELLING: Final = 12  # characters of a beginning that nobody says twice by chance


@dataclass(frozen=True, slots=True)
class Step:
    """One token of the large model's answer; ``likely`` has it and its rivals, each with its log-probability."""

    text: str = field(repr=False)
    likely: Mapping[str, float] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fused:
    """How far an answer stands. ``logprobs`` are those of its tokens by both models, as far as both know them."""

    texts: tuple[str, ...] = field(repr=False)
    logprobs: tuple[float, ...]
    changed: bool  # the last of ``texts`` is another token than the large model's


def steps_of(rows: Sequence[Json], text: str) -> list[Step] | None:
    """The tokens that spell ``text``; None where ``rows`` do not, as where tokens are parts of characters."""
    steps = [_step(row) for row in rows]
    spelled = "".join(step.text for step in steps)
    return steps if steps and spelled.removeprefix(" ") == text.removeprefix(" ") else None


def fuse(steps: Sequence[Step], weighed: Sequence[Sequence[float]], alpha: float, least: int = 0) -> Fused:
    """The answer up to the first token that p(large) * p(small)^alpha over the named tokens does not put first.

    ``weighed[n][m]``: the small model's log-probability of the m-th of ``steps[n].likely``. Where it does not know the
    large model's own token, after the end of ``weighed``, and in the first ``least`` characters, the large model alone
    decides.
    """
    texts, logprobs = list[str](), list[float]()
    for number, step in enumerate(steps):
        known = dict(zip(step.likely, weighed[number], strict=True)) if number < len(weighed) else {}
        both = {name: step.likely[name] + alpha * weight for name, weight in known.items()}
        together = {name: value for name, value in both.items() if math.isfinite(value)}
        if step.text not in together or len("".join(texts).strip()) < least:
            texts.append(step.text)
            continue
        best = max(together, key=lambda name: (together[name], name == step.text))
        texts.append(best)
        logprobs.append(together[best] - _log_sum(together.values()))
        if best != step.text:
            return Fused(tuple(texts), tuple(logprobs), True)
    return Fused(tuple(texts), tuple(logprobs), False)


class Relay:
    """Asks and fuses. Remembers what the endpoint turns out to do: tell log-probabilities, go on from a text.

    Until it has gone on from a text long enough to tell, the first characters of an answer are left as they are: there
    an endpoint that begins anew could not be known from one that goes on.
    """

    def __init__(self, egress: Egress, local: LocalMode, alpha: float, most_calls: int) -> None:
        self._egress, self._local, self._alpha, self._most_calls = egress, local, alpha, most_calls
        self.able, self._goes_on = True, False

    def takes(self, body: Mapping[str, Json]) -> bool:
        """Whether it is worth a try: the endpoint may be able, the local model is, and an answer is what comes next."""
        last = body["messages"][-1] if isinstance(body.get("messages"), list) and body["messages"] else {}
        begun = isinstance(last, dict) and last.get("role") == "assistant"
        return self.able and not begun and hasattr(self._local.model, "weigh")

    async def answer(self, ask: Ask, body: Mapping[str, Json]) -> tuple[Whole, bool]:
        """The whole answer, and whether it is one of both; else it is the large model's own.

        Its confidence is the geometric mean of its tokens' probabilities by both. Raises what ``ask_llm`` raises.
        """
        first = await self._first(ask, body)
        steps = steps_of(first.logprobs, first.text)
        if steps is None:
            if first.text and not first.logprobs and not await self._masked(ask):
                self.able = False
            return first, False
        try:
            fused = await self._gone_on(ask, body, first, steps)
        except TacitError:  # the first answer is had, and stands
            fused = None
        return (first, False) if fused is None else (fused, True)

    async def _first(self, ask: Ask, body: Mapping[str, Json]) -> Whole:
        refused = False
        try:
            return await ask_llm(self._egress, ask, {**body, "logprobs": True, "top_logprobs": TOP}, "relay")
        except UpstreamFailed as error:
            if error.status not in _NOT_TAKEN:
                raise
            refused = True
        whole = await ask_llm(self._egress, ask, body, "asked")
        self.able = not refused  # the same without log-probabilities was taken
        return whole

    async def _gone_on(self, ask: Ask, body: Mapping[str, Json], first: Whole, steps: list[Step]) -> Whole | None:
        """The answer of both; None where the endpoint begins anew in place of going on."""
        texts, logprobs, finish = list[str](), list[float](), first.finish
        for call in range(1, self._most_calls + 1):
            fused = await self._fused(ask, texts, steps)
            logprobs += fused.logprobs
            if not fused.changed or call == self._most_calls:
                texts += [step.text for step in steps]
                break
            texts += fused.texts
            left = _left(body, len(texts))
            if left is not None and left <= 0:
                finish = "length"
                break
            more = await self._more(ask, body, "".join(texts), left)
            beginning = "".join(texts[:-1]).strip()
            if more is None or (len(beginning) >= _TELLING and more.text.strip().startswith(beginning)):
                self.able = False
                return None
            self._goes_on = self._goes_on or len(beginning) >= _TELLING
            finish = more.finish
            found = steps_of(more.logprobs, more.text)
            if found is None:  # something in it is masked now, or it is at its end
                texts.append(more.text)
                break
            steps = found
        confidence = math.exp(math.fsum(logprobs) / len(logprobs)) if logprobs else None
        return Whole("".join(texts), finish, confidence)

    async def _fused(self, ask: Ask, before: Sequence[str], steps: Sequence[Step]) -> Fused:
        """By one pass of the local model, without the owner's personal adapter: what is chosen is sent."""
        model: Any = self._local.model
        messages = local_request(ask.body, self._local.most_tokens).messages
        written = [*before, *(step.text for step in steps)]
        places: list[list[str]] = [[] for _ in before] + [list(step.likely) for step in steps]
        weighed = await model.weigh(messages, written, places, cancelled=ask.cancelled, personal=False)
        least = 0 if before or self._goes_on else _TELLING
        return fuse(steps, weighed[len(before) :], self._alpha, least)

    async def _more(self, ask: Ask, body: Mapping[str, Json], text: str, left: int | None) -> Whole | None:
        """What follows ``text``; None where the endpoint refuses to go on from one."""
        messages = [*body["messages"], {"role": "assistant", "content": text}]
        further: dict[str, Json] = {**body, "messages": messages, "logprobs": True, "top_logprobs": TOP}
        if left is not None:
            further |= {name: left for name in ("max_tokens", "max_completion_tokens") if name in body}
        try:
            return await ask_llm(self._egress, ask, further, "relay")
        except UpstreamFailed as error:
            if error.status not in _NOT_TAKEN:
                raise
        return None

    async def _masked(self, ask: Ask) -> bool:
        """Whether the gate had a reason to hold log-probabilities back."""
        vault = self._egress.gate.vault
        kept = await self._egress.in_thread(vault.peek, ask.conversation)
        return kept is not None and bool(kept.issued() or kept.fictions())


def _step(row: Json) -> Step:
    likely = {str(each["token"]): float(each["logprob"]) for each in row["top_logprobs"]}
    return Step(row["token"], {row["token"]: float(row["logprob"]), **likely})


def _left(body: Mapping[str, Json], used: int) -> int | None:
    limits = [body[name] for name in ("max_tokens", "max_completion_tokens") if type(body.get(name)) is int]
    return min(limits) - used if limits else None


def _log_sum(values: Iterable[float]) -> float:
    rows = list(values)
    most = max(rows)
    return float(most + math.log(math.fsum(math.exp(row - most) for row in rows)))
