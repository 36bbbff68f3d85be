"""What can be said of an answer without asking anybody: stable words for its flags, and how they are found.

A flag is a remark for a program or a person to act on, never a verdict: what is not flagged may still be wrong.
"""

import re
import unicodedata
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Final

from tacit_clients.modes.claims import contradicts
from tacit_clients.modes.lexical import content_words, numbers, overlap, words
from tacit_clients.modes.protocol import Ask, Delta, Event

FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "contradicts_context": "the answer states an address, number, day or recipient otherwise than the prompt does",
        "disagreement": "the local and the large model give different answers",
        "document": "the document was read on the device, piece by piece",
        "fallback_empty": "the large model said nothing, so the local one answered",
        "fallback_hint": "no hint was to be had or used, so the local model answered without one",
        "fallback_local": "the local model could not do its part, so the large one answered",
        "fallback_merge": "the merged answer failed its checks, so the large model's own stands",
        "fallback_paused": "the owner has paused what leaves, so the local model answered",
        "fallback_prompt": "the rewritten prompt failed its checks, so the client's own was sent, redacted",
        "fallback_refused": "the gate let the text not leave, so the local model answered",
        "fallback_rules": "the local model's general question failed its checks, so one was made by rules",
        "fallback_words": "the last wording failed, so what was found is told as it was found",
        "hint_cached": "the hint was known from before, and nobody was asked",
        "instructions": "the large model's words carry instructions to whatever software or model reads them",
        "job_default": "no usable plan came, so the document was read by a plan made on the device",
        "nothing_found": "the pieces of the document that were read do not answer the question",
        "nothing_general": "no general question lies behind the prompt, so none was asked",
        "offline": "the large model could not be reached or failed, so the local one answered",
        "out_of_scope": "the prompt is unlike those that the predictor of routing was trained on",
        "redaction_damage": "redaction would take what the answer turns on, so the large model was not asked at once",
        "truncated": "parts of the document that might matter were not read",
    }
)
DISAGREE: Final = 0.4  # an agreement beneath it is a disagreement
_OFFLINE: Final = frozenset(("unreachable", "timeout", "status", "malformed", "cut_off", "open_circuit"))
_MOST_READ: Final = 65_536  # characters of an answer
_SHORT: Final = 12  # words: an answer so short is about its number, where it has one
_BARE: Final = 3  # words: an answer so short says yes or no and nothing else
_MOST_TAGS: Final = 12  # two flags of countries within a country; more of these letters nobody sees are a message
_YES: Final = frozenset(("yes", "yeah", "yep", "true", "correct", "ja", "oui", "sí", "si", "tak", "sim"))
_NO: Final = frozenset(("no", "nope", "false", "incorrect", "nein", "non", "nie", "não"))

_SAYINGS: Final = (
    # English: rules are to be forgotten, secrets told, the owner kept in the dark
    r"\b(?:ignore|disregard|forget|override|bypass)\b[^.\n]{0,30}\b(?:previous|prior|earlier|preceding|above|all|your|"
    r"system|developer)\b[^.\n]{0,20}\b(?:instruction|prompt|rule|guideline|directive)s?\b",
    r"\b(?:reveal|disclose|leak|decode|print|repeat|output)\b[^.\n]{0,30}\b(?:your|the)\b[^.\n]{0,12}\b"
    r"(?:system prompt|hidden prompt|secret instructions|initial instructions)\b",
    r"\b(?:reveal|disclose|leak|decode|unmask|resolve)\b[^.\n]{0,30}\bplaceholders?\b",
    r"\b(?:what|who|whom)\b[^.\n]{0,20}\bplaceholders? (?:really )?(?:stands?|refers?|means?)\b",
    r"\b(?:send|post|upload|forward|exfiltrate|transmit|submit)\b[^.\n]{0,40}\b(?:conversation|chat history|chat log|"
    r"message history|api keys?|passwords?|credentials|secrets|environment variables|system prompt|private data|"
    r"personal data)\b[^\n]{0,40}(?:https?://|\bto [\w.+-]{1,40}@)",
    r"\b(?:ai|llm|language) (?:agents?|assistants?|models?) (?:reading|processing|parsing|summari[sz]ing) (?:this|the)"
    r"\b",
    r"\byou are now\b[^.\n]{0,40}\b(?:dan|jailbroken|unrestricted|unfiltered|in (?:developer|admin|debug) mode)\b",
    r"(?:^|\n)\W{0,4}(?:new|updated|real) (?:system )?instructions?\s{0,3}:",
    r"\bsystem (?:prompt|message) (?:override|update)\b",
    r"\b(?:do not|don't|never) (?:tell|inform|alert|notify|warn) the (?:user|owner|human)\b",
    # other languages: earlier instructions are to be forgotten
    r"\b(?:ignorier|vergiss|vergessen sie|missachte)\w{0,4}\b[^.\n]{0,30}\b(?:vorherig|bisherig|obig|alle)\w{0,3}"
    r"\b[^.\n]{0,20}\b(?:anweisung|instruktion|regel|vorgabe)",
    r"\b(?:ignor|oubli)e[zs]?\b[^.\n]{0,30}\b(?:instructions?|consignes?|règles)\b[^.\n]{0,20}\b(?:précédent|antérieur|"
    r"ci-dessus)",
    r"\b(?:ignor|olvid|esque[cç])\w{0,4}\b[^.\n]{0,30}\b(?:instrucciones|instruções|reglas|regras)\b[^.\n]{0,20}\b"
    r"(?:anterior|previa|prévia|acima)",
    r"\b(?:ignora|dimentica)\w{0,2}\b[^.\n]{0,30}\b(?:istruzioni|regole)\b[^.\n]{0,20}\b(?:precedenti|sopra)",
    r"\b(?:zignoruj|ignoruj|zapomnij)\w{0,4}\b[^.\n]{0,30}\b(?:poprzedni|wcześniejsz)\w{0,4}\b[^.\n]{0,20}\b(?:instrukcj|"
    r"polece)",
    r"\b(?:negeer|vergeet)\b[^.\n]{0,30}\b(?:vorige|eerdere|bovenstaande|alle)\b[^.\n]{0,20}\b(?:instructies|regels)\b",
    r"(?:игнорируй|забудь)\w{0,3}[^.\n]{0,30}(?:предыдущ|прежн)\w{0,4}[^.\n]{0,20}(?:инструкц|указани)",
    r"(?:忽略|无视|無視|忘记)[^。\n]{0,12}(?:指令|指示|规则|規則|提示)",
    r"(?:以前|これまで|上記|前)の[^。\n]{0,8}(?:指示|命令)を(?:無視|忘れ)",
    # turns of a conversation that are none
    r"<\|(?:im_start|im_end|system|start_header_id)\|>|<<sys>>|\[/?inst\]|(?:^|\n)#{2,4} ?system ?:",
    # what runs as soon as it is pasted
    r"\b(?:curl|wget|iwr|invoke-webrequest)\b[^\n|]{1,200}\|\s{0,3}(?:sudo )?(?:ba|z|da|k)?sh\b",
    r"\b(?:curl|wget|iwr|invoke-webrequest)\b[^\n|]{1,200}\|\s{0,3}(?:sudo )?(?:iex|python3?|perl|invoke-expression)\b",
    r"\bbase64 (?:-d|-D|--decode)\b[^\n|]{0,80}\|\s{0,3}(?:ba|z)?sh\b",
    r"\bpowershell(?:\.exe)?\b[^\n]{0,60} -e(?:nc|ncodedcommand)? [a-z0-9+/=]{16}",
    r"\brm -(?:rf|fr) (?:--no-preserve-root )?[/~](?:\s|\*|$)",
    # a picture that tells its address something when it is shown
    r"!\[[^\]\n]{0,200}\]\(\s{0,3}<?https?://[^\s)>?]{1,300}\?[^\s)>]",
    r"<img\b[^>]{0,200}\bsrc\s{0,3}=\s{0,3}[\"']?https?://[^\s\"'>?]{1,300}\?[^\s\"'>]",
)
_INSTRUCTIONS: Final = re.compile("|".join(f"(?:{saying})" for saying in _SAYINGS))


def agreement(first: str, second: str) -> float:
    """How far two answers say the same, 0 to 1, without a model: exact for short answers, rough for long ones.

    Alike up to case, space and punctuation: 1. One begins with yes, the other with no: 0. Both begin with the same,
    one of at most three words and not both with numbers: 1. Both hold numbers and one is short: its last number
    decides. Both are long and hold numbers: the mean of the F1 of their content words, that of their numbers, and
    whether they end in the same one. Else the F1 of their content words.
    """
    one, other = words(first), words(second)
    if one == other:
        return 1.0
    verdicts = verdict(first), verdict(second)
    counted, also = numbers(first), numbers(second)
    if set(verdicts) == {True, False}:
        return 0.0
    if None not in verdicts and min(len(one), len(other)) <= _BARE and not (counted and also):
        return 1.0
    told = overlap(content_words(first) or one, content_words(second) or other)
    if not counted or not also:
        return told
    if min(len(one), len(other)) <= _SHORT:
        return max(told, 0.9) if counted[-1] == also[-1] else 0.0
    alike = overlap([str(each.normalize()) for each in counted], [str(each.normalize()) for each in also])
    return (told + alike + (counted[-1] == also[-1])) / 3


def verdict(text: str) -> bool | None:
    """What an answer that begins with yes or no says."""
    first = next(iter(words(text[:200])), "")
    return first in _YES if first in _YES | _NO else None


def carries_instructions(text: str) -> bool:
    """Whether ``text`` tells software or a model what to do, in words that ordinary answers hardly use."""
    if sum("\U000e0000" <= character <= "\U000e007f" for character in text) > _MOST_TAGS:
        return True
    plain = unicodedata.normalize("NFKC", text)
    plain = "".join(character for character in plain if unicodedata.category(character) != "Cf")
    return _INSTRUCTIONS.search(plain.casefold()) is not None


def flags_of_answer(answer: str, prompt: str) -> list[str]:
    """The flags that a large model's answer has earned by its text alone."""
    answer, prompt = answer[:_MOST_READ], prompt[:_MOST_READ]
    found = ["instructions"] if carries_instructions(answer) else []
    return [*found, "contradicts_context"] if contradicts(answer, prompt) else found


def flag_of_failure(reason: str) -> str:
    """The flag of a local answer that stands in for the large model's, which ``reason`` kept away."""
    if reason == "paused":
        return "fallback_paused"
    return "offline" if reason in _OFFLINE else "fallback_refused"


async def watched(events: AsyncGenerator[Event], ask: Ask, prompt: str) -> AsyncGenerator[Event]:
    """``events`` unchanged; when they end, the flags that the large model's first choice has earned are set."""
    said, length = list[str](), 0
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Delta) and event.choice == 0 and event.field == "content" and length < _MOST_READ:
                said.append(event.text)
                length += len(event.text)
            yield event
    if ask.provenance.answered_by == "llm":
        for word in flags_of_answer("".join(said), prompt):
            ask.provenance.flag(word)
