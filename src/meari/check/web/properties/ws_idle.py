"""How long may a WebSocket be silent, and do pings keep it open?

At once, up to --idle: one in silence, one with our pings, one with the far end's, one with a
message now and then.
"""

from __future__ import annotations

import threading
import time

from ....errors import MeariError
from ...finding import Evidence, Finding, ok, warn
from ..path import WebPath

_EVERY = 5.0  # seconds, from one ping or message to the next


def check(path: WebPath) -> Finding:
    ended: dict[str, tuple[float, str]] = {}
    every = min(_EVERY, path.plan.idle / 4)

    def keep(way: str) -> None:
        query = f"ping={every:g}" if way == "server pings" else ""
        began = time.monotonic()
        try:
            with path.websocket(query, path.plan.idle + path.patience) as socket:
                socket.pump(lambda: socket.open, path.patience)
                while socket.open and (left := began + path.plan.idle - time.monotonic()) > 0:
                    if way == "client pings":
                        socket.frames.send_ping(b"meari")
                        socket.flush()
                    if way == "messages" and socket.echo(path.patience) is None:
                        break
                    silent = way in ("silence", "server pings")
                    socket.pump(lambda: not socket.open, left if silent else min(every, left))
                if not socket.open or socket.echo(path.patience) is None:
                    ended[way] = (time.monotonic() - began, socket.end)
        except (MeariError, OSError) as error:
            ended[way] = (time.monotonic() - began, str(error))

    ways = ["silence", "client pings", "messages"]
    ways += ["server pings"] if path.known.meari else []
    threads = [threading.Thread(target=keep, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path.wait(0)
    if not ended:
        return ok("ok", passed_s=path.plan.idle, ways=", ".join(ways))
    kept = [way for way in ways if way not in ended]
    first = min(ended, key=lambda way: ended[way][0])
    found: dict[str, Evidence] = {
        "after_s": ended[first][0],
        "how": ended[first][1],
        "cut": ", ".join(way for way in ways if way in ended),
        "kept": ", ".join(kept) or "-",
        "asked_s": path.plan.idle,
    }
    return warn("cut", **found)
