"""The words of a comparison, for a reader who is not of the field."""

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "Always-local, always-LLM",
        "The two ends: the small model answers everything, or the large one does, asked through redaction or with the "
        "raw text. Every mode is to be judged between and beyond them.",
    ),
    (
        "APGR",
        "Average performance gap recovered (Ong et al. 2024, arXiv 2406.18665): the area between the small model's "
        "quality and a mode's, over all shares of questions escalated, as a part of the area up to the large model's. "
        "A coin gets 0.5.",
    ),
    (
        "Calibration error (ECE)",
        "How far the small model's confidence is from how often it is right, over ten bins (Guo et al. 2017).",
    ),
    (
        "CPT",
        "Call-performance threshold: the share of questions that must be escalated to close 20, 50 or 80 % of the gap.",
    ),
    (
        "Emulated device",
        "The same work at the speed and the power of a profile of the device catalogue, over one of its links. A "
        "model, not a meter.",
    ),
    (
        "Escalation",
        "Asking the large model at least once, whatever became of its answer.",
    ),
    (
        "Exposure",
        "How much of the person's own words crossed to the large model, secret or not: single words, and text in runs "
        "of three words or more.",
    ),
    (
        "Front (Pareto)",
        "The runs that no other beats: none is as good at no more cost, and better in one of both.",
    ),
    (
        "Hypervolume",
        "The area that a set of runs covers below and to the right of its points (Zitzler and Thiele 1999). More is "
        "better.",
    ),
    (
        "PGR",
        "Performance gap recovered: (quality - small model's) / (large model's - small model's).",
    ),
    (
        "Random, length",
        "Baselines that cost nothing to build: a coin decides who answers, in expectation; or the longest prompts go "
        "to the large model.",
    ),
    (
        "Strict leakage",
        "The share of units (strings that must not leave) whose text, case and white space folded, still stands in any "
        "byte that left.",
    ),
)
