"""From an example to token ids, for any tokenizer: one place decides what a model sees."""

from dataclasses import dataclass
from typing import Any

from tacit_clients.training.examples import Example, Task

ACT, END, PAD = "<|act|>", "<|end|>", "<|pad|>"


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, and the position of the first token that counts as a target."""

    ids: list[int]
    target_start: int


def encode(tokenizer: Any, example: Example, task: Task, max_length: int) -> Encoded:
    """Ids of at most ``max_length`` tokens. A prompt that is too long loses its beginning, never its target.

    INSTRUCT: prompt, separator, target, end. LANGUAGE: begin, text, end; every token but the first is a target.
    CLASSIFY: the prompt with whatever the tokenizer puts around a sentence; no token is a target.
    """
    match task:
        case Task.CLASSIFY:
            ids = list(tokenizer(example.prompt, truncation=True, max_length=max_length)["input_ids"])
            return Encoded(ids, len(ids))
        case Task.LANGUAGE:
            ids = [_begin(tokenizer), *_ids(tokenizer, example.prompt), _end(tokenizer)]
            return Encoded(ids[:max_length], 1)
        case Task.INSTRUCT:
            target = [*_ids(tokenizer, " " + example.target), _end(tokenizer)][: max_length - 2]
            room = max_length - len(target) - 1
            prompt = _ids(tokenizer, example.prompt)[-room:]
            ids = [*prompt, _separator(tokenizer), *target]
            return Encoded(ids, len(prompt) + 1)


def encode_question(tokenizer: Any, prompt: str) -> list[int]:
    """Ids after which a model trained on INSTRUCT rows answers. ``prompt`` is text: a special token in it is none."""
    ids = tokenizer(prompt, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*ids, _separator(tokenizer)]


def encode_answer(tokenizer: Any, answer: str) -> list[int]:
    """Ids of an INSTRUCT row's target without its end. ``answer`` is text: a special token in it is none."""
    return list(tokenizer(" " + answer, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def end_of_answer(tokenizer: Any) -> int:
    """The id that ends the target of an INSTRUCT row."""
    return _end(tokenizer)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _separator(tokenizer: Any) -> int:
    """The model's own separator, else its newline, else its end of text."""
    if ACT in tokenizer.get_vocab():
        return int(tokenizer.convert_tokens_to_ids(ACT))
    newline = _ids(tokenizer, "\n")
    return newline[-1] if newline else _end(tokenizer)


def _end(tokenizer: Any) -> int:
    for candidate in (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0


def _begin(tokenizer: Any) -> int:
    for candidate in (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0
