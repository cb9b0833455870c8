"""A pool of threads, made beforehand, that take connections from a buffer (CS:APP 12.5.5,
echoservert-pre.c).

The buffer is never fuller than there are threads: who finds none free waits in the accept queue.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Sequence

from ..address import Address
from ..errors import LocalError
from ..events import Events
from ..limits import Limits
from ..listeners import Listener
from ..stop import Stop
from .accept_loop import AcceptLoop
from .acceptor import capacity
from .serving import LINGER, Handler
from .thread import Calls


def prepare(limits: Limits) -> None:
    """Start as many threads as will serve, and end them.

    Raises LocalError if there are not so many to be had.
    """
    over = threading.Event()
    threads = [
        threading.Thread(target=over.wait, daemon=True)
        for _ in range(min(limits.threads, capacity(limits, limits.threads)))
    ]
    started: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise LocalError(f"{len(threads)} threads cannot be started: {error}") from None
    finally:
        over.set()
        for thread in started:
            thread.join()


def prethread(
    listeners: Sequence[tuple[Listener, Handler]], stop: Stop, limits: Limits, events: Events
) -> None:
    buffer: queue.SimpleQueue[tuple[socket.socket, Address, Handler] | None] = queue.SimpleQueue()
    places = min(limits.threads, capacity(limits, limits.threads))
    with AcceptLoop(listeners, stop, limits, events, places) as loop:
        calls = Calls(loop)

        def work() -> None:
            while (arrival := buffer.get()) is not None:
                calls.serve(*arrival)

        threads = [
            threading.Thread(target=work, name=f"meari {i}", daemon=True) for i in range(places)
        ]
        try:
            for thread in threads:
                thread.start()
        except RuntimeError as error:
            raise LocalError(f"{places} threads cannot be started: {error}") from None
        for arrival in loop.arrivals():
            buffer.put(arrival)
        loop.wait(patience=LINGER + 1)
        for _ in threads:
            buffer.put(None)
        for thread in threads:
            thread.join(0.1)
        calls.close()
