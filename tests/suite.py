"""The suites: `make check` (fast), `make test` (whole), `make test-long` (long).

Each begins with ruff and mypy. Most tests wait rather than compute, so pytest-xdist runs several at
once; those marked "alone" measure time, and run afterwards, one at a time. At the end, what was
skipped and the one command that installs it.

With STRICT=1 (as in CI, where everything is installed) a skip is a failure, but for what the kernel
forbids.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

LINT = [["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"]]
# Tests of values and of sockets in this process: none of them starts the program.
FAST = (
    "address catalogue echo events floors histogram net rio stream_pattern stream_verify wire_http"
)
AT_ONCE = str(3 * (os.cpu_count() or 1))
PARALLEL = ["-n", AT_ONCE]
SUITES = {
    "fast": [
        [
            *PARALLEL,
            "-m",
            "not long and not alone",
            *(f"tests/test_{name}.py" for name in FAST.split()),
        ]
    ],
    "whole": [[*PARALLEL, "-m", "not long and not alone"], ["-m", "alone and not long"]],
    "long": [
        ["-n", "2", "-m", "long and not alone"],
        ["-m", "long and alone"],
    ],
}
REPORTS = Path(".pytest_cache")
KERNEL = "the kernel "  # how the reason of a skip begins that no package can mend


def skipped(report: Path) -> set[str]:
    """The reasons of the skips in pytest's *report*."""
    return {skip.get("message", "") for skip in ElementTree.parse(report).iter("skipped")}


def run(*words: str) -> int:
    print("$", *words, flush=True)
    return subprocess.run([sys.executable, "-m", *words], check=False).returncode


def main() -> int:
    began = time.monotonic()
    suite = sys.argv[1] if len(sys.argv) > 1 else "whole"
    for step in LINT:
        if code := run(*step):
            return code
    REPORTS.mkdir(exist_ok=True)
    codes, reasons = [], set()
    for n, words in enumerate(SUITES[suite]):
        report = REPORTS / f"report-{n}.xml"
        words = [word for word in words if not word.endswith(".py") or Path(word).exists()]
        codes.append(run("pytest", "-q", f"--junitxml={report}", *words))
        reasons |= skipped(report)
    packages = sorted(
        {match[1] for reason in reasons if (match := re.search(r"apt-get install (\S+)", reason))}
    )
    for reason in sorted(reasons):
        print(f"skipped: {reason}")
    if packages:
        print(f"to run what was skipped: apt-get install -y {' '.join(packages)}")
    print(f"{time.monotonic() - began:.0f} s")
    if os.environ.get("STRICT") == "1" and any(not reason.startswith(KERNEL) for reason in reasons):
        print("a skip is a failure here")
        return 1
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
