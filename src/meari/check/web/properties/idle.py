"""How long may there be silence before a response begins, and within it?

Several waits at once, each on a connection of its own, up to --idle. A middlebox ends them with a
504 or a reset; the longest that passes and the shortest that does not are what it allows.
"""

from __future__ import annotations

import threading
import time

from ....errors import MeariError
from ...finding import Evidence, Finding, ok, unknown, warn
from ..client import Malformed
from ..path import WebPath

_WAITS = (5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 240.0, 400.0, 900.0, 3600.0)
_MORE = 1.0  # seconds longer than a round limit


def check(path: WebPath) -> Finding:
    waits = [w + _MORE for w in _WAITS if w + _MORE < path.plan.idle] + [path.plan.idle]
    ended: dict[float, tuple[str, float]] = {}
    first = path.get("delay/0")
    if first.status != 200 or not first.body.startswith(b"after "):
        return unknown("none", how=f"status {first.status}" if first.status else first.end)

    def wait(seconds: float) -> None:
        began = time.monotonic()
        try:
            response = path.get(f"delay/{seconds:g}", patience=seconds + path.patience)
        except Malformed as error:
            ended[seconds] = (str(error), time.monotonic() - began)
            return
        except (MeariError, OSError) as error:
            ended[seconds] = (str(error), time.monotonic() - began)
            return
        if response.status != 200:
            how = str(response.status or response.end)
            ended[seconds] = (how, time.monotonic() - began)

    threads = [threading.Thread(target=wait, args=(seconds,)) for seconds in waits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path.wait(0)
    passed = max((w for w in waits if w not in ended), default=0.0)
    found: dict[str, Evidence] = {"passed_s": passed, "asked_s": path.plan.idle}
    cut = [w for w in sorted(ended) if w > passed]
    if not cut:
        return ok("ok", **found)
    how, after = ended[cut[0]]
    return warn("cut", **found, after_s=after, how=how)
