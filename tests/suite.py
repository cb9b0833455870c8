"""What `make test` runs: ruff, mypy, pytest; at the end, what was skipped and the one command that installs it.

With STRICT=1 (as in CI, where everything is installed) a skip is a failure, but for what the kernel forbids.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from xml.etree import ElementTree

STEPS = [["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"]]
REPORT = ".pytest_cache/report.xml"
KERNEL = "the kernel "  # how the reason of a skip begins that no package can mend


def skipped() -> list[str]:
    """The reasons of the skips, each once, from pytest's report."""
    found = [skip.get("message", "") for skip in ElementTree.parse(REPORT).iter("skipped")]
    return sorted(set(found))


def main() -> int:
    began = time.monotonic()
    for step in STEPS:
        print("$", *step, flush=True)
        if subprocess.run([sys.executable, "-m", *step], check=False).returncode:
            return 1
    words = sys.argv[1:] or ["-q"]
    print("$ pytest", *words, flush=True)
    code = subprocess.run([sys.executable, "-m", "pytest", f"--junitxml={REPORT}", *words], check=False).returncode
    reasons = skipped()
    packages = sorted({match[1] for reason in reasons if (match := re.search(r"apt-get install (\S+)", reason))})
    for reason in reasons:
        print(f"skipped: {reason}")
    if packages:
        print(f"to run what was skipped: apt-get install -y {' '.join(packages)}")
    print(f"{time.monotonic() - began:.0f} s")
    if os.environ.get("STRICT") == "1" and any(not reason.startswith(KERNEL) for reason in reasons):
        print("a skip is a failure here")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
