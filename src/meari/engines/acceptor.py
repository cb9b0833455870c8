"""Who comes in: accepting, the same for every engine.

A door stands at the listeners and has room for so many. It keeps the rules that accepting has: what
is wrong with one connection is no reason to stop, a machine at its limit is one to pause, whoever
finds no room waits in the backlog (and it is told that somebody does), and after a stop it lets in
all who wait before it shuts.

The listeners sit on an epoll of the engine's. While there is no room they are watched for one edge
(EPOLLONESHOT): that somebody waits is told, and then no more is heard of it until there is room.
"""

from __future__ import annotations

import errno
import math
import os
import resource
import select
import socket
import time
import typing
from collections import Counter
from collections.abc import Iterator, Sequence

from ..address import Address
from ..errors import CapacityError, LocalError, UsageError
from ..events import Event, Events, Kind
from ..limits import Limits
from ..listeners import Listener
from ..sockets import reset
from ..units import amount

T = typing.TypeVar("T")

# Connections at once by default, where one costs a descriptor and some hundred bytes.
MOST_WATCHED = 16_384
MOST_SERVED = 512  # and where one costs a thread or a process
_BATCH = 64  # accepted in one go: a burst of clients must not starve those inside
# Seconds without accepting after the machine was at its limit: each time twice as long.
_LEAST_PAUSE, PAUSE = 0.002, 0.1
LONGEST = 86_400.0  # seconds of one wait, which epoll_wait(2) takes as an int of milliseconds
# Seconds for handshakes that have begun, before an empty listener is closed; and at most, as long
# as the kernel reports any.
_GRACE, _LONGEST_GRACE = 0.05, 1.0
# Descriptors for what is not a connection: listeners, pollers, pipes, a file for a moment.
SPARE = 16


def capacity(limits: Limits, most: int, *, spare: int = 0) -> int:
    """The number of connections at once: the requested one, or *most*, or what descriptors allow.

    The soft limit is raised to the hard one first. Raises UsageError if the requested number, and
    *spare* descriptors that are opened later, exceed the limit; LocalError if none is left.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    in_use = _descriptors()
    left = math.inf if hard == resource.RLIM_INFINITY else hard - in_use
    asked = limits.connections
    if left < 0:
        reason = os.strerror(errno.EMFILE)
        raise LocalError(f"no descriptor is left for a connection: {reason} (limit {hard:,})")
    if asked is None:
        return max(1, min(most, int(min(most + SPARE, left)) - SPARE))
    if asked > left - spare:
        free = f"the descriptor limit of {hard:,} leaves {max(0, left - spare):,}"
        raise UsageError(f"{asked:,} connections cannot be held: {free}")
    return asked


def _descriptors() -> int:
    """How many are open; where /proc is not mounted, as many as a process begins with."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return SPARE


class Acceptor(typing.Generic[T]):
    """The listeners, each with what serves its connections, on *poller*; *room* connections may be
    inside.
    """

    def __init__(
        self,
        listeners: Sequence[tuple[Listener, T]],
        limits: Limits,
        events: Events,
        poller: select.epoll,
        capacity: int,
    ) -> None:
        self.active = 0
        self._listeners = {listener.fileno(): (listener, serves) for listener, serves in listeners}
        self._capacity = capacity
        self._per_source = limits.per_source
        self._sources: Counter[str | None] = Counter()
        self._to_accept = math.inf if limits.accept is None else limits.accept
        self._unsure = 0  # of those inside, who may still be refused
        self._events = events
        self._poller = poller
        self._pause = _LEAST_PAUSE  # the next one
        self.due = math.inf  # when tick() wants to be called: the end of a pause
        self._draining = False
        # When each listener was found empty after the stop, and began to reject SYNs.
        self._rejecting: dict[int, float] = {}
        for fd in self._listeners:
            poller.register(fd, select.EPOLLIN)

    @property
    def open(self) -> bool:
        """Whether anybody may still come in."""
        return bool(self._listeners)

    def tick(self, now: float) -> None:
        if now >= self.due:
            self._arm(
                select.EPOLLIN | (select.EPOLLONESHOT if self.active >= self._capacity else 0)
            )

    def is_listener(self, fd: int) -> bool:
        """Whether *fd* is a listener's."""
        return fd in self._listeners

    def arrivals(self, fd: int) -> Iterator[tuple[socket.socket, Address, T]]:
        """Whoever waits at the listener *fd* and finds room.

        Each has to be given back to release().
        """
        listener, serves = self._listeners[fd]
        certain = False
        for _ in range(_BATCH):
            if not self._to_accept:
                return
            if self.active >= self._capacity:
                self.report_backlog(fd)
                return
            try:
                accepted = listener.accept()
            except CapacityError as error:
                self.pause(str(error))
                return
            if accepted is None:
                if not self._draining or not self._no_more(fd, listener):
                    return
                # A handshake may have finished between the accept and the look: accept once more.
                if certain:
                    self._shut(fd)
                    return
                certain = True
                continue
            certain = False
            sock, peer = accepted
            if self._per_source is not None and self._sources[peer.host] >= self._per_source:
                self._events.report(
                    Event(
                        Kind.REFUSED,
                        (peer,),
                        detail=f"{amount(self._per_source, 'connection')} from {peer.host} already",
                    )
                )
                reset(sock)
                continue
            self._enter(peer)
            yield sock, peer, serves
            if not self._to_accept or self.active >= self._capacity:
                return

    def _no_more(self, fd: int, listener: Listener) -> bool:
        """After the stop, when the backlog is empty: True if no handshake can finish any more.

        New ones are rejected from the first call on. On a busy machine the last segment of one that
        has begun may take longer than the grace time.
        """
        now = time.monotonic()
        if fd not in self._rejecting:
            listener.reject_syn()
            self._rejecting[fd] = now
            return False
        rejecting = now - self._rejecting[fd]
        if rejecting < _GRACE:
            return False
        return rejecting >= _LONGEST_GRACE or not listener.handshakes()

    def _enter(self, peer: Address) -> None:
        self.active += 1
        self._pause = _LEAST_PAUSE
        if self._per_source is not None:
            self._sources[peer.host] += 1
        self._to_accept -= 1
        self._unsure += 1
        if not self._to_accept:
            self._arm(0)  # until it is known whether all of them are served
        elif self.active >= self._capacity:
            self._arm(select.EPOLLIN | select.EPOLLONESHOT)

    def admitted(self) -> None:
        """A service has taken one who came in: who is not known to be taken may be refused yet, and
        then does not count.
        """
        self._unsure -= 1
        self._settle()

    def release(self, peer: Address, *, admitted: bool = False, refused: bool = False) -> None:
        """A connection from *peer* is over: there is room for another.

        *admitted*: admitted() was called for it.
        """
        opens = self.active == self._capacity or (refused and not self._to_accept)
        self.active -= 1
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
        self._events.report(Event(Kind.PAUSED, detail=f"clients wait: {reason}"))
        self._arm(0)
        self.due = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, PAUSE)

    def drain(self) -> Iterator[tuple[socket.socket, Address, T]]:
        """After a stop, and from time to time: let in who waits, as there is room; shut where
        nobody does.
        """
        self._draining = True
        for fd in list(self._listeners):
            if fd in self._listeners:  # the last that may come in shuts all
                yield from self.arrivals(fd)

    def report_backlog(self, fd: int) -> None:
        """Somebody waits at the listener *fd*, and there is no room: told."""
        waiting = self._listeners[fd][0].queue()
        if not waiting:
            return
        who = f"{amount(waiting, 'client')} {'waits' if waiting == 1 else 'wait'}"
        self._events.report(
            Event(Kind.WAITING, detail=f"{who}: at most {self._capacity:,} served at a time")
        )

    def _arm(self, mask: int) -> None:
        self.due = math.inf
        for fd in self._listeners:
            self._poller.modify(fd, mask)

    def _shut(self, fd: int) -> None:
        # A copy of the listener may be open in another process: closing ours would leave it on the
        # epoll (epoll(7)).
        self._poller.unregister(fd)
        self._listeners.pop(fd)[0].close(everywhere=self._draining or not self._to_accept)

    def close(self) -> None:
        """Shut every listener; who waits there is reset."""
        for fd in list(self._listeners):
            self._shut(fd)

    def abandon(self) -> None:
        """In a forked child: close its copies, and leave the epoll alone, which is the parent's
        too.
        """
        for listener, _ in self._listeners.values():
            listener.close()
        self._listeners.clear()
