"""Measure every figure that the documents name, one after the other, and write the page: what `make bench` does.

`--page` only writes the page again from the results that are there.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from figures import page

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
SCRIPTS = (
    "fleet_timing.py",
    "privacy_kernels.py",
    "ledger.py",
    "dispatch.py",
    "deployment.py",
    "throughput.py",
    "quantised_updates.py",
    "pii_accuracy.py",
    "pii_speed.py",
    "pii_memory.py",
    "gateway.py",
    "routing.py",
    "static_assignment.py",
    "federated_router.py",
    "recorded_pairs.py",
    "modes.py",
    "distillation.py",
    "latency.py",
    "learning.py",
    "conformance.py",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md and measure nothing")
    failed = 0
    if not parser.parse_args().page:
        for script in SCRIPTS:
            print(f"== {script}", flush=True)
            failed |= subprocess.run([sys.executable, str(HERE / script)], check=False).returncode
    PAGE.write_text(page(), encoding="utf-8")
    print(f"The page: {PAGE}")
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main())
