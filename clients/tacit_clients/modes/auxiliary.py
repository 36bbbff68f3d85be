"""``tacit/auxiliary``: a stranger's hint. The large model is asked one general question; the local one answers.

Of the prompt nothing leaves but that question, without placeholders: the door refuses it where it holds anything to
mask, and so does a check of its own against everything that was found in the prompt. What the local model words is
also held against the prompt itself: where it tells of its asker, or more in the prompt's own words than rules would
keep of it, the rules' question is asked.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt

from tacit_clients.egress import Egress
from tacit_clients.egress.lastlook import Values
from tacit_clients.egress.views import leaves
from tacit_clients.egress.wire import structural
from tacit_clients.modes.asking import ask_llm, ask_local, last_of_user, prompts_of, with_last_of_user
from tacit_clients.modes.generalise import generalise, tells_of_oneself
from tacit_clients.modes.hints import Hints
from tacit_clients.modes.lexical import LINKING, words
from tacit_clients.modes.local import UNUSABLE, LocalMode, needs_more, why_unusable
from tacit_clients.modes.prompts import CHAT, NOTHING
from tacit_clients.modes.protocol import Ask, Event, Json
from tacit_clients.modes.trust import carries_instructions, flag_of_failure
from tacit_clients.modes.turns import alone, asked
from tacit_privacy.errors import PromptTooLong, TextRefused, UpstreamFailed
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.pseudonyms.folding import fold

SYSTEM: Final = (
    "Answer with a hint for somebody who will answer the question in a setting that you do not know: the facts, steps "
    "or checks that matter, in at most five short lines. Ask nothing back."
)
_QUESTION_TOKENS: Final = 96  # a question is short
RUN: Final = 3  # words in a row, linking ones aside, that are the asker's own and no coincidence


class AuxiliarySettings(BaseModel, frozen=True, extra="forbid"):
    """How the general question is made, and what a hint may cost."""

    abstraction: Literal["auto", "slm", "rules"] = "auto"  # auto: by the local model if it has a chat template
    style: Literal["chat", "plain"] = "chat"  # plain: no system message, for a large model that knows none
    question_chars: PositiveInt = 240  # a longer general question is not general
    hint_tokens: PositiveInt = 256
    hint_chars: PositiveInt = 2000  # a longer one is not used
    hint_s: PositiveFloat = 20.0  # then the local model answers without
    cached_hints: NonNegativeInt = 256  # 0 keeps none
    cached_s: PositiveFloat = 86_400.0
    similarity: float = Field(default=1.0, gt=0, le=1)  # beneath 1 a hint also serves a question of nearly its words
    delegate: bool = True  # what the local model cannot do goes to the large one, redacted, as in tacit/pipeline


@dataclass(frozen=True, slots=True)
class _Found:
    """What the detector found in a request that the policy does not keep."""

    values: Values = field(repr=False)
    exact: frozenset[str] = field(repr=False)
    stays: bool  # the policy lets none of the request leave
    entities: Mapping[str, Sequence[Entity]] = field(repr=False)  # of every text, also what the policy keeps

    def in_(self, text: str) -> bool:
        """Whether ``text`` holds any of it: in any spelling, and the shortest ones as words of their own."""
        around = f" {_solid(text)} "
        return self.values.in_any([text]) or any(f" {value} " in around for value in self.exact)


class AuxiliaryMode:
    """Asks for a hint where something general is asked; whatever goes wrong, the local model answers without one."""

    name = "auxiliary"

    def __init__(
        self, egress: Egress, local: LocalMode | None, settings: AuxiliarySettings, hints: Hints | None = None
    ) -> None:
        self._egress, self._local, self._settings = egress, local, settings
        cache = Hints(settings.cached_hints, settings.cached_s, settings.similarity) if hints is None else hints
        self._hints = cache

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        local, needs = self._local, needs_more(ask.body)
        why, begun = needs or "no_local_model", False
        if local is not None and not needs:
            try:
                async with aclosing(self._answered(local, ask)) as events:
                    async for event in events:
                        begun = True
                        yield event
                return
            except UNUSABLE as error:
                why = why_unusable(error)
                if begun or not self._settings.delegate:
                    raise
        if not self._settings.delegate:
            raise TextRefused("local_only", "auxiliary.delegate is off, and no local model can do what is asked")
        if not needs:
            ask.provenance.flag("fallback_local")
        async with aclosing(asked(self._egress, None, ask, why)) as events:
            async for event in events:
                yield event

    async def _answered(self, local: LocalMode, ask: Ask) -> AsyncGenerator[Event]:
        prompt = last_of_user(ask.body.get("messages"))
        hint = await self._hint(local, ask, prompt)
        if ask.cancelled.is_set():
            return
        messages = None
        if hint:
            hinted = (await prompts_of(local)).ask("hinted", hint=hint, prompt=prompt)
            messages = with_last_of_user(ask.body["messages"], hinted[-1]["content"])
        begun = False
        try:
            async with aclosing(alone(local, ask, messages)) as events:
                async for event in events:
                    begun = True
                    yield event
            return
        except PromptTooLong:
            if begun or not hint:
                raise
        ask.provenance.flag("fallback_hint")
        async with aclosing(alone(local, ask)) as events:
            async for event in events:
                yield event

    async def _hint(self, local: LocalMode, ask: Ask, prompt: str) -> str:
        """The hint to the prompt's general question; empty where there is none, and the account says why."""
        account = ask.provenance
        try:
            found = await self._egress.in_thread(self._found, ask.body.get("messages"))
            if found.stays:
                raise TextRefused("local_only")
            question, by_rules = await self._question(local, ask, prompt, found)
            if question == NOTHING:
                account.reason = "nothing_general"
                account.flag("nothing_general")
                return ""
            try:
                return await self._told(ask, question, found)
            except TextRefused as error:
                if error.reason != "masked" or by_rules:
                    raise
            account.flag("fallback_rules")
            return await self._told(ask, await self._by_rules(prompt, found), found)
        except (TextRefused, UpstreamFailed) as error:
            account.reason = error.reason
        except TimeoutError:
            account.reason = "timeout"
        account.flag(flag_of_failure(account.reason))
        account.flag("fallback_hint")
        return ""

    async def _question(self, local: LocalMode, ask: Ask, prompt: str, found: _Found) -> tuple[str, bool]:
        """The general question, or NOTHING, and whether it was made by rules."""
        how, prompts = self._settings.abstraction, await prompts_of(local)
        if how == "rules" or (how == "auto" and prompts is not CHAT):
            return await self._by_rules(prompt, found), True
        try:
            whole = await ask_local(
                local, ask, prompts.ask("general", prompt=prompt), _QUESTION_TOKENS, 0.0, personal=False
            )
        except PromptTooLong:
            whole = None
        question = "" if whole is None or whole.finish != "stop" else _tidied(whole.text)
        if question.lower().strip(".") == NOTHING:
            return NOTHING, False
        by_rules = await self._by_rules(prompt, found)
        fits = 0 < len(question) <= self._settings.question_chars
        if fits and not found.in_(question) and _general(question, prompt, by_rules):
            return question, False
        ask.provenance.flag("fallback_rules")
        return by_rules, True

    async def _by_rules(self, prompt: str, found: _Found) -> str:
        entities = found.entities.get(prompt)
        if entities is None:  # its parts were looked at one by one
            entities = await self._egress.in_thread(self._entities, prompt)
        return generalise(prompt, entities, self._settings.question_chars)

    async def _told(self, ask: Ask, question: str, found: _Found) -> str:
        """The hint to ``question``, from the cache or by one call. Raises TextRefused, UpstreamFailed, TimeoutError."""
        account, settings = ask.provenance, self._settings
        if question == NOTHING:
            raise TextRefused("masked", "no general question is left of it")
        if found.in_(question):
            raise TextRefused("masked", "the general question holds a value of the prompt")
        known = self._hints.find(question)
        if known is not None:
            account.flag("hint_cached")
            account.reason = "hinted"
            return known
        async with asyncio.timeout(settings.hint_s):
            whole = await ask_llm(self._egress, ask, self._body(question), "hint", clean=True)
        account.reason = "hinted"
        hint = whole.text.strip()
        if carries_instructions(hint):
            account.flag("instructions")
        elif hint and len(hint) <= settings.hint_chars:
            self._hints.keep(question, hint)
            return hint
        account.flag("fallback_hint")
        account.reason = "no_hint"
        return ""

    def _body(self, question: str) -> dict[str, Json]:
        """Nothing of the client's own request goes along: not its sampling, not what ends its answers."""
        system = [{"role": "system", "content": SYSTEM}] if self._settings.style == "chat" else []
        return {
            "messages": [*system, {"role": "user", "content": question}],
            "max_tokens": self._settings.hint_tokens,
        }

    # --- in a thread of the gate

    def _entities(self, text: str) -> list[Entity]:
        redactor = self._egress.gate.redactor
        return [] if redactor is None else redactor.found(text)

    def _found(self, messages: Json) -> _Found:
        """Raises TextRefused, wordless, where the detector fails: then nothing can be said to be clean."""
        try:
            return self._gathered([leaf for leaf in leaves({"messages": messages}, structural) if leaf])
        except Exception:
            failed = TextRefused("gate_error", "the check failed, so nothing leaves")
        raise failed

    def _gathered(self, texts: Sequence[str]) -> _Found:
        policy = self._egress.gate.policy
        values, people, parts, stays = set[str](), set[str](), set[str](), False
        entities = {text: self._entities(text) for text in dict.fromkeys(texts)}
        for text, found in entities.items():
            for entity in found:
                action = policy.action(entity.type)
                if action == "keep":
                    continue
                stays = stays or action in ("block", "local_only")
                values.add(value := text[entity.start : entity.end])
                if entity.type == "PERSON":
                    people.add(value)
                    parts |= _parts(value)
                elif entity.type == "EMAIL_ADDRESS":
                    parts |= _parts(value.partition("@")[0])
        return _Found(Values(values, people), frozenset((*map(_solid, values), *parts)) - {""}, stays, entities)


def _general(question: str, prompt: str, by_rules: str) -> bool:
    """Whether a model's question has no digit, tells of nobody, and has no run of the prompt but what rules keep."""
    if any(sign.isdigit() or sign.isnumeric() for sign in question) or tells_of_oneself(question):
        return False
    return _runs(question) & _runs(prompt) <= _runs(by_rules)


def _runs(text: str) -> set[tuple[str, ...]]:
    found = [word for word in words(text) if word not in LINKING]
    return {tuple(found[at : at + RUN]) for at in range(len(found) - RUN + 1)}


def _parts(name: str) -> set[str]:
    """The words of a name, each of which may give its bearer away."""
    return {word for word in _solid(name).split() if len(word) > 2 and word not in LINKING}


def _solid(text: str) -> str:
    """The folded words of ``text``, one space between them."""
    return " ".join("".join(sign if sign.isalnum() else " " for sign in fold(text)).split())


def _tidied(question: str) -> str:
    """A model's question without what it puts around it."""
    return " ".join(question.split()).strip(" \"'`*")
