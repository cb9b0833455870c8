"""One client after another (CS:APP 11.4.9, echoserveri.c): the others wait in the accept queue."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Events
from ..limits import Limits
from ..listeners import Listener
from ..stop import Stop
from .accept_loop import AcceptLoop
from .serving import Handler, serve


def iterative(
    listeners: Sequence[tuple[Listener, Handler]], stop: Stop, limits: Limits, events: Events
) -> None:
    with AcceptLoop(listeners, stop, limits, events, capacity=1) as loop:
        for sock, peer, handler in loop.arrivals():
            client = serve(sock, peer, handler, loop, loop.acceptor.admitted, alone=True)
            loop.acceptor.release(peer, admitted=client.admitted, refused=client.refused)
