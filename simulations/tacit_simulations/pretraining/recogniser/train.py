"""Fine-tune a small encoder into the recogniser of personal information. Seeded, resumable, on any CPU."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.detection.recogniser.features import CLS, LABELS, SEP, TYPES, Pieces, pieces
from tacit_privacy.randomness import stream
from tacit_simulations.pretraining.recogniser.card import write_card
from tacit_simulations.pretraining.recogniser.export import export
from tacit_simulations.pretraining.recogniser.tagger import Tagger
from tacit_simulations.pretraining.recogniser.texts import Example, open_sets, written
from tacit_simulations.pretraining.recogniser.variety import Names, varied

SEED = 23
WINDOW = 192  # pieces of one row
TOKENS = 4096  # pieces of one step, padding counted
STEP = 16  # lengths of rows are multiples of it
PEAK, DECAY, FORGET = 2.5e-4, 0.01, 0.995  # learning rate, weight decay, pull of the running average of weights
CHECKPOINT_EVERY = 100  # steps


@dataclass(frozen=True, slots=True)
class Row:
    """One window of one example; ``labels`` are ids into LABELS, ``open_types`` what "O" may hide there."""

    ids: NDArray[np.int64]
    shapes: NDArray[np.int64]
    labels: NDArray[np.int64]
    open_types: NDArray[np.bool_]  # (labels,): true for labels that an unmarked piece may have after all


def labelled(read: Pieces, example: Example) -> NDArray[np.int64]:
    """The label of every piece: B at the first of an entity, I at those after it, O elsewhere."""
    labels = np.zeros(len(read.ids), dtype=np.int64)
    for start, end, kind in example.spans:
        inside = np.flatnonzero((read.starts < end) & (read.ends > start))
        if len(inside):
            begin = 1 + 2 * TYPES.index(kind)
            labels[inside] = begin + 1
            labels[inside[read.words[inside] == read.words[inside[0]]]] = begin
    return labels


def windows(read: Pieces, labels: NDArray[np.int64], example: Example, rng: np.random.Generator) -> Iterator[Row]:
    """The example in windows whose borders differ from epoch to epoch."""
    hidden = np.array([label != "O" and label[2:] not in example.known for label in LABELS])
    start = 0
    while start < len(read.ids):
        size = WINDOW - 2 if len(read.ids) - start < WINDOW else int(rng.integers(WINDOW // 2, WINDOW - 2))
        part = slice(start, start + size)
        yield Row(read.ids[part], read.shapes[part], labels[part], hidden)
        start += size


class Epochs:
    """Batches of examples, varied anew in each epoch; what an epoch holds depends on its number alone."""

    def __init__(self, examples: Sequence[Example], tokenizer: Tokenizer) -> None:
        self._examples, self._tokenizer, self._names = examples, tokenizer, Names.of(examples)

    def batches(self, number: int) -> list[list[Row]]:
        """All of one epoch: rows of like length together, in random order."""
        rng = stream(SEED, "epoch", number)
        chosen = [varied(example, self._names, rng) for example in self._examples]
        rows = [
            row
            for example, read in zip(chosen, pieces(self._tokenizer, [e.text for e in chosen]), strict=True)
            for row in windows(read, labelled(read, example), example, rng)
        ]
        rows.sort(key=lambda row: len(row.ids) + int(rng.integers(0, 8)))
        batches: list[list[Row]] = [[]]
        longest = 0
        for row in rows:
            longest = max(longest, width(row))
            if batches[-1] and (len(batches[-1]) + 1) * longest > TOKENS:
                batches.append([])
                longest = width(row)
            batches[-1].append(row)
        return [batches[index] for index in rng.permutation(len(batches))]


def width(row: Row) -> int:
    """Places that a row takes: its pieces and two special ones, in steps. Every new shape is compiled, and kept."""
    return -(-(len(row.ids) + 2) // STEP) * STEP


def padded(batch: Sequence[Row], start: int, stop: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Ids, shapes, mask, labels (-1 where there is nothing to learn) and hidden types, with the special pieces."""
    longest = max(width(row) for row in batch)
    ids, shapes, mask = (torch.zeros(len(batch), longest, dtype=torch.long) for _ in range(3))
    labels = torch.full((len(batch), longest), -1)
    for index, row in enumerate(batch):
        size = len(row.ids)
        ids[index, 0], ids[index, size + 1] = start, stop
        ids[index, 1 : size + 1] = torch.from_numpy(row.ids)
        shapes[index, 1 : size + 1] = torch.from_numpy(row.shapes)
        labels[index, 1 : size + 1] = torch.from_numpy(row.labels)
        mask[index, : size + 2] = 1
    return ids, shapes, mask, labels, torch.from_numpy(np.stack([row.open_types for row in batch]))


def loss_of(scores: Tensor, labels: Tensor, hidden: Tensor) -> Tensor:
    """Cross entropy; an unmarked piece may as well be of a type that its source does not mark (a partial label)."""
    logp = scores.float().log_softmax(-1)  # (rows, pieces, labels)
    allowed = hidden.clone()
    allowed[:, 0] = True
    outside = logp.masked_fill(~allowed[:, None, :], -torch.inf).logsumexp(-1)
    inside = logp.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    chosen = torch.where(labels == 0, outside, inside)
    return -chosen[labels >= 0].mean()


def rate(step: int, steps: int) -> float:
    """Linear warm-up over a tenth, then a line down to nothing."""
    done = step / max(1, steps)
    return PEAK * min(done / 0.1, (1 - done) / 0.9) if step else PEAK / max(1, steps)


def train(
    out: Path, encoder: Path, data: Path | None, epochs: int, threads: int, resume: bool, tell: Callable[[str], None]
) -> Path:
    """Train for ``epochs``, write what ships and its card into ``out``. A checkpoint there lets ``resume`` go on.

    ``encoder`` is a folder with all-MiniLM-L6-v2 or another uncased BERT. Raises BadInput where it is none.
    """
    if not all((encoder / name).is_file() for name in ("config.json", "tokenizer.json", "model.safetensors")):
        raise BadInput(
            f"{encoder} is no folder of a BERT encoder with config.json, tokenizer.json and model.safetensors"
        )
    mine, others = list(written()), list(open_sets(data))
    tagger = fit(out, encoder, [*mine, *mine, *mine, *others], epochs, threads, resume, tell)
    export(tagger, encoder, out)
    parameters = sum(weights.numel() for weights in tagger.parameters())
    write_card(out, encoder, mine, others, epochs, SEED, parameters)
    return out


def fit(
    out: Path,
    encoder: Path,
    examples: Sequence[Example],
    epochs: int,
    threads: int,
    resume: bool,
    tell: Callable[[str], None],
) -> Tagger:
    """Fine-tune on ``examples``; returns the tagger whose weights are the running average."""
    torch.manual_seed(SEED)
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    start, stop = CLS, SEP
    tell(f"{len(examples)} examples")
    source = Epochs(examples, tokenizer)
    model = Tagger(encoder)
    kept = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(_groups(model), betas=(0.9, 0.98))
    first = _restore(out / "checkpoint.pt", model, kept, optimizer) if resume else 0
    step, began, losses = 0, time.monotonic(), [0.0]
    steps = epochs * len(source.batches(0))
    for epoch in range(epochs):
        for batch in source.batches(epoch):
            step += 1
            if step <= first:
                continue
            losses.append(_learn(model, optimizer, padded(batch, start, stop), rate(step, steps)))
            pull = min(FORGET, step / (step + 10))
            with torch.no_grad():
                for ours, theirs in zip(kept.parameters(), model.parameters(), strict=True):
                    ours.lerp_(theirs, 1 - pull)
            if step % 50 == 0:
                speed = (step - first) * TOKENS / (time.monotonic() - began)
                tell(f"epoch {epoch + 1} step {step}/{steps} loss {np.mean(losses[-50:]):.4f} {speed:.0f} pieces/s")
            if step % CHECKPOINT_EVERY == 0:
                _save(out / "checkpoint.pt", model, kept, optimizer, step)
    _save(out / "checkpoint.pt", model, kept, optimizer, step)
    return kept.eval()


def _groups(model: Tagger) -> list[dict[str, object]]:
    """The new layers learn faster; layer norms and biases do not decay."""
    new = [p for name, p in model.named_parameters() if not name.startswith("bert.")]
    old = [p for name, p in model.named_parameters() if name.startswith("bert.")]
    return [
        {"params": [p for p in old if p.ndim > 1], "weight_decay": DECAY, "times": 1.0},
        {"params": [p for p in old if p.ndim <= 1], "weight_decay": 0.0, "times": 1.0},
        {"params": new, "weight_decay": DECAY, "times": 4.0},
    ]


def _learn(model: Tagger, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, ...], speed: float) -> float:
    ids, shapes, mask, labels, hidden = batch
    for group in optimizer.param_groups:
        group["lr"] = speed * group["times"]
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = model(ids, shapes, mask)
    loss = loss_of(scores, labels, hidden)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def _save(path: Path, model: Tagger, kept: Tagger, optimizer: torch.optim.Optimizer, step: int) -> None:
    beside = path.with_name(f".{path.name}")
    state = {"model": model.state_dict(), "kept": kept.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, beside)
    beside.replace(path)


def _restore(path: Path, model: Tagger, kept: Tagger, optimizer: torch.optim.Optimizer) -> int:
    if not path.is_file():
        return 0
    saved = torch.load(path, weights_only=True)
    model.load_state_dict(saved["model"])
    kept.load_state_dict(saved["kept"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])
