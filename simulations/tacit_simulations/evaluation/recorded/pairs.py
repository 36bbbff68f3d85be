"""What pairs of real models said to the same prompts, and whether it was right: public records, read where they lie.

Right or wrong is a number from 0 to 1 for each prompt. Texts of GSM8K are graded here, by the last number of what they
state against that of the recorded solution; where only a grade was published, or one that routers are compared by, it
stands. Four sets share the questions of GSM8K's test part: what was fitted on one must not be reported on another.
"""

import csv
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.recorded.reading import last_number, numbers, read

Vector = NDArray[np.float64]

ZEROEVAL: Final = {  # short names of the models whose outputs are recorded, and their files
    "gemma-2-2b": "gemma-2-2b-it",
    "Phi-3.5-mini": "Phi-3.5-mini-instruct",
    "Qwen2-7B": "Qwen2-7B-Instruct",
    "Llama-3.1-8B": "Meta-Llama-3.1-8B-Instruct",
    "Llama-3.1-70B": "Meta-Llama-3.1-70B-Instruct",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4o": "gpt-4o-2024-08-06",
}
ZEROEVAL_PAIRS: Final = (
    ("gemma-2-2b", "gpt-4o"),
    ("gemma-2-2b", "Llama-3.1-8B"),
    ("Phi-3.5-mini", "gpt-4o"),
    ("Qwen2-7B", "gpt-4o-mini"),
    ("Llama-3.1-8B", "Llama-3.1-70B"),
)
_MIXTRAL: Final = "mistralai/Mixtral-8x7B-Instruct-v0.1"
_GPT4: Final = "gpt-4-1106-preview"
_MOST_POINTS: Final = 10  # of MT-Bench's judge


@dataclass(frozen=True, slots=True)
class RecordedPair:
    """``slm`` and ``llm``: (n,), how right each answer was, 0 to 1. ``groups``: subjects, if known. Raises BadInput."""

    name: str
    prompts: tuple[str, ...]
    slm: Vector
    llm: Vector
    slm_answers: tuple[str, ...] | None = None
    llm_answers: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        columns = (self.slm, self.llm, self.slm_answers, self.llm_answers, self.groups)
        if any(len(column) != len(self.prompts) for column in columns if column is not None):
            raise BadInput(f"{self.name}: {len(self.prompts)} prompts, and not as many grades, answers or groups")
        grades = np.concatenate([self.slm, self.llm])
        if not len(grades) or not np.all((grades >= 0) & (grades <= 1)):
            raise BadInput(f"{self.name}: no prompts, or a grade that is no number from 0 to 1")

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def helps(self) -> NDArray[np.bool_]:
        """(n,): the large model was the better one."""
        return np.asarray(self.llm > self.slm, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class RecordedCrowd:
    """Several models on the same prompts. ``answers``: one row a model; ``right``: (n, models), 0 or 1."""

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    right: Vector

    def pair(self, slm: str, llm: str) -> RecordedPair:
        """Two of them. Raises BadInput for a model that is not there."""
        one, other = self._at(slm), self._at(llm)
        return RecordedPair(
            f"{slm} and {llm}",
            self.prompts,
            self.right[:, one],
            self.right[:, other],
            self.answers[one],
            self.answers[other],
        )

    def of(self, models: Sequence[str]) -> "RecordedCrowd":
        """Some of them, in that order. Raises BadInput for a model that is not there."""
        chosen = [self._at(name) for name in models]
        answers = tuple(self.answers[at] for at in chosen)
        return RecordedCrowd(self.prompts, tuple(models), answers, self.right[:, chosen])

    def _at(self, name: str) -> int:
        if name not in self.models:
            raise BadInput(f"no model {name} among {', '.join(self.models)}")
        return self.models.index(name)


def number_match(answer: str, solution: str) -> bool:
    """Whether ``answer`` states the number that ``solution`` ends in, as GSM8K is graded."""
    said, gold = read(answer).number, last_number(solution)
    return said is not None and gold is not None and abs(said - gold) < 1e-6


# --- GSM8K's test questions


def gsm8k_6b_175b(folder: Path) -> list[RecordedPair]:
    """GPT-3 of 6B and of 175B parameters, fine-tuned; as they are, and with a verifier's choice of 100 samples."""
    rows = _lines(folder / "example_model_solutions.jsonl")
    prompts = tuple(row["question"] for row in rows)

    def graded(key: str) -> tuple[tuple[str, ...], Vector]:
        said = tuple(row[key]["solution"] for row in rows)
        return said, _vector([number_match(text, row["ground_truth"]) for text, row in zip(said, rows, strict=True)])

    pairs = []
    for kind in ("finetuning", "verification"):
        (small, slm), (large, llm) = (graded(f"{size}_{kind}") for size in ("6b", "175b"))
        pairs.append(RecordedPair(f"GPT-3 6B and 175B, {kind}", prompts, slm, llm, small, large))
    return pairs


def zeroeval_gsm(folder: Path) -> RecordedCrowd:
    """Seven models from 2B parameters to gpt-4o, greedy, asked for reasoning and answer as JSON (ZeroEval)."""
    rows = [_zipped(folder / "raw" / f"{file}.json.gz") for file in ZEROEVAL.values()]
    asked = {row["id"]: row for row in rows[0]}
    outputs = [{row["id"]: str(row["output"][0]) for row in each} for each in rows]
    shared = [key for key in asked if all(key in each for each in outputs)]
    answers = tuple(tuple(each[key] for key in shared) for each in outputs)
    gold = [str(asked[key]["answer"]) for key in shared]
    right = [[number_match(text, last) for text, last in zip(each, gold, strict=True)] for each in answers]
    return RecordedCrowd(tuple(asked[key]["question"] for key in shared), tuple(ZEROEVAL), answers, _vector(right).T)


def _zeroeval_pairs(folder: Path) -> list[RecordedPair]:
    crowd = zeroeval_gsm(folder)
    return [crowd.pair(*names) for names in ZEROEVAL_PAIRS]


def routellm_gsm8k(folder: Path) -> RecordedPair:
    """Mixtral-8x7B and GPT-4 with RouteLLM's own grades, less the prompts that its training data contains."""
    seen = {row["eval_prompt"] for row in _lines(folder / "contaminated_prompts.jsonl")}
    rows = [row for row in _table(folder / "gsm8k_responses.csv") if row["prompt"] not in seen]
    small, large = (tuple(row[f"{model}_response"] for row in rows) for model in (_MIXTRAL, _GPT4))
    slm, llm = (_vector([row[model] == "True" for row in rows]) for model in (_MIXTRAL, _GPT4))
    return RecordedPair("Mixtral-8x7B and GPT-4, GSM8K", tuple(row["prompt"] for row in rows), slm, llm, small, large)


def regraded(pair: RecordedPair, solutions: Mapping[str, str]) -> RecordedPair:
    """``pair`` with a right answer wherever its last line states the solution's number, by whatever grader's rule.

    RouteLLM's grader goes by the last number, which of "$30 for the 5 lamps" is the 5, mostly to GPT-4's cost. Raises
    BadInput for texts or solutions that are missing.
    """
    missing = sum(prompt.strip() not in solutions for prompt in pair.prompts)
    if missing or pair.slm_answers is None or pair.llm_answers is None:
        raise BadInput(f"{pair.name}: answers to grade are missing, or the solutions of {missing} prompts")
    gold = [last_number(solutions[prompt.strip()]) for prompt in pair.prompts]
    slm, llm = (
        _vector([_says(text, number) for text, number in zip(answers, gold, strict=True)])
        for answers in (pair.slm_answers, pair.llm_answers)
    )
    return replace(pair, name=f"{pair.name} regraded", slm=slm, llm=llm)


def _says(text: str, gold: float | None) -> bool:
    line = next((each for each in reversed(text.splitlines()) if each.strip()), "")
    stated = (*numbers(line.rpartition("=")[2] if "=" in line else line), read(text).number)
    return any(number is not None and gold is not None and abs(number - gold) < 1e-6 for number in stated)


def _routellm_gsm8k_pairs(folder: Path) -> list[RecordedPair]:
    """As graded, and regraded where the solutions lie beside it."""
    pair, solved = routellm_gsm8k(folder), folder.parent / "gsm8k_6b_175b" / "example_model_solutions.jsonl"
    if not solved.is_file():
        return [pair]
    return [pair, regraded(pair, {row["question"].strip(): row["ground_truth"] for row in _lines(solved)})]


# --- other questions


def routellm_mmlu(folder: Path) -> RecordedPair:
    """Mixtral-8x7B and GPT-4 on the subjects of MMLU in ``folder``: right or wrong only; groups are subjects."""
    tables = [(path.stem.removeprefix("mmlu_"), _table(path)) for path in sorted(folder.glob("mmlu_*.csv"))]
    rows = [(subject, row) for subject, table in tables for row in table]
    slm, llm = (_vector([row[model] == "True" for _, row in rows]) for model in (_MIXTRAL, _GPT4))
    prompts, subjects = tuple(row["prompt"] for _, row in rows), tuple(subject for subject, _ in rows)
    return RecordedPair("Mixtral-8x7B and GPT-4, MMLU", prompts, slm, llm, groups=subjects)


def routellm_mtbench(folder: Path) -> RecordedPair:
    """Mixtral-8x7B and GPT-4 on MT-Bench: the judge's points of both turns over 10, prompt and answers of the first."""
    seen = {row["eval_prompt"].strip() for row in _lines(folder / "contaminated_prompts.jsonl")}
    points: dict[tuple[int, str], list[float]] = {}
    said: dict[tuple[int, str], tuple[str, str]] = {}
    for row in _lines(folder / "judgements.jsonl"):
        key = int(row["question_id"]), str(row["model"])
        points.setdefault(key, []).append(float(row["score"]) / _MOST_POINTS)
        if row["turn"] == 1:
            said[key] = _first_turn(row["user_prompt"])
    questions = sorted({number for number, _ in said if said[number, _GPT4][0] not in seen})
    slm, llm = (_vector([np.mean(points[number, model]) for number in questions]) for model in (_MIXTRAL, _GPT4))
    small, large = (tuple(said[number, model][1] for number in questions) for model in (_MIXTRAL, _GPT4))
    prompts = tuple(said[number, _GPT4][0] for number in questions)
    return RecordedPair("Mixtral-8x7B and GPT-4, MT-Bench", prompts, slm, llm, small, large)


def _first_turn(shown: str) -> tuple[str, str]:
    """Question and answer in what the judge was shown of the first turn; never the reference that it was shown too."""
    _, _, rest = shown.partition("[Question]\n")
    question, _, rest = rest.partition("\n[The Start of Assistant's Answer]\n")
    question = question.partition("\n[The Start of Reference Answer]")[0]
    return question.strip(), rest.partition("\n[The End of Assistant's Answer]")[0].strip()


# --- all of them


def public_pairs(data: Path) -> list[RecordedPair]:
    """Every recorded pair that lies in ``data``. Raises BadInput on none."""
    if not data.is_dir():
        raise BadInput(f"{data} is no folder; TACIT_DATA names the one above the public sets")
    known: dict[str, Callable[[Path], list[RecordedPair]]] = {
        "gsm8k_6b_175b": gsm8k_6b_175b,
        "zeroeval_gsm": _zeroeval_pairs,
        "routellm_gsm8k": _routellm_gsm8k_pairs,
        "routellm_mmlu": lambda folder: [routellm_mmlu(folder)],
        "routellm_mtbench": lambda folder: [routellm_mtbench(folder)],
    }
    found = [pair for name, load in known.items() if (data / name).is_dir() for pair in load(data / name)]
    if not found:
        raise BadInput(f"none of {', '.join(known)} lies in {data}")
    return found


def _vector(values: Sequence[Any]) -> Vector:
    return np.asarray(values, dtype=np.float64)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _zipped(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = json.load(file)
    return rows


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
