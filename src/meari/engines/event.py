"""One loop on epoll(7) for all clients (CS:APP 12.2, echoservers.c): the default engine.

A connection is in one of five states. Each state watches for one thing:

    READING     data to read; it passes through the protocol and back in the same round
    WRITING     space in the send buffer: output is pending, and nothing is read until it is sent
    SPLICING    data to read, in bulk: it is echoed through a pipe by splice(2), without copying
    LINGERING   the peer's FIN, after ours: received bytes are discarded meanwhile, up to a limit
    PAUSED      a reset: the protocol waits for something else than its peer

    accept -> READING <-> WRITING          n bytes of output did not fit; all of them are sent
              READING <-> SPLICING         a reflecting connection filled a read; a small piece came
              READING, WRITING <-> PAUSED  the protocol wants no data for now, and then some
              READING, WRITING -> closed   the peer has sent its FIN, and all output is sent
              READING, WRITING -> LINGERING -> closed    this end closes first

The transitions are methods of Connections (transitions.py). The loop is here.

Worked example: a client sends "hello\\n", then its FIN. epoll reports EPOLLIN. loop() finds the
descriptor in `mirrors`, since the connection reflects: received bytes are the output, and the
protocol is not asked. It reads 6 bytes and counts one message; reflect() writes them back at the
end of the round. epoll reports EPOLLIN and EPOLLRDHUP. The read returns b"": finish() asks the
protocol for its last output, there is none, and the connection is closed.

If the client does not read, write(2) accepts only a part. after_write() keeps the rest in `c.left`,
removes the connection from `mirrors` and waits for EPOLLOUT. Until then the connection is not read,
so its memory is bounded by one read, and TCP's flow control stops the client.

Edge-triggered polling (EPOLLET) saves the kernel a second look at every descriptor after each read.
An edge is reported once, so it has to be used up: a read that was not filled has emptied the
receive buffer (epoll(7), question 9). After a full read, or if a FIN or urgent data (where a read
stops short) was reported beside the data, rearm() requests the edge again: EPOLL_CTL_MOD reports a
condition that still holds.

loop() is the hot path. A message of 64 bytes costs the kernel about 5 µs; Python's share has to
stay small beside it. So the counters are inline, `mirrors` is one dict lookup instead of a branch
for each kind of connection, and the small answers of a round are written together: the clients are
woken less often, and the caches stay warm. Large answers are written at once, since they would push
each other out of the cache.
"""

from __future__ import annotations

import errno
import math
import os
import select
import time
from collections.abc import Sequence

from ..events import Events, Kind
from ..limits import Limits
from ..listeners import Listener
from ..net import kernel
from ..stop import Stop
from ..wire.protocol import Service, Span
from .acceptor import LONGEST
from .opened import FIRST, size
from .transitions import SMALL, Connections

_IN = select.EPOLLIN
# One of so many connections with pending output is reset when memory runs out.
_SHARE = 8
# Seconds of small reads after memory ran out.
_LEAN = 10.0
# Seconds between two checks of the backlog, once stopped.
_DRAIN = 0.02
# Events taken from the poller in one call: small answers wait until all of them are read.
_AT_ONCE = 64


def event(
    listeners: Sequence[tuple[Listener, Service]], stop: Stop, limits: Limits, events: Events
) -> None:
    with kernel.epoll() as poller:
        _Loop(Connections(listeners, limits, events, poller), stop, limits, events).run()


class _Loop:
    def __init__(
        self, connections: Connections, stop: Stop, limits: Limits, events: Events
    ) -> None:
        self.connections, self.poller = connections, connections.poller
        self.acceptor, self.sweep = connections.acceptor, connections.sweep
        self.stop, self.limits, self.events = stop, limits, events
        # When reads may be large again, after memory ran out.
        self.lean = math.inf
        # Received, and not written back yet.
        self.received: list[tuple[int, bytes]] = []
        self.poller.register(stop.fileno(), 0)

    def run(self) -> None:
        try:
            while True:
                try:
                    self.loop()
                    return
                except MemoryError:
                    self.relieve()
        finally:
            self.connections.close_all()

    def loop(self) -> None:
        connections, acceptor = self.connections, self.acceptor
        opened, mirrors = connections.open, connections.mirrors
        poll, read, now, count = self.poller.poll, kernel.read, time.monotonic, self.events.received
        at, longest = now(), 0.0 if self.limits.spin else LONGEST
        while acceptor.open or opened:
            due = min(self.events.due, acceptor.due, self.sweep.due)
            ready = poll(min(max(0.0, due - at), longest), _AT_ONCE)
            at = now()
            received = self.received
            for fd, mask in ready:
                try:
                    c = mirrors[fd]
                    data = read(fd, c.size)
                except KeyError:
                    self.dispatch(fd, mask, at)
                    continue
                except BlockingIOError:
                    continue
                except OSError as error:
                    connections.fail(c, error)
                    continue
                n = len(data)
                if n == 0:
                    connections.finish(c, at, ended=True)
                    continue
                received.append((fd, data))
                c.moved = at
                # If all earlier messages are reported, this is the first that is not.
                if c.messages == c.reported:
                    count(c, n)
                    if n < SMALL // 2 and c.size == FIRST:
                        c.size = SMALL
                else:
                    c.messages += 1
                    c.bytes += n
                if n > FIRST:
                    self.reflect(received, at)
                if n == c.size or mask != _IN:
                    connections.rearm(c, fd, n)
            self.reflect(received, at)
            if at >= due:
                self.run_timers(at)

    def reflect(self, received: list[tuple[int, bytes]], at: float) -> None:
        """Write back the data received on each descriptor, and empty the list."""
        write = kernel.write
        for fd, data in received:
            try:
                sent = write(fd, data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self.connections.fail(self.connections.mirrors[fd], error)
                continue
            if sent < len(data):
                c = self.connections.mirrors[fd]
                self.connections.after_write(c, data, len(data) - sent, at)
        received.clear()

    def dispatch(self, fd: int, mask: int, at: float) -> None:
        """Handle an event of anything but a reflecting connection that is READING."""
        c = self.connections.open.get(fd)
        if c is not None:
            try:
                self.connections.handlers[c.state](c, fd, mask, at)
            except MemoryError as error:
                # Received bytes may be lost.
                if self.connections.open.get(fd) is c:
                    self.connections.fail(c, error)
                raise
        elif (c := self.connections.watches.take(fd)) is not None:
            self.connections.ready(c, at)
        elif self.acceptor.is_listener(fd):
            for sock, peer, service in self.acceptor.arrivals(fd):
                self.connections.admit(sock, peer, service, at)
        elif fd == self.stop.fileno():
            # Once set it is always ready.
            self.poller.unregister(fd)
            self.connections.cut = self.stop.noticed() + self.limits.drain
            self.sweep.by(at)

    def run_timers(self, at: float) -> None:
        """Report the events of a second, resume accepting, and hold connections to their limits."""
        connections = self.connections
        self.events.tick()
        self.acceptor.tick(at)
        if at >= self.lean:
            connections.lean, self.lean = False, math.inf
        if at < self.sweep.due:
            return
        if connections.cut < math.inf:
            for sock, peer, service in self.acceptor.drain():
                connections.admit(sock, peer, service, at)
        # A long sweep takes several turns: connections with data to read do not wait for all of it.
        if not self.sweep.turn(connections.open.values(), connections.check_limits, at):
            return
        if at >= connections.cut:
            self.acceptor.close()
        elif connections.cut < math.inf and self.acceptor.open:
            self.sweep.by(at + _DRAIN)

    def relieve(self) -> None:
        """After a MemoryError: stop accepting for a moment, read in small pieces, and reset two
        groups.

        These are the connections whose received bytes may not have been returned, and those with
        the most pending output.
        """
        connections = self.connections
        self.acceptor.pause(os.strerror(errno.ENOMEM))
        owing = [c for c in connections.open.values() if c.left and not isinstance(c.left, Span)]
        owing.sort(key=lambda c: size(c.left), reverse=True)
        lost = [connections.open[fd] for fd, _ in self.received if fd in connections.open]
        self.received.clear()
        chosen = {id(c): c for c in lost + owing[: 1 + len(owing) // _SHARE]}
        for c in chosen.values():
            pending = f"out of memory: {size(c.left):,} bytes were pending"
            connections.abort(c, Kind.FAILED, pending)
        self.lean = time.monotonic() + _LEAN
        connections.save_memory()
