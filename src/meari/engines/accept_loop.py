"""The accept loop of the engines that block: one accepted connection after another."""

from __future__ import annotations

import math
import select
import socket
import time
import typing
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from ..address import Address
from ..events import Event, Events, Kind
from ..limits import Limits
from ..listeners import Listener
from ..net import kernel
from ..sockets import reset
from ..stop import Stop
from .acceptor import LONGEST, PAUSE, Acceptor

T = typing.TypeVar("T")


class AcceptLoop(typing.Generic[T]):
    """An acceptor and the loop around it, for engines that block.

    watch() registers other descriptors, each with a function to be called when it is readable;
    forget() removes one. Both may be called at any time.
    """

    def __init__(
        self,
        listeners: Sequence[tuple[Listener, T]],
        stop: Stop,
        limits: Limits,
        events: Events,
        capacity: int,
    ) -> None:
        self.stop, self.limits, self.events = stop, limits, events
        self.poller = kernel.epoll()
        self.acceptor = Acceptor(listeners, limits, events, self.poller, capacity)
        self._watched: dict[int, Callable[[], None]] = {}
        # The drain limit, once stopped.
        self._until = math.inf
        self._held: deque[tuple[socket.socket, Address, T]] = deque()
        self.poller.register(stop.fileno(), 0)

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        self._watched[fd] = call
        self.poller.register(fd, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        del self._watched[fd]
        self.poller.unregister(fd)

    def hold(self, arrival: tuple[socket.socket, Address, T], reason: str) -> None:
        """Postpone *arrival*: no thread or process could be started; yield it after a pause."""
        self._held.append(arrival)
        self.acceptor.pause(reason)

    def arrivals(self) -> Iterator[tuple[socket.socket, Address, T]]:
        """Yield one connection after another, until every listener is closed."""
        while (self.acceptor.open or self._held) and time.monotonic() < self._until:
            yield from self._round()
            while self._held and self.acceptor.due == math.inf:  # hold() begins a pause
                yield self._held.popleft()
            if self._until < math.inf:
                yield from self.acceptor.drain()
        self.acceptor.close()
        for sock, peer, _ in self._held:  # the drain limit
            reset(sock)
            self.acceptor.release(peer)
            self.events.report(Event(Kind.CUT, (peer,)))
        self._held.clear()

    def wait(self, patience: float) -> None:
        """Wait for active connections, after a stop until *patience* seconds past the limit."""
        while self.acceptor.active and time.monotonic() < self._until + patience:
            for _ in self._round():
                pass

    def look(self) -> None:
        """While the engine is blocked elsewhere: report waiting clients, and notice the stop."""
        for fd, _ in self.poller.poll(0):
            if fd == self.stop.fileno():
                self._stopped()
            elif self.acceptor.is_listener(fd):
                self.acceptor.report_backlog(fd)

    def _stopped(self) -> None:
        # look() may have seen it in the middle of a round that has it still to come.
        if self._until == math.inf:
            self.poller.unregister(self.stop.fileno())  # once set it is always ready
            self._until = self.stop.noticed() + self.limits.drain

    def _round(self) -> Iterator[tuple[socket.socket, Address, T]]:
        now = time.monotonic()
        due = min(
            self.events.due, self.acceptor.due, math.inf if self._until == math.inf else now + PAUSE
        )
        for fd, _ in self.poller.poll(min(max(0.0, due - now), LONGEST)):
            if fd == self.stop.fileno():
                self._stopped()
            elif fd in self._watched:
                self._watched[fd]()
            elif self.acceptor.is_listener(fd):
                yield from self.acceptor.arrivals(fd)
        self.acceptor.tick(time.monotonic())
        self.events.tick()

    def close(self) -> None:
        self.acceptor.close()
        self.poller.close()

    def abandon(self) -> None:
        """In a forked child: close its copies."""
        self.acceptor.abandon()
        self.poller.close()

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
