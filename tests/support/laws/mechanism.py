"""Laws of what is released: clipping, weights, denominators, noise, devices that fail."""

import random
import sys

import numpy as np

from laws.oracle import attained_by_attack
from laws.subject import Finding, Floats, Law, Subject, Verdict

_STEP = 1e-9


def adaptive_clip(subject: Subject) -> Finding:
    """From below and from above the clip norm comes within a quarter of the norm that every update has."""
    ends = {start: subject.adapted_clip(start, norm=1.0, devices=20, rounds=30) for start in (0.1, 10.0)}
    kept = all(0.75 <= end <= 1.25 for end in ends.values())
    shown = ", ".join(f"{start:g} becomes {end:.3g}" for start, end in ends.items())
    return Finding("keeps" if kept else "breaks", shown, {f"from {start:g}": end for start, end in ends.items()})


def bad_updates(subject: Subject) -> Finding:
    """One zero, infinite, undefined or huge update costs its sender, and changes nothing of what the others sent."""
    others: list[Floats | None] = [np.array([0.5, 0.0]) for _ in range(4)]
    told, figures = [], {}
    for name, value in (("zero", 0.0), ("NaN", np.nan), ("infinity", np.inf), ("1e200", 1e200)):
        try:
            with np.errstate(all="ignore"):
                mean = subject.mean([*others, np.array([0.0, value])], [1] * 5, 5, clip=1.0, noise=0.0)
        except (ArithmeticError, ValueError) as error:
            fate = f"the round is lost to {type(error).__name__}"
        else:
            fate = _fate(mean)
        told.append(f"{name}: {fate}")
        figures[name] = float(fate == "fine")
    return Finding("keeps" if all(figures.values()) else "breaks", "; ".join(told), figures)


def _fate(mean: Floats | None) -> str:
    if mean is None:
        return "the round is given up"
    if not np.isfinite(mean).all():
        return "NaN is released"
    if abs(mean[0] - 0.4) > 1e-5 or abs(mean[1]) > 0.2 + 1e-5:
        return f"the others' 0.4 becomes {mean[0]:.3g}"
    return "fine"


def unequal_weights(subject: Subject) -> Finding:
    """One device says that it has 91 examples, nine that they have one: the noise covers the one as it was declared."""
    weights = [91.0] + [1.0] * 9
    return _covered(subject, weights, planned=10, answering=10, failing=0)


def absent_devices(subject: Subject) -> Finding:
    """Ten are asked. One error does not cost the round; where five never answer, the noise covers the others."""
    one = _covered(subject, [1.0] * 10, planned=10, answering=9, failing=1)
    half = _covered(subject, [1.0] * 10, planned=10, answering=5, failing=0)
    verdict: Verdict = "keeps" if one.verdict == half.verdict == "keeps" else "breaks"
    figures = {"one error": one.figures["z"], "half absent": half.figures["z"]}
    return Finding(verdict, f"one error: {one.shown}; half absent: {half.shown}", figures)


def _covered(subject: Subject, weights: list[float], planned: int, answering: int, failing: int) -> Finding:
    """Noise over what the first device can do to the mean, where a noise multiplier of 1 is declared."""
    size = 20_000
    small = np.full(size, _STEP)

    def mean(first: float, noise: float) -> Floats | None:
        vector = np.zeros(size)
        vector[0] = first
        updates: list[Floats | None] = [vector, *[small] * (answering - 1), *[None] * failing]
        return subject.mean(updates, weights[: len(updates)], planned, clip=1.0, noise=noise)

    try:
        up, down, noised = mean(1.0, 0.0), mean(-1.0, 0.0), mean(1.0, 1.0)
    except ValueError as error:
        return Finding("keeps", f"refused: {error}", {"z": 1.0})
    if up is None or down is None or noised is None:
        return Finding("breaks", "the round is given up", {"z": 0.0})
    influence = float(np.linalg.norm(up - down)) / 2
    z = float(np.std(noised - up)) / influence
    return Finding("keeps" if z >= 0.97 else "breaks", f"noise multiplier {z:.2f} of the declared 1", {"z": z})


def public_denominator(subject: Subject) -> Finding:
    """Data sets of two and three examples differ by one; the release tells them apart no better than is claimed."""
    count, noise, dimension = 400, 4.0, 64
    two, claimed = subject.example_releases(2, noise, dimension, count)
    three, also = subject.example_releases(3, noise, dimension, count)
    claimed = max(claimed, also)
    spread = np.sort([np.square(two).mean(), np.square(three).mean()])
    larger, smaller = (two, three) if np.square(two).mean() > np.square(three).mean() else (three, two)
    threshold = float(spread.mean())
    hits, false = (int((np.square(part).mean(axis=1) > threshold).sum()) for part in (larger, smaller))
    attained = attained_by_attack(hits, false, count, 1e-5)
    ratio = float(np.sqrt(spread[1] / spread[0]))
    shown = f"claimed {claimed:.2f}, attained {attained:.2f}; the scale differs {ratio:.2f}-fold"
    kept = attained <= claimed and ratio < 1.1
    return Finding("keeps" if kept else "breaks", shown, {"claimed": claimed, "attained": attained})


def noise_from_the_system(subject: Subject) -> Finding:
    """Noise cannot be drawn again by whoever seeds every global generator alike, and lies on a public grid."""
    (first, step), (again, _) = (_seeded(subject) for _ in range(2))
    repeats = bool(np.array_equal(first, again))
    gridded = step is not None and bool(np.allclose(first / step, np.round(first / step), rtol=0, atol=1e-6))
    shown = f"{'repeats' if repeats else 'never repeats'}; {f'a grid of {step:.3g}' if gridded else 'no grid'}"
    return Finding("keeps" if gridded and not repeats else "breaks", shown, {"repeats": repeats, "grid": gridded})


def _seeded(subject: Subject) -> tuple[Floats, float | None]:
    random.seed(7)
    np.random.seed(7)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(7)
    return subject.drawn_noise(64)


LAWS = (
    Law(
        "adaptive-clip",
        "An adaptive clip converges from both sides",
        "20 devices whose updates all have norm 1, quantile 0.5, rate 0.2, no noise, 30 rounds, from 0.1 and from 10.",
        "Andrew et al. 2021, arXiv:1905.03871, Alg. 1: b = 1 where norm <= C; C <- C exp(-eta (b - gamma)).",
        "adapted_clip",
        adaptive_clip,
    ),
    Law(
        "bad-updates",
        "A zero, NaN, infinite or huge update costs its sender alone",
        "Five devices, clip norm 1, no noise: four send (0.5, 0), the fifth (0, x) for x = 0, NaN, infinity, 1e200.",
        "Clipping is min(1, C / norm) (Abadi et al. 2016, Alg. 1), which is no number for these.",
        "mean",
        bad_updates,
    ),
    Law(
        "unequal-weights",
        "Noise covers the heaviest device",
        "Ten devices, one with 91 examples and nine with one, clip norm 1, declared noise multiplier 1, d = 20,000.",
        "Sensitivity of a weighted mean is C max(w) / sum(w) (McMahan et al. 2018, arXiv:1710.06963, Sec. 3).",
        "mean",
        unequal_weights,
    ),
    Law(
        "absent-devices",
        "A round survives its devices, with all of its noise",
        "Ten devices asked. Nine answer and one sends an error; then five answer and five say nothing.",
        "The denominator must be a public constant, or fewer answers raise everybody's influence "
        "(McMahan et al. 2018, arXiv:1710.06963, Lemma 1: fixed-denominator estimator).",
        "mean",
        absent_devices,
    ),
    Law(
        "public-denominator",
        "Tiny data sets do not show through the denominator",
        "Example-level training, 2 or 3 examples, batches of 2, zero gradients, z = 4, 64 parameters, 400 first steps; "
        "the test is the size of the step, its lower bound by Clopper and Pearson at 95 %.",
        "https://github.com/meta-pytorch/opacus/issues/571 and /819",
        "example_releases",
        public_denominator,
    ),
    Law(
        "noise-source",
        "Noise comes from the operating system, on a public grid",
        "Every global generator seeded alike, 64 draws of standard deviation 1, twice.",
        "Mironov 2012 (floating-point noise shows its input); Canonne, Kamath and Steinke 2020 (discrete Gaussian).",
        "drawn_noise",
        noise_from_the_system,
    ),
)
