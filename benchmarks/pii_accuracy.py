"""Redaction: spans found, units that leak, characters masked for nothing, the way back, beside Presidio and limits.

What `tacit bench pii --curve --peers` measures, on every public set in TACIT_DATA that no training text comes from.
spaCy's large English model takes part where it is installed.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from figures import Figure, save, show, verdict

from tacit_privacy.pii.policy import RedactionPolicy
from tacit_simulations.evaluation.pii import evaluate, public_sets

F2, LEAKAGE, MASKED, REQUESTS_MASKED = 0.85, 0.12, 0.08, 0.01  # what is asked for
QUICK = 60  # texts of a set
_MARKED = {
    "presidio_synth": "generated sentences of held-out templates, 17 types",
    "ambientmeta_pii": "forms and messages",
    "wnut17": "posts with emerging names",
    "btc_ner": "tweets, part h",
}
Report = Mapping[str, Any]


def spans(report: Report) -> list[Figure]:
    """F2 of a set whose spans are marked, and what was masked outside them."""
    name, mine = report["name"], report["spans"]

    def beside(criterion: str) -> str:
        return ", ".join(f"{peer} {one['spans'][criterion]['f2'] or 0.0:.3f}" for peer, one in report["peers"].items())

    main, asked = mine["overlap"]["f2"], name == "presidio_synth"
    rows = [
        Figure(
            f"{name}: F2, {_MARKED[name]}; {report['texts']:,} texts",
            f"{main:.3f}",
            beside("overlap"),
            f"at least {F2}" if asked else "",
            main >= F2 if asked else None,
        )
    ]
    if asked:
        what = f"{name}: F2 by Presidio's types, an address being a location"
        rows.append(Figure(what, f"{mine['presidio_types']['f2']:.3f}", beside("presidio_types")))
    return [
        *rows,
        Figure(f"{name}: F2 of any type", f"{mine['any_type']['f2']:.3f}", beside("any_type")),
        Figure(
            f"{name}: F2 one to one; with exact bounds",
            f"{mine['one_to_one']['f2']:.3f}; {mine['exact']['f2']:.3f}",
            f"characters masked outside every marked span: {report['over_redaction']:.1%}",
        ),
    ]


def types(report: Report) -> list[Figure]:
    """F2 by type."""
    return [
        Figure(
            f"{report['name']}: F2 of {kind}, {row['hits'] + row['missed']} marked",
            f"{row['f2']:.3f}, recall {row['recall']:.3f}",
            ", ".join(
                f"{peer} {found['spans']['by_type'][kind]['f2'] or 0.0:.3f}" for peer, found in report["peers"].items()
            ),
        )
        for kind, row in report["spans"]["by_type"].items()
    ]


def prompts(report: Report, requests: Report | None) -> list[Figure]:
    """Units that leak, at the policy's threshold and over all."""
    leakage, masked = report["leakage"], report["masked_share"]
    beside = []
    for name, peer in report["peers"].items():
        share = "" if peer["masked_share"] is None else f" at {peer['masked_share']:.1%}"
        beside.append(f"{name} {peer['leakage']['strict']:.3f}{share}")
    ok = leakage["strict"] <= LEAKAGE and masked <= MASKED
    harmless = {point["threshold"]: point["masked_share"] for point in requests["curve"]} if requests else {}
    return [
        Figure(
            f"{report['name']}: strict leakage of {leakage['n']} units in prompts, at the share of characters masked",
            f"{leakage['strict']:.3f} at {masked:.1%}",
            "; ".join(beside),
            f"at most {LEAKAGE} with at most {MASKED:.0%} masked",
            ok,
        ),
        Figure(
            f"{report['name']}: prompts with any leak",
            f"{leakage['any_leak']:.3f} of {leakage['texts']}",
            f"{report['refused']} of {report['texts']} prompts refused whole for a secret",
        ),
        *(
            Figure(
                f"{report['name']}: the curve, threshold {point['threshold']:g}",
                f"{point['strict_leakage']:.3f} at {point['masked_share']:.1%}",
                f"clinc150 masked: {harmless[point['threshold']]:.2%}" if harmless else "",
            )
            for point in report["curve"]
        ),
    ]


def harmless(report: Report) -> list[Figure]:
    share = report["masked_share"]
    beside = ", ".join(f"{name} {peer['masked_share']:.2%}" for name, peer in report["peers"].items())
    what = f"clinc150: characters masked in {report['texts']:,} requests that name hardly anybody"
    return [Figure(what, f"{share:.2%}", beside, f"at most {REQUESTS_MASKED:.0%}", share <= REQUESTS_MASKED)]


def way_back(reports: list[dict[str, Any]]) -> Figure:
    ways = [report["round_trip"] for report in reports if report["round_trip"]]
    exact, texts = sum(way["exact"] for way in ways), sum(way["texts"] for way in ways)
    refused = sum(report["refused"] for report in reports)
    return Figure(
        "texts of all sets that come back as they were, redacted and restored",
        f"{exact:,} of {texts:,}",
        f"{refused:,} more were refused and never left",
        "all",
        exact == texts,
    )


def judge(reports: list[dict[str, Any]]) -> list[Figure]:
    by_name = {report["name"]: report for report in reports}
    rows: list[Figure] = []
    for report in reports:
        if report["spans"]:
            rows += spans(report)
    if "pupa_tnb" in by_name:
        rows += prompts(by_name["pupa_tnb"], by_name.get("clinc150"))
    if "clinc150" in by_name:
        rows += harmless(by_name["clinc150"])
    rows.append(way_back(reports))
    return rows + (types(by_name["presidio_synth"]) if "presidio_synth" in by_name else [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} texts of each set; nothing is written")
    parser.add_argument("--recogniser", type=Path, help="folder of a recogniser in place of the one that ships")
    options = parser.parse_args()
    data = os.environ.get("TACIT_DATA")
    if not data:
        print("Left out: accuracy of redaction needs TACIT_DATA, the folder above the public sets.")
        return 0
    policy = RedactionPolicy()
    reports = evaluate(
        public_sets(Path(data)),
        policy,
        recogniser=options.recogniser,
        curve=True,
        peers=True,
        limit=QUICK if options.quick else None,
        tell=lambda name: print(f"reading {name}", flush=True),
    )
    rows = judge(reports)
    if options.quick:
        show(rows)
        return 0
    libraries = {name: version(name) for name in ("onnxruntime", "presidio-analyzer", "spacy")}
    save("pii_accuracy", rows, {"libraries": libraries, "threshold": policy.detection.threshold, "sets": reports})
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
