"""A thread for each client (CS:APP 12.3.8, echoservert.c)."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence

from ..address import Address
from ..events import Events
from ..limits import Limits
from ..net import Listener
from ..stop import Stop
from .door import MOST_SERVED, Porch, room
from .serving import LINGER, Handler, serve


class Leaving:
    """How threads tell the one at the door that they are done: an eventfd(2) that it watches."""

    def __init__(self, porch: Porch[Handler]) -> None:
        self._porch = porch
        self._lock = threading.Lock()
        self._left: list[Address] = []
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        porch.watch(self._fd, self._see_off)

    def done(self, peer: Address) -> None:
        with self._lock:  # else the last could be seen off, and the eventfd closed, before it is written to
            self._left.append(peer)
            if self._fd >= 0:  # else this was a handler that waited for something else than its connection
                os.eventfd_write(self._fd, 1)

    def _see_off(self) -> None:
        with self._lock:
            os.eventfd_read(self._fd)
            left, self._left = self._left, []
        for peer in left:
            self._porch.door.left(peer)

    def close(self) -> None:
        with self._lock:
            self._porch.forget(self._fd)
            fd, self._fd = self._fd, -1
            os.close(fd)


def thread(listeners: Sequence[tuple[Listener, Handler]], stop: Stop, limits: Limits, events: Events) -> None:
    with Porch(listeners, stop, limits, events, room(limits, MOST_SERVED)) as porch:
        leaving = Leaving(porch)

        def run(sock: socket.socket, peer: Address, handler: Handler) -> None:
            serve(sock, peer, handler, porch)
            leaving.done(peer)

        for sock, peer, handler in porch.arrivals():
            try:
                threading.Thread(target=run, args=(sock, peer, handler), name=f"meari {peer}", daemon=True).start()
            except RuntimeError as error:  # the system has no thread left
                porch.hold((sock, peer, handler), str(error))
        porch.wait(patience=LINGER + 1)
        leaving.close()
