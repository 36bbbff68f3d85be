"""The words in which a mode asks its models for part of the work.

A model with a chat template is told what to do. A plain one, such as tacit-nano, has learnt single requests: it is
asked in the short forms that ``tacit models train`` puts before its rows.
"""

from dataclasses import dataclass
from typing import Final, Literal

from tacit_clients.modes.protocol import Json

Form = Literal["chat", "plain"]
NOTHING: Final = "none"  # what a model says where there is no general question behind a prompt


@dataclass(frozen=True, slots=True)
class Prompts:
    """Templates with named places; ``str.format`` is never given a text as a template."""

    general: str  # {prompt}: the question behind it that names nobody
    hinted: str  # {hint} {prompt}
    verify: str  # {prompt} {answer}: is it right, yes or no
    merge: str  # {prompt} {first} {second}: the better answer, or one made of both
    read: str  # {instruction} {text}: what a piece of a document says

    def ask(self, template: Literal["general", "hinted", "verify", "merge", "read"], **places: str) -> list[Json]:
        """The messages of one local turn."""
        return [{"role": "user", "content": _filled(getattr(self, template), places)}]


CHAT: Final = Prompts(
    general=(
        "Rewrite the request below as one general question that a stranger could answer. Leave out every name, date, "
        "number and circumstance of the person who asks. Write the question alone; write 'none' if nothing general "
        "is asked.\n\nRequest:\n{prompt}\n\nGeneral question:"
    ),
    hinted="{prompt}\n\nSomebody who does not know me gave this hint; use it where it helps:\n{hint}",
    verify=(
        "Question:\n{prompt}\n\nProposed answer:\n{answer}\n\nIs the proposed answer right? Answer with the one word "
        "yes or no."
    ),
    merge=(
        "{prompt}\n\nTwo drafts of an answer follow. Write the one best answer: keep what both agree on, prefer what "
        "fits the request, and add nothing new.\n\nFirst draft:\n{first}\n\nSecond draft:\n{second}\n\nBest answer:"
    ),
    read="{instruction}\n\nUse this text alone. Answer 'none' if it does not say.\n\nText:\n{text}\n\nAnswer:",
)
PLAIN: Final = Prompts(
    general="general: {prompt}",
    hinted="hint: {hint}. {prompt}",
    verify="check: {answer}. {prompt}",
    merge="hint: {second}. {prompt}",
    read="{text}. {instruction}",
)


def of_form(form: Form) -> Prompts:
    return CHAT if form == "chat" else PLAIN


def _filled(template: str, places: dict[str, str]) -> str:
    """``template`` with its places filled in one pass: what is filled in is never looked at again."""
    parts, rest = [], template
    while rest:
        before, opened, after = rest.partition("{")
        parts.append(before)
        if not opened:
            break
        name, _, rest = after.partition("}")
        parts.append(places[name])
    return "".join(parts)
