"""Laws of what epsilon is said to be."""

import math
from collections.abc import Sequence

from laws.oracle import attained_sampled, exact_gaussian
from laws.subject import Finding, Law, NotOffered, Question, Subject, Verdict

_TIGHT = 1.01  # up to here an upper bound counts as the value itself
_UNDER = 0.999  # below this share of what is attained, it is no upper bound
FIXED = Question(1.0, 1000, 1e-6, "uniform", 100, 10_000, "replace-one")
POISSON = Question(1.0, 1000, 1e-6, "poisson", 100, 10_000)
HARD = (
    Question(1.0, 1000, 1e-18, "poisson", 100, 10_000),
    Question(7.0, 2000, 1e-10, "poisson", 200, 1000),
    Question(1.0, 500, 1e-5, "poisson", 200, 1000),
    Question(0.5, 10, 1e-6, "poisson", 500, 1000),
    Question(100.0, 1, 1e-3, "poisson", 10, 10_000),
)


def exact_composition(subject: Subject) -> Finding:
    """Without sampling, epsilon is the exact Gaussian value."""
    asked = (
        (Question(1 / math.sqrt(2 * 0.81), 1, 1e-10), math.sqrt(2 * 0.81)),
        (Question(4.0, 50, 1e-6), math.sqrt(50) / 4),
    )
    return _against(subject, [(question, exact_gaussian(mu, question.delta)) for question, mu in asked])


def fixed_cohort(subject: Subject) -> Finding:
    """A cohort of fixed size is never accounted as a Poisson one: epsilon is at least what an adversary attains.

    All others send -C; the device sends +C or -C. In a round it is in with q = m / n the sums differ by 2C.
    """
    attained = attained_sampled(
        FIXED.noise_multiplier / 2, FIXED.cohort / FIXED.population, FIXED.rounds, FIXED.delta, grid=1e-4
    )
    return _against(subject, [(FIXED, attained)])


def fixed_cohort_without_amplification(subject: Subject) -> Finding:
    """Where a device that goes is replaced by another, its influence on the sum of a fixed cohort is 2C."""
    question = Question(4.0, 50, 1e-6, "fixed", 100, 1000, "replace-one")
    return _against(subject, [(question, exact_gaussian(2 * math.sqrt(50) / 4, question.delta))])


def replace_one(subject: Subject) -> Finding:
    """All accountants of a system mean the same by a Gaussian under replace-one, and it is the exact value."""
    question = Question(1.0, 1, 1e-6, adjacency="replace-one")
    return _against(subject, [(question, exact_gaussian(2.0, question.delta))])


def poisson_bound(subject: Subject) -> Finding:
    """Whatever is called epsilon of a Poisson-sampled run is an upper bound, and one of them is tight."""
    return _against(subject, [(POISSON, attained_sampled(1.0, 0.01, 1000, 1e-6, grid=4e-5))])


def _against(subject: Subject, asked: Sequence[tuple[Question, float]]) -> Finding:
    """Breaks where any accountant is below what is attained; keeps where one is tight on each question."""
    figures: dict[str, float] = {}
    told: list[str] = []
    verdict: Verdict = "keeps"
    for question, attained in asked:
        found = {name: value for name, value in subject.epsilon(question).items() if isinstance(value, float)}
        if not found:
            raise NotOffered("refuses the question")
        if min(found.values()) < attained * _UNDER:
            verdict = "breaks"
        elif verdict == "keeps" and min(found.values()) > attained * _TIGHT:
            verdict = "loose"
        told.append(", ".join(f"{name} {value:.2f}" for name, value in found.items()) + f" where {attained:.2f} is due")
        figures |= {f"{name} at {question}": value for name, value in found.items()}
    return Finding(verdict, "; ".join(told), figures)


def equal_releases(subject: Subject) -> Finding:
    """Five equal releases cost the same composed at once and one by one."""
    found = [(what, once, single) for what, once, single in subject.compositions(5)]
    wrong = [(what, once, single) for what, once, single in found if abs(once - single) > 1e-3 * single]
    told = [f"{what}: {once:.4g} at once, {single:.4g} one by one" for what, once, single in wrong]
    shown = "; ".join(told) or f"{len(found)} kinds of release agree"
    return Finding("breaks" if wrong else "keeps", shown, {what: once / single for what, once, single in found})


def calibration(subject: Subject) -> Finding:
    """Noise that is chosen for epsilon 1, 16 and 32 at delta 1e-5 gives at most that."""
    true = {epsilon: exact_gaussian(1 / subject.calibrated_noise(epsilon, 1e-5), 1e-5) for epsilon in (1.0, 16.0, 32.0)}
    kept = all(found <= asked * 1.01 for asked, found in true.items())
    shown = ", ".join(f"{asked:g} gives {found:.3g}" for asked, found in true.items())
    return Finding("keeps" if kept else "breaks", shown, {f"asked {asked:g}": found for asked, found in true.items()})


def answers(subject: Subject) -> Finding:
    """Every question of sense gets an answer that is not below 0; an infinite one, or a clear refusal, is loose."""
    told, figures, of = [], {}, 0
    verdict: Verdict = "keeps"
    for question in HARD:
        for name, value in subject.epsilon(question).items():
            of += 1
            grade, said = _graded(value)
            figures[f"{name} at {question}"] = float(grade == "keeps")
            if grade != "keeps":
                told.append(f"{name} at {question}: {said}")
                verdict = "breaks" if "breaks" in (verdict, grade) else "loose"
    return Finding(verdict, "; ".join(told) or f"{of} of {of} answered", figures)


def _graded(value: float | Exception) -> tuple[Verdict, str]:
    match value:
        case ValueError():
            return "loose", f"refused, {str(value).partition('.')[0]!r}"
        case Exception():
            return "breaks", f"{type(value).__name__}, {str(value).partition('.')[0]!r}"
    if value < 0:
        return "breaks", f"{value:.3g}"
    return ("keeps", "") if value < math.inf else ("loose", "infinite")


LAWS = (
    Law(
        "exact-gaussian",
        "Without sampling, epsilon is the exact Gaussian value",
        "rho = 0.81 (one release, z = 0.786) at delta 1e-10; z = 4, 50 rounds at delta 1e-6; zero-out adjacency.",
        "Balle and Wang 2018, Thm. 8; Dong, Roth and Su 2022, Cor. 2. RDP gives 8.90 and 10.09 for these.",
        "epsilon",
        exact_composition,
    ),
    Law(
        "fixed-cohort",
        "A fixed cohort is never accounted as Poisson",
        f"{FIXED}, replace-one adjacency. What is due is attained where all others send -C and the device +C.",
        "arXiv:2405.20769 (epsilon about 1 by Poisson accounting, above 10 without replacement).",
        "epsilon",
        fixed_cohort,
    ),
    Law(
        "fixed-cohort-adjacency",
        "In a fixed cohort, a device that goes is replaced by another",
        "z = 4, 50 rounds of exactly 100 of 1,000 devices, delta 1e-6, replace-one: influence 2C on each sum.",
        "arXiv:2405.20769; C holds only under zero-out adjacency (9.48), which then has to be named.",
        "epsilon",
        fixed_cohort_without_amplification,
    ),
    Law(
        "replace-one",
        "A Gaussian under replace-one means the same to every accountant",
        "z = 1, one release, delta 1e-6, norms bounded by C, noise zC.",
        "Influence 2C, so the exact curve at mu = 2 / z.",
        "epsilon",
        replace_one,
    ),
    Law(
        "poisson-bound",
        "An epsilon is an upper bound",
        f"{POISSON}, add/remove or zero-out adjacency (equal here).",
        "Zhu and Wang 2019; Gopi et al. 2021, arXiv:2106.02848, on the central limit estimate.",
        "epsilon",
        poisson_bound,
    ),
    Law(
        "equal-releases",
        "Equal releases cost the same at once and one by one",
        "Five equal releases of every kind that the accountant takes, at delta 1e-6.",
        "Composition does not depend on how it is written down.",
        "compositions",
        equal_releases,
    ),
    Law(
        "calibration",
        "Noise that is chosen for an epsilon gives that epsilon",
        "One release of sensitivity 1 at delta 1e-5, asked for epsilon 1, 16 and 32; the exact curve of the noise.",
        "Balle and Wang 2018: sqrt(2 ln(1.25 / delta)) / epsilon is proved for epsilon < 1 only.",
        "calibrated_noise",
        calibration,
    ),
    Law(
        "answers",
        "An accountant answers every question of sense",
        "; ".join(str(question) for question in HARD) + ".",
        "https://github.com/meta-pytorch/opacus/issues/601 and /585, https://github.com/microsoft/prv_accountant/issues/42",
        "epsilon",
        answers,
    ),
)
