"""Put every law to Tacit and to its peers on the same input, and write docs/conformance.md from what they did.

`--page` only writes the page again; `--subject Tacit` examines one and keeps what was found of the others.
"""

import argparse
import inspect
import json
import logging
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

from laws.book import LAWS, SUBJECTS, subject_at  # noqa: E402 (the laws live beside the tests)
from laws.subject import Finding, Law, Subject  # noqa: E402

from tacit_privacy.files import write_whole  # noqa: E402

RESULTS = HERE / "results" / "conformance.json"
PAGE = HERE.parent / "docs" / "conformance.md"
Findings = dict[str, Any]
_HEAD = """# Conformance

Laws that a federated learning system with differential privacy should keep, each put to Tacit and to the libraries that
people use instead, on the same input and through their own public functions. Every figure below was measured by
`python benchmarks/conformance.py`; this page is made from `benchmarks/results/conformance.json`.

**keeps** the law · **loose**: safe, but more than 1 % above what can be proved, or a refusal · **breaks** it: on this
input, what is promised does not hold · **has none**: there is nothing that the law is about.

The libraries have different aims. Flower moves and averages models and wraps that in differential privacy; Opacus
trains one model on one machine, and its unit is the example; dp-accounting is accountants and nothing else. A law that
a library never set out to keep is marked *has none*, and what its documentation warns of is said with what was called.
Where a library has several accountants, one that is below what an adversary attains breaks the law for it, and the
figures tell which.
"""
_TAIL = """
## Put the laws to another system

The laws are in `tests/support/laws/`, one function each, and speak to a `Subject`
(`tests/support/laws/subject.py`). Derive from it in a module of your own, override what your system has, and name it:

```console
$ CONFORMANCE_SUBJECT=mine:Mine python -m pytest tests/conformance
```

What is not overridden is skipped with its reason. The adapters in `tests/support/peers/` are examples, 30 to 200 lines
each. `tests/conformance/test_laws_peers.py` repeats the findings about peers at the versions above, so that a release
that mends one is noticed; under another version it is skipped.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write docs/conformance.md and examine nothing")
    parser.add_argument("--subject", choices=list(SUBJECTS), action="append", help="examine this one; may be repeated")
    chosen = parser.parse_args()
    if not chosen.page:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        found = _known()
        for name in chosen.subject or SUBJECTS:
            found[name] = examined(name)
            write_whole(RESULTS, json.dumps(found, indent=2) + "\n")
    PAGE.write_text(page(), encoding="utf-8")
    print(f"The page: {PAGE}")
    return 0


def examined(name: str) -> dict[str, Any]:
    """What every law finds of one subject, and what was called."""
    try:
        subject = subject_at(SUBJECTS[name])
    except ImportError as error:
        return {"version": "", "missing": str(error), "findings": {}}
    findings: Findings = {}
    for law in LAWS:
        finding = law.finding(subject)
        print(f"{name:<14} {law.name:<24} {finding.verdict:<9} {finding.shown}", flush=True)
        findings[law.name] = asdict(finding) | {"called": _called(subject, law, finding)}
    return {"version": subject.version, "findings": findings}


def _called(subject: Subject, law: Law, finding: Finding) -> str:
    """The words of the adapter about what it calls; nothing where it has nothing."""
    method = getattr(type(subject), law.asks)
    other = type(subject).edited_state if law.asks == "record" else method
    for one in (method, other):
        if one.__module__ == type(subject).__module__:
            return " ".join((inspect.getdoc(one) or "").split())
    return ""


def _known() -> dict[str, Any]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def page() -> str:
    """docs/conformance.md, from the results that are there."""
    found = _known()
    parts = [_HEAD, "\n", _table(found)]
    parts += [_section(law, found) for law in LAWS]
    return "".join([*parts, _TAIL])


def _table(found: dict[str, Any]) -> str:
    names = [name for name in SUBJECTS if name in found]
    titles = [f"{name} {_short(found[name]['version'])}".strip() for name in names]
    head = f"| law | {' | '.join(titles)} |\n|---|{'---|' * len(names)}\n"
    rows = []
    for law in LAWS:
        cells = [_cell(found[name], law) for name in names]
        rows.append(f"| [{law.title}](#{law.name}) | {' | '.join(cells)} |\n")
    return head + "".join(rows)


def _short(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _cell(subject: dict[str, Any], law: Law) -> str:
    finding = subject["findings"].get(law.name)
    return "not installed" if finding is None else f"**{finding['verdict']}** {_figure(finding)}".strip()


def _figure(finding: dict[str, Any]) -> str:
    return "" if not finding["figures"] else str(finding["shown"]).replace("|", "\\|")


def _section(law: Law, found: dict[str, Any]) -> str:
    lines = [f"\n## {law.title} {{#{law.name}}}\n", f"{_sentence(law)}\n", f"- **Input**: {law.input}"]
    lines += [f"- **Source**: {law.source}", f"- **Run it**: `{_command(law)}`", ""]
    lines += ["| | verdict | figure | what was called |", "|---|---|---|---|"]
    for name, subject in found.items():
        finding = subject["findings"].get(law.name)
        if finding is None:
            lines.append(f"| {name} | not installed | {subject.get('missing', '')} | |")
        else:
            shown = str(finding["shown"]).replace("|", "\\|")
            lines.append(f"| {name} {subject['version']} | {finding['verdict']} | {shown} | {finding['called']} |")
    return "\n".join(lines) + "\n"


def _sentence(law: Law) -> str:
    return " ".join((inspect.getdoc(law.examine) or "").split())


def _command(law: Law) -> str:
    return f"python -m pytest tests/conformance -k {law.name}"


if __name__ == "__main__":
    sys.exit(main())
