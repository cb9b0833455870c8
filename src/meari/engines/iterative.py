"""One client after another (CS:APP 11.4.9, echoserveri.c): the others wait in the accept queue."""

from __future__ import annotations

from collections.abc import Sequence

from ..events import Events
from ..limits import Limits
from ..listeners import Listener
from ..stop import Stop
from .door import Porch
from .serving import Handler, serve


def iterative(listeners: Sequence[tuple[Listener, Handler]], stop: Stop, limits: Limits, events: Events) -> None:
    with Porch(listeners, stop, limits, events, room=1) as porch:
        for sock, peer, handler in porch.arrivals():
            client = serve(sock, peer, handler, porch, porch.door.admitted, alone=True)
            porch.door.left(peer, admitted=client.admitted, refused=client.refused)
