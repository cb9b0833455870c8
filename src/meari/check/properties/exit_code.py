"""A server that cannot start reports it by its exit code: a second one on the same port fails with
a code other than 0 (exit(3)).
"""

from __future__ import annotations

from ..finding import Finding, fail, ok, unknown, warn
from ..path import Path

_SECONDS = 3.0  # seconds that the second one has


def check(path: Path) -> Finding:
    server = path.spawned
    if server is None:
        return unknown("not-spawned")
    code = server.again(path.stop, _SECONDS)
    if code is None:
        return warn("runs", seconds_s=_SECONDS)
    if code < 0:
        return fail("signal", signal=-code)
    return fail("zero") if code == 0 else ok("ok", code=code)
