"""The far ends in C, one for each fault: compiled once, and what check is to name of each."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "far_ends"

# The far end, and the properties that check is to name of it, as FAIL or as a warning: these, and
# no other.
FAULTS = {
    "right": set(),
    "at_the_end": {"partial"},
    "by_value": {"pipelined"},
    "drops_at_eof": {"half-close"},
    "exit_0": {"exit-code"},
    "exits": {"reset"},
    "held": {"pipelined"},
    "impatient": {"idle"},
    "ipv4": {"connect"},
    "iterative": {"concurrency", "neighbour"},
    "ipv6": {"connect"},
    "deadlock": {"duplex", "slow-reader"},  # one that sends much before it reads is enough for it
    "leaks": {"descriptors"},
    "leaks_memory": {"memory"},
    "lines": {"partial"},
    "nagle": {"small"},
    # The copy is the cause of both: no FIN, and a descriptor more.
    "parent_keeps": {"close", "descriptors"},
    "prethreaded": {"concurrency", "neighbour"},
    "resets": {"close"},
    "shared": {"concurrency"},
    "short_counts": {"slow-reader"},
    "sigpipe": {"reset"},
    "slots": {"churn"},
    "slow": {"middle"},
    "spins": {"processor"},
    "string": {"bytes"},
    "unbounded": {"duplex", "memory"},  # seen from outside, and from inside
    "zombies": {"zombies"},
    "one_answer": {"repeat"},
    "returns": {"share"},
    "edge": {"concurrency"},
    "child_dies": {"large"},
    "select_stdin": {"concurrency", "neighbour"},
    "wrong_byte": {"small"},
    "stalls_large": {"bytes", "small"},
    "digits": {"bytes"},
    "last_bytes": {"half-close"},
    "decodes": {"bytes", "connect"},
    "decodes_node": {"bytes", "connect"},
    "raises": {"connect", "neighbour", "reset"},
}

# What it may be named as well: nothing comes back any more if all that was still to come
# had been dropped, as in a deadlock; a few connections at once may each meet an event of their own.
PERHAPS = {"short_counts": {"duplex"}, "edge": {"churn"}}


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="meari-far-ends-")


@functools.cache
def built(name: str) -> str:
    """The command that starts one of them, without its port; the test is skipped where nothing
    compiles or runs it.
    """
    if (SOURCES / f"{name}.py").exists():
        return f"{sys.executable} {SOURCES / name}.py"
    if (SOURCES / f"{name}.js").exists():
        if shutil.which("node") is None:
            pytest.skip("node is not installed: apt-get install nodejs")
        return f"node {SOURCES / name}.js"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: apt-get install gcc")
    program = f"{_directory().name}/{name}"
    subprocess.run(
        [
            compiler,
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
            "-o",
            program,
            SOURCES / f"{name}.c",
        ],
        check=True,
    )
    return program
