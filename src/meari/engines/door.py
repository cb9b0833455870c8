"""Who comes in: accepting, the same for every engine.

A door stands at the listeners and has room for so many. It keeps the rules that accepting has: what is wrong with one
connection is no reason to stop, a machine at its limit is one to pause, whoever finds no room waits in the backlog (and
it is told that somebody does), and after a stop it lets in all who wait before it shuts.

The listeners sit on an epoll of the engine's. While there is no room they are watched for one edge (EPOLLONESHOT): that
somebody waits is told, and then no more is heard of it until there is room.
"""

from __future__ import annotations

import math
import os
import resource
import select
import socket
import time
import typing
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

from ..address import Address
from ..errors import CapacityError, UsageError
from ..events import Event, Events, Kind
from ..limits import Limits
from ..listeners import Listener
from ..net import kernel
from ..sockets import reset
from ..stop import Stop
from ..units import amount

T = typing.TypeVar("T")

MOST_WATCHED = 16_384  # connections at once by default, where one costs a descriptor and some hundred bytes
MOST_SERVED = 512  # and where one costs a thread or a process
_BATCH = 64  # accepted in one go: a burst of clients must not starve those inside
_LEAST_PAUSE, _PAUSE = 0.002, 0.1  # seconds without accepting after the machine was at its limit: each time twice as long
LONGEST = 86_400.0  # seconds of one wait, which epoll_wait(2) takes as an int of milliseconds
_GRACE = 0.05  # seconds for handshakes that have begun, before an empty listener is closed
SPARE = 16  # descriptors for what is not a connection: listeners, pollers, pipes, a file for a moment


def room(limits: Limits, most: int, *, spare: int = 0) -> int:
    """How many connections there is room for: what was asked for, or *most*, or what the descriptor limit leaves.

    The soft limit is raised to the hard one first. Raises UsageError if what was asked for, and *spare* descriptors for
    what is still to be opened, cannot be held.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    in_use = _descriptors()
    left = math.inf if hard == resource.RLIM_INFINITY else hard - in_use
    asked = limits.connections
    if asked is None:
        return max(1, min(most, int(min(most + SPARE, left)) - SPARE))
    if asked > left - spare:
        raise UsageError(f"{asked:,} connections cannot be held: the descriptor limit of {hard:,} leaves {max(0, left - spare):,}")
    return asked


def _descriptors() -> int:
    """How many are open; where /proc is not mounted, as many as a process begins with."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return SPARE


class Door(typing.Generic[T]):
    """The listeners, each with what serves its connections, on *poller*; *room* connections may be inside."""

    def __init__(self, listeners: Sequence[tuple[Listener, T]], limits: Limits, events: Events, poller: select.epoll, room: int) -> None:
        self.inside = 0
        self._listeners = {listener.fileno(): (listener, serves) for listener, serves in listeners}
        self._room = room
        self._per_source = limits.per_source
        self._sources: Counter[str | None] = Counter()
        self._to_accept = math.inf if limits.accept is None else limits.accept
        self._unsure = 0  # of those inside, who may still be refused
        self._events = events
        self._poller = poller
        self._pause = _LEAST_PAUSE  # the next one
        self.due = math.inf  # when tick() wants to be called: the end of a pause
        self._draining = False
        self._deaf: dict[int, float] = {}  # listeners that have been found empty after the stop, and when
        for fd in self._listeners:
            poller.register(fd, select.EPOLLIN)

    @property
    def open(self) -> bool:
        """Whether anybody may still come in."""
        return bool(self._listeners)

    def tick(self, now: float) -> None:
        if now >= self.due:
            self._arm(select.EPOLLIN | (select.EPOLLONESHOT if self.inside >= self._room else 0))

    def guards(self, fd: int) -> bool:
        """Whether *fd* is a listener's."""
        return fd in self._listeners

    def arrivals(self, fd: int) -> Iterator[tuple[socket.socket, Address, T]]:
        """Whoever waits at the listener *fd* and finds room. Each has to be given back to left()."""
        listener, serves = self._listeners[fd]
        for _ in range(_BATCH):
            if not self._to_accept:
                return
            if self.inside >= self._room:
                self.knock(fd)
                return
            try:
                accepted = listener.accept()
            except CapacityError as error:
                self.pause(str(error))
                return
            if accepted is None:
                if self._draining and time.monotonic() >= self._deaf.setdefault(fd, math.inf) + _GRACE:
                    self._shut(fd)
                elif self._draining and self._deaf[fd] == math.inf:
                    listener.deafen()
                    self._deaf[fd] = time.monotonic()
                return
            sock, peer = accepted
            if self._per_source is not None and self._sources[peer.host] >= self._per_source:
                self._events.tell(Event(Kind.REFUSED, (peer,), detail=f"{amount(self._per_source, 'connection')} from {peer.host} already"))
                reset(sock)
                continue
            self._enter(peer)
            yield sock, peer, serves
            if not self._to_accept or self.inside >= self._room:
                return

    def _enter(self, peer: Address) -> None:
        self.inside += 1
        self._pause = _LEAST_PAUSE
        if self._per_source is not None:
            self._sources[peer.host] += 1
        self._to_accept -= 1
        self._unsure += 1
        if not self._to_accept:
            self._arm(0)  # until it is known whether all of them are served
        elif self.inside >= self._room:
            self._arm(select.EPOLLIN | select.EPOLLONESHOT)

    def admitted(self) -> None:
        """A service has taken one who came in: who is not known to be taken may be refused yet, and then does not count."""
        self._unsure -= 1
        self._settle()

    def left(self, peer: Address, *, admitted: bool = False, refused: bool = False) -> None:
        """A connection from *peer* is over: there is room for another. *admitted*: admitted() was called for it."""
        opens = self.inside == self._room or (refused and not self._to_accept)
        self.inside -= 1
        self._unsure -= not admitted
        self._to_accept += refused
        if self._per_source is not None:
            self._sources[peer.host] -= 1
            if not self._sources[peer.host]:
                del self._sources[peer.host]
        self._settle()
        if self._to_accept and opens:
            self._arm(select.EPOLLIN)

    def _settle(self) -> None:
        if not self._to_accept and not self._unsure:
            self.close()

    def pause(self, reason: str) -> None:
        """The machine is at its limit: nobody is let in for a moment."""
        self._events.tell(Event(Kind.PAUSED, detail=f"clients wait: {reason}"))
        self._arm(0)
        self.due = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _PAUSE)

    def drain(self) -> Iterator[tuple[socket.socket, Address, T]]:
        """After a stop, and from time to time: let in who waits, as there is room; shut where nobody does."""
        self._draining = True
        for fd in list(self._listeners):
            if fd in self._listeners:  # the last that may come in shuts all
                yield from self.arrivals(fd)

    def knock(self, fd: int) -> None:
        """Somebody waits at the listener *fd*, and there is no room: told."""
        waiting = self._listeners[fd][0].queue()
        if not waiting:
            return
        who = f"{amount(waiting, 'client')} {'waits' if waiting == 1 else 'wait'}"
        self._events.tell(Event(Kind.WAITING, detail=f"{who}: at most {self._room:,} served at a time"))

    def _arm(self, mask: int) -> None:
        self.due = math.inf
        for fd in self._listeners:
            self._poller.modify(fd, mask)

    def _shut(self, fd: int) -> None:
        # A copy of the listener may be open in another process: closing ours would leave it on the epoll (epoll(7)).
        self._poller.unregister(fd)
        self._listeners.pop(fd)[0].close(everywhere=self._draining or not self._to_accept)

    def close(self) -> None:
        """Shut every listener; who waits there is reset."""
        for fd in list(self._listeners):
            self._shut(fd)

    def abandon(self) -> None:
        """In a forked child: close its copies, and leave the epoll alone, which is the parent's too."""
        for listener, _ in self._listeners.values():
            listener.close()
        self._listeners.clear()


class Porch(typing.Generic[T]):
    """A door and the loop around it, for the engines that block: they are given one arrival after another.

    *watch* maps other descriptors to what is to be called when they are readable; it may change at any time, by
    watching() and forgetting().
    """

    def __init__(self, listeners: Sequence[tuple[Listener, T]], stop: Stop, limits: Limits, events: Events, room: int) -> None:
        self.stop, self.limits, self.events = stop, limits, events
        self.poller = kernel.epoll()
        self.door = Door(listeners, limits, events, self.poller, room)
        self._watched: dict[int, Callable[[], None]] = {}
        self._until = math.inf  # the drain limit, once stopped
        self._held: deque[tuple[socket.socket, Address, T]] = deque()
        self.poller.register(stop.fileno(), 0)

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        self._watched[fd] = call
        self.poller.register(fd, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        del self._watched[fd]
        self.poller.unregister(fd)

    def hold(self, arrival: tuple[socket.socket, Address, T], reason: str) -> None:
        """What is to serve *arrival* could not be started, for now: it is given out again after a pause."""
        self._held.append(arrival)
        self.door.pause(reason)

    def arrivals(self) -> Iterator[tuple[socket.socket, Address, T]]:
        """One connection after another, until the door is shut for good."""
        while (self.door.open or self._held) and time.monotonic() < self._until:
            yield from self._round()
            while self._held and self.door.due == math.inf:  # hold() begins a pause
                yield self._held.popleft()
            if self._until < math.inf:
                yield from self.door.drain()
        self.door.close()
        for sock, peer, _ in self._held:  # the drain limit
            reset(sock)
            self.door.left(peer)
            self.events.tell(Event(Kind.CUT, (peer,)))
        self._held.clear()

    def wait(self, patience: float) -> None:
        """With the door shut, wait for those inside; after a stop until *patience* seconds past the drain limit."""
        while self.door.inside and time.monotonic() < self._until + patience:
            for _ in self._round():
                pass

    def look(self) -> None:
        """While something else blocks, and nobody can be let in: tell who waits."""
        for fd, _ in self.poller.poll(0):
            if fd == self.stop.fileno():
                self._stopped()
            elif self.door.guards(fd):
                self.door.knock(fd)

    def _stopped(self) -> None:
        if self._until == math.inf:  # look() may have seen it in the middle of a round that has it still to come
            self.poller.unregister(self.stop.fileno())  # once set it is always ready
            self._until = self.stop.noticed() + self.limits.drain

    def _round(self) -> Iterator[tuple[socket.socket, Address, T]]:
        now = time.monotonic()
        due = min(self.events.due, self.door.due, math.inf if self._until == math.inf else now + _PAUSE)
        for fd, _ in self.poller.poll(min(max(0.0, due - now), LONGEST)):
            if fd == self.stop.fileno():
                self._stopped()
            elif fd in self._watched:
                self._watched[fd]()
            elif self.door.guards(fd):
                yield from self.door.arrivals(fd)
        self.door.tick(time.monotonic())
        self.events.tick()

    def close(self) -> None:
        self.door.close()
        self.poller.close()

    def abandon(self) -> None:
        """In a forked child: close its copies."""
        self.door.abandon()
        self.poller.close()

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
