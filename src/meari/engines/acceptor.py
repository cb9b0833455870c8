"""Accepting connections, the same for every engine.

An Acceptor holds the listeners and the number of connections that may be active. It keeps four
rules. An error of one connection does not stop the others. At a limit of the machine (descriptors,
memory) it pauses and retries. At its own capacity, clients wait in the backlog, and that is
reported. After a stop, it accepts until the backlog is empty before it closes.

The listeners are registered on the engine's epoll. At capacity they are watched for one edge
(EPOLLONESHOT): a waiting client is reported once, and costs nothing more until there is capacity.
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
# Where a connection costs a thread or a process.
MOST_SERVED = 512
# Connections accepted in a row: a burst of clients must not starve the active ones.
_BATCH = 64
# Seconds of a pause after a limit of the machine was reached; each doubles, up to the second.
_LEAST_PAUSE, PAUSE = 0.002, 0.1
# Seconds of the longest wait: epoll_wait(2) takes milliseconds as an int.
LONGEST = 86_400.0
# Seconds for handshakes that have begun, before an empty listener is closed; and at most, as long
# as the kernel reports any.
_GRACE, _LONGEST_GRACE = 0.05, 1.0
# Descriptors other than connections: listeners, pollers, pipes, a file for a moment.
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
    asked, each = limits.connections, limits.descriptors
    if in_use == math.inf:
        reason = os.strerror(errno.EMFILE)
        raise LocalError(f"no descriptor is left for a connection: {reason} (limit {hard:,})")
    if asked is None:
        return max(1, min(most, (int(min(most * each + SPARE, left)) - SPARE) // each))
    if asked * each > left - spare:
        free = f"the descriptor limit of {hard:,} leaves {max(0, left - spare) // each:,}"
        raise UsageError(f"{asked:,} connections cannot be held: {free}")
    return asked


def _descriptors() -> float:
    """The number of open descriptors; infinite if not one more can be opened.

    Without /proc it is not known: as many as a process starts with.
    """
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError as error:
        return math.inf if error.errno == errno.EMFILE else SPARE


class Acceptor(typing.Generic[T]):
    """The listeners, each with the service of its connections, on *poller*.

    At most *capacity* connections are active.
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
        # Active connections that a service has not admitted yet: they may still be refused.
        self._unsure = 0
        self._events = events
        self._poller = poller
        # Seconds of the next pause.
        self._pause = _LEAST_PAUSE
        # When tick() is due: the end of a pause.
        self.due = math.inf
        self._draining = False
        # When each listener was found empty after the stop, and began to reject SYNs.
        self._rejecting: dict[int, float] = {}
        for fd in self._listeners:
            poller.register(fd, select.EPOLLIN)

    @property
    def open(self) -> bool:
        """True while connections may still be accepted."""
        return bool(self._listeners)

    def tick(self, now: float) -> None:
        if now >= self.due:
            self._arm(
                select.EPOLLIN | (select.EPOLLONESHOT if self.active >= self._capacity else 0)
            )

    def is_listener(self, fd: int) -> bool:
        """True if *fd* is a listener."""
        return fd in self._listeners

    def arrivals(self, fd: int) -> Iterator[tuple[socket.socket, Address, T]]:
        """Accept clients of the listener *fd*, as far as there is capacity.

        Each connection has to be given back by release().
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
            # Until it is known whether all of them are admitted.
            self._arm(0)
        elif self.active >= self._capacity:
            self._arm(select.EPOLLIN | select.EPOLLONESHOT)

    def admitted(self) -> None:
        """A service has admitted a connection: from here on it counts as served."""
        self._unsure -= 1
        self._settle()

    def release(self, peer: Address, *, admitted: bool = False, refused: bool = False) -> None:
        """A connection from *peer* has ended. *admitted*: admitted() was called for it."""
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
        """A limit of the machine is reached: accept nothing for a moment."""
        self._events.report(Event(Kind.PAUSED, detail=f"clients wait: {reason}"))
        self._arm(0)
        self.due = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, PAUSE)

    def drain(self) -> Iterator[tuple[socket.socket, Address, T]]:
        """After a stop, repeatedly: accept waiting clients, and close empty listeners."""
        self._draining = True
        for fd in list(self._listeners):
            # The last connection that may be accepted closes all listeners.
            if fd in self._listeners:
                yield from self.arrivals(fd)

    def report_backlog(self, fd: int) -> None:
        """Report the clients that wait at the listener *fd* because of the capacity."""
        waiting = self._listeners[fd][0].queue()
        if not waiting:
            return
        clients = f"{amount(waiting, 'client')} {'waits' if waiting == 1 else 'wait'}"
        self._events.report(
            Event(Kind.WAITING, detail=f"{clients}: at most {self._capacity:,} served at a time")
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
        """Close every listener; clients in its backlog are reset."""
        for fd in list(self._listeners):
            self._shut(fd)

    def abandon(self) -> None:
        """In a forked child: close its copies. The epoll is shared with the parent, and stays."""
        for listener, _ in self._listeners.values():
            listener.close()
        self._listeners.clear()
