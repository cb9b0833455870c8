"""The engines: five ways of sharing one machine among many clients.

This table says what each runs.

An engine is given bound listeners. It parses no address, installs no signal handler and prints
nothing; it returns when it has drained after the stop, or when it has accepted as many as it may
and served them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..events import Events
from ..limits import Limits
from ..listeners import Listener
from ..stop import Stop
from ..wire.protocol import Service
from .event import event
from .iterative import iterative
from .prethread import prepare, prethread
from .process import process
from .serving import Handler, conversing
from .thread import thread

Engine = Callable[[Sequence[tuple[Listener, Service]], Stop, Limits, Events], None]


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One way of sharing: an engine that runs services, or a blocking one, which runs handlers."""

    serves: Engine | None = None
    handles: Callable[[Sequence[tuple[Listener, Handler]], Stop, Limits, Events], None] | None = (
        None
    )
    # Raises LocalError if it cannot run, before anything listens.
    prepare: Callable[[Limits], None] = lambda _: None
    forks: bool = False  # it makes processes, and so must have no thread beside it

    def run(
        self,
        listeners: Sequence[tuple[Listener, Service]],
        stop: Stop,
        limits: Limits,
        events: Events,
    ) -> None:
        """Run services on it, whichever it is."""
        if self.serves is not None:
            self.serves(listeners, stop, limits, events)
        elif self.handles is not None:
            self.handles(
                [(listener, conversing(service)) for listener, service in listeners],
                stop,
                limits,
                events,
            )


ENGINES = {
    "event": EngineSpec(serves=event),
    "iterative": EngineSpec(handles=iterative),
    "process": EngineSpec(handles=process, forks=True),
    "thread": EngineSpec(handles=thread),
    "prethread": EngineSpec(handles=prethread, prepare=prepare),
}
