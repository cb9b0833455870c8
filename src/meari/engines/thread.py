"""A thread for each client (CS:APP 12.3.8, echoservert.c)."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial

from ..address import Address
from ..events import Events
from ..limits import Limits
from ..listeners import Listener
from ..stop import Stop
from .accept_loop import AcceptLoop
from .acceptor import MOST_SERVED, capacity
from .serving import LINGER, Handler, serve


class Calls:
    """What threads ask of the one at the door, which alone may touch it: calls, and an eventfd(2)
    that it watches.
    """

    def __init__(self, loop: AcceptLoop[Handler]) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._calls: list[Callable[[], None]] = []
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        loop.watch(self._fd, self._make)

    def serve(self, sock: socket.socket, peer: Address, handler: Handler) -> None:
        """Serve a connection on this thread."""
        acceptor = self._loop.acceptor
        admit = None if self._loop.limits.accept is None else partial(self._call, acceptor.admitted)
        client = serve(sock, peer, handler, self._loop, admit)
        self._call(
            partial(acceptor.release, peer, admitted=client.admitted, refused=client.refused)
        )

    def _call(self, call: Callable[[], None]) -> None:
        # Else the last could be made, and the eventfd closed, before it is written to.
        with self._lock:
            self._calls.append(call)
            # Else this was a handler that waited for something else than its connection.
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)

    def _make(self) -> None:
        with self._lock:
            os.eventfd_read(self._fd)
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    def close(self) -> None:
        with self._lock:
            self._loop.forget(self._fd)
            fd, self._fd = self._fd, -1
            os.close(fd)


def thread(
    listeners: Sequence[tuple[Listener, Handler]], stop: Stop, limits: Limits, events: Events
) -> None:
    with AcceptLoop(listeners, stop, limits, events, capacity(limits, MOST_SERVED)) as loop:
        calls = Calls(loop)
        for sock, peer, handler in loop.arrivals():
            try:
                threading.Thread(
                    target=calls.serve,
                    args=(sock, peer, handler),
                    name=f"meari {peer}",
                    daemon=True,
                ).start()
            except RuntimeError as error:  # the system has no thread left
                loop.hold((sock, peer, handler), str(error))
        loop.wait(patience=LINGER + 1)
        calls.close()
