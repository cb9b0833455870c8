"""A process for each client (CS:APP 12.1.1, echoserverp.c).

Who closes what: the parent its copy of the connection, or the client would never see the end of
file; the child its copies of the listeners, or they would stay open as long as it lives. Each child
is reaped through a descriptor of its own (pidfd_open(2)) instead of SIGCHLD and waitpid(-1), so no
child that somebody else started is ever taken.
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Sequence
from functools import partial

from ..address import Address
from ..child import Child
from ..events import Event, Events, Kind
from ..limits import Limits
from ..listeners import Listener
from ..net import kernel
from ..stop import Stop
from .accept_loop import AcceptLoop
from .acceptor import MOST_SERVED, capacity
from .serving import LINGER, Handler, serve

_REFUSED = 3  # the exit status of a child whose peer our own rules do not admit


def process(
    listeners: Sequence[tuple[Listener, Handler]], stop: Stop, limits: Limits, events: Events
) -> None:
    children: set[Child] = set()

    def reap(child: Child, peer: Address) -> None:
        children.remove(child)
        loop.forget(child.fileno())
        code = child.end()
        # The child reports its own end, unless it had no memory left for that, or was killed.
        if code not in (0, _REFUSED):
            events.report(Event(Kind.FAILED, (peer,), detail=f"its process ended with {code}"))
        loop.acceptor.release(peer, refused=code == _REFUSED)

    with AcceptLoop(listeners, stop, limits, events, capacity(limits, MOST_SERVED)) as loop:
        # A collection in a child would write to every object, and so copy every shared page.
        gc.collect()
        gc.freeze()
        for sock, peer, handler in loop.arrivals():
            try:
                child = Child(
                    partial(_serve, sock, peer, handler, loop, children),
                    mortal=True,
                    fork=kernel.fork,
                    exit=kernel.exit,
                )
            except OSError as error:
                # No process or no descriptor is left.
                loop.hold((sock, peer, handler), os.strerror(error.errno or 0))
                continue
            children.add(child)
            sock.close()
            loop.watch(child.fileno(), partial(reap, child, peer))
        loop.wait(patience=LINGER + 1)
        for child in children:
            child.kill()
        loop.wait(patience=60.0)


def _serve(
    sock: socket.socket,
    peer: Address,
    handler: Handler,
    loop: AcceptLoop[Handler],
    children: set[Child],
) -> int:
    """In the child: serve the connection."""
    loop.abandon()
    for child in children:
        child.forget()
    loop.events.reset()
    client = serve(sock, peer, handler, loop)
    loop.events.flush()
    return _REFUSED if client.refused else 0
