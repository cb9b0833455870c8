"""One loop on epoll(7) for all clients (CS:APP 12.2, echoservers.c): the default.

A connection is in one of three states, each with what the poller watches for:

    reading     something to read: it goes through the protocol and back at once
    writing     room to write: the peer has not taken all, and is not read from until it has
    lingering   the peer's FIN, after ours: what still comes is dropped, and a bounded time later we close

The poller tells edges (EPOLLET), which saves the kernel a second look at every descriptor after each read. An edge is
told once, so each must be used up: a read that was not filled has taken all there was (epoll(7), question 9), and after
one that was, or with a FIN or urgent data (where a read stops short) announced beside the data, the edge is asked for
again (EPOLL_CTL_MOD tells it if it stands).

loop() is the hot path. A message of 64 bytes costs the kernel some 5 µs, and what Python adds has to stay small beside
that: what reflects is not asked what to send, counters are inline, and the small answers of a round are written in one
go, which wakes their clients less often and keeps the processor's caches warm (large ones would push each other out).
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import time
from collections.abc import Callable, Sequence

from ..address import Address
from ..errors import Refused
from ..events import Event, Events, Kind
from ..limits import Limits
from ..listeners import Listener
from ..net import kernel
from ..sockets import reset, unsent, waits
from ..stop import Stop
from ..wire.protocol import Service, Span
from .door import LONGEST, MOST_WATCHED, Door, room
from .opened import FIRST, LINGERING, READING, WRITING, Open, rest, send, size
from .serving import LINGER, NOT_TAKEN, QUIET
from .sweep import Sweep

_IN = select.EPOLLIN
_READ = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
_WRITE = select.EPOLLOUT | select.EPOLLET
# A read of 4 KiB at first: a fresh large bytes object is dear. Small messages make it 448: Python's own allocator gives those.
_SMALL = 448
_LARGER = {_SMALL: FIRST, FIRST: 65536, 65536: 65536}
_LEAN, _LEAN_SIZES = 10.0, {_SMALL: FIRST, FIRST: FIRST, 65536: FIRST}  # seconds of small reads after memory ran out
_SHARE = 8  # one of so many debtors is reset when memory runs out
_DRAIN = 0.02  # seconds from one look at who waits at the door to the next, once stopped
_PIECES = 16  # of a long output, sent in one turn: others get theirs
_AT_ONCE = 64  # events taken from the poller in one call: small answers wait until all of them are read


def event(listeners: Sequence[tuple[Listener, Service]], stop: Stop, limits: Limits, events: Events) -> None:
    with kernel.epoll() as poller:
        _Loop(listeners, stop, limits, events, poller).run()


class _Loop:
    def __init__(
        self, listeners: Sequence[tuple[Listener, Service]], stop: Stop, limits: Limits, events: Events, poller: select.epoll
    ) -> None:
        self.door = Door(listeners, limits, events, poller, room(limits, MOST_WATCHED))
        self.stop, self.limits, self.events, self.poller = stop, limits, events, poller
        self.connections: dict[int, Open] = {}
        self.mirrors: dict[int, Open] = {}  # those of them that are reading, and whose protocol reflects
        self.cut = math.inf  # the drain limit, once stopped
        self.sweep = Sweep()
        self.larger, self.lean = _LARGER, math.inf  # and until when reads are small, for want of memory
        self.came: list[tuple[int, bytes]] = []  # was read, and is still to be returned
        poller.register(stop.fileno(), 0)

    def run(self) -> None:
        try:
            while True:
                try:
                    self.loop()
                    return
                except MemoryError:
                    self.relieve()
        finally:
            self.door.close()
            for c in list(self.connections.values()):
                self.abort(c, Kind.CUT, "")

    def loop(self) -> None:
        connections, mirrors, received, door = self.connections, self.mirrors, self.events.received, self.door
        poll, read, now = self.poller.poll, kernel.read, time.monotonic
        at, longest = now(), 0.0 if self.limits.spin else LONGEST
        while door.open or connections:
            due = min(self.events.due, door.due, self.sweep.due)
            ready = poll(min(max(0.0, due - at), longest), _AT_ONCE)
            at = now()
            came = self.came
            for fd, mask in ready:
                try:
                    c = mirrors[fd]
                    data = read(fd, c.size)
                except KeyError:
                    self.other(fd, at)
                    continue
                except BlockingIOError:
                    continue
                except OSError as error:
                    self.fail(c, error)
                    continue
                n = len(data)
                if n == 0:
                    self.finish(c, at, ended=True)
                    continue
                came.append((fd, data))
                c.moved = at
                if c.messages == c.reported:  # all that came is told or summed up: this one is the first that is not
                    received(c, n)
                    if n < _SMALL // 2 and c.size == FIRST:
                        c.size = _SMALL
                else:
                    c.messages += 1
                    c.bytes += n
                if n > FIRST:
                    self.reflect(came, at)
                if n == c.size or mask != _IN:
                    self.again(c, fd, n)
            self.reflect(came, at)
            if at >= due:
                self.look_after(at)

    def reflect(self, came: list[tuple[int, bytes]], at: float) -> None:
        """Send back what *came* to each descriptor, and empty the list."""
        write = kernel.write
        for fd, data in came:
            try:
                sent = write(fd, data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self.fail(self.mirrors[fd], error)
                continue
            if sent < len(data):
                self.keep(self.mirrors[fd], data, len(data) - sent, at)
        came.clear()

    def relieve(self) -> None:
        """Out of memory: accept nobody for now; reset the largest debtors, and those whose bytes may not have been returned."""
        self.door.pause(os.strerror(errno.ENOMEM))
        debtors = [c for c in self.connections.values() if c.left and not isinstance(c.left, Span)]
        debtors.sort(key=lambda c: size(c.left), reverse=True)
        lost = [self.connections[fd] for fd, _ in self.came if fd in self.connections]
        self.came.clear()
        for c in {id(c): c for c in lost + debtors[: 1 + len(debtors) // _SHARE]}.values():
            self.abort(c, Kind.FAILED, f"out of memory: it had {size(c.left):,} bytes still to take")
        self.larger, self.lean = _LEAN_SIZES, time.monotonic() + _LEAN  # a large read would find no room
        for fd, c in self.connections.items():
            c.size = min(c.size, FIRST)
            self.poller.modify(fd, _WRITE if c.state == WRITING else _READ)

    def admit(self, sock: socket.socket, peer: Address, service: Service, at: float) -> None:
        sock.setblocking(False)
        c = Open(sock, peer, self.events, at)
        try:
            c.protocol = protocol = service(c)
            reflects, _ = protocol.reflects, (protocol.within, protocol.done, protocol.error)  # one that lacks
            c.connected()  # any of them fails here, and alone
            self.door.admitted()
            out = protocol.start()
        except Refused as refused:
            c.kind, c.detail = Kind.REFUSED, str(refused)
            self.close(c)
            return
        except Exception as error:
            self.fail(c, error)
            return
        fd = sock.fileno()
        self.connections[fd] = c
        self.poller.register(fd, _READ)
        if reflects:
            self.mirrors[fd] = c
        if self.limits.idle is not None:
            self.sweep.by(at + self.limits.idle)
        self.send(c, out, at)

    def write(self, c: Open, out: bytes | memoryview | Span) -> int | None:
        """Send as much of *out* as the peer takes now: how many bytes. None if the connection failed, and is closed."""
        try:
            return send(c.sock.fileno(), out) if out else 0
        except BlockingIOError:
            return 0
        except OSError as error:
            self.fail(c, error)
            return None

    def send(self, c: Open, out: bytes | Span, at: float) -> None:
        """Send what the protocol returned, and what is more, as far as the peer takes it; go on to the state that follows."""
        for _ in range(_PIECES):
            sent = self.write(c, out)
            if sent is None:
                return
            if not out or sent < size(out):
                self.keep(c, out, size(out) - sent, at)
                return
            try:
                out = c.protocol.more()
            except Exception as error:
                self.fail(c, error)
                return
        self.keep(c, out, size(out), at)

    def keep(self, c: Open, out: bytes | Span, left: int, at: float) -> None:
        """*left* bytes of *out* are still to be sent; if none are, and that was the last, it is over."""
        c.ending |= c.protocol.done
        if left:
            fd = c.sock.fileno()
            self.mirrors.pop(fd, None)
            c.state = WRITING
            c.left = rest(out, size(out) - left)
            self.poller.modify(fd, _WRITE)
        elif c.ending:
            self.part(c, at)
        else:
            if c.state == WRITING:
                self.read_again(c)
            c.until = math.inf if (within := c.protocol.within) is None else at + within
            self.sweep.by(c.until)

    def read_again(self, c: Open) -> None:
        """All is sent: read, for whatever came meanwhile."""
        fd = c.sock.fileno()
        c.state = READING
        if c.protocol.reflects:
            self.mirrors[fd] = c
        self.poller.modify(fd, _READ)

    def read(self, c: Open, fd: int, at: float) -> None:
        """What the hot path does for those that reflect, for any other protocol."""
        try:
            data = kernel.read(fd, c.size)
            out = c.protocol.receive(data) if data else b""
        except BlockingIOError:
            return
        except Exception as error:  # the protocol's own, too: this connection's, and no other's
            self.fail(c, error)
            return
        if not data:
            self.finish(c, at, ended=True)
            return
        c.moved = at
        self.send(c, out, at)
        self.again(c, fd, len(data))

    def again(self, c: Open, fd: int, n: int) -> None:
        """A read of *n* bytes may not have been all, or the end is near: ask for the edge once more."""
        if c.state == READING and self.connections.get(fd) is c:
            if n == c.size:
                c.size = self.larger[n]
            self.poller.modify(fd, _READ)

    def flush(self, c: Open, fd: int, at: float) -> None:
        sent = self.write(c, c.left)
        if not sent:
            return
        c.moved = at
        c.left = rest(c.left, sent)
        if size(c.left):
            if isinstance(c.left, Span):  # its turn was over before the peer took no more: ask for the edge again
                self.poller.modify(fd, _WRITE)
            return
        c.left = b""
        self.ask(c, c.protocol.more, at)

    def ask(self, c: Open, call: Callable[[], bytes | Span], at: float) -> None:
        """Send what *call*, one of the protocol's, returns."""
        try:
            out = call()
        except Exception as error:
            self.fail(c, error)
            return
        self.send(c, out, at)

    def finish(self, c: Open, at: float, *, ended: bool = False) -> None:
        """Nothing more will be read, since the peer has *ended* or we have: the protocol's last bytes, and then the end."""
        c.ending, c.ended, c.moved = True, ended, at
        self.ask(c, c.protocol.eof if ended else c.protocol.close, at)

    def part(self, c: Open, at: float) -> None:
        """All is written: close, or if the peer's FIN is still to come, send ours and linger until it does."""
        if error := c.protocol.error:
            c.kind, c.detail = Kind.FAILED, str(error)
        if c.ended:
            self.close(c)
            return
        try:
            c.sock.shutdown(socket.SHUT_WR)
        except OSError as error:  # a reset was faster
            self.fail(c, error)
            return
        fd = c.sock.fileno()
        self.mirrors.pop(fd, None)
        c.state = LINGERING
        c.until = at + LINGER
        self.sweep.by(c.until)
        self.poller.modify(fd, _READ)

    def linger(self, c: Open, fd: int, _at: float) -> None:
        """Drop what still comes after our FIN, until the peer's."""
        try:
            data = kernel.read(fd, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.poller.modify(fd, _READ)
        else:
            self.close(c)

    def fail(self, c: Open, error: Exception) -> None:
        told = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
        self.abort(c, Kind.FAILED, told)  # a reset, so that the peer does not take it for the end

    def abort(self, c: Open, kind: Kind, detail: str) -> None:
        c.kind, c.detail = kind, detail
        self.close(c, reset)

    def close(self, c: Open, how: Callable[[socket.socket], None] = lambda sock: sock.close()) -> None:
        fd = c.sock.fileno()
        self.connections.pop(fd, None)
        self.mirrors.pop(fd, None)
        how(c.sock)
        self.door.left(c.peer, admitted=c.admitted, refused=c.kind is Kind.REFUSED)
        seconds = time.monotonic() - c.began
        self.events.tell(Event(c.kind, (c.peer,), messages=c.messages, bytes=c.bytes, seconds=seconds, detail=c.detail))

    def other(self, fd: int, at: float) -> None:
        c = self.connections.get(fd)
        if c is not None:
            try:
                (self.read, self.flush, self.linger)[c.state](c, fd, at)
            except MemoryError as error:  # bytes of it may be lost
                if self.connections.get(fd) is c:
                    self.fail(c, error)
                raise
        elif self.door.guards(fd):
            for sock, peer, service in self.door.arrivals(fd):
                self.admit(sock, peer, service, at)
        elif fd == self.stop.fileno():
            self.poller.unregister(fd)  # once set it is always ready
            self.cut = self.stop.noticed() + self.limits.drain
            self.sweep.by(at)

    def look_after(self, at: float) -> None:
        """Whatever is due: the events of a second, the door, the limits in time."""
        self.events.tick()
        self.door.tick(at)
        if at >= self.lean:
            self.larger, self.lean = _LARGER, math.inf
        if at < self.sweep.due:
            return
        if self.cut < math.inf:
            for sock, peer, service in self.door.drain():
                self.admit(sock, peer, service, at)
        if not self.sweep.turn(self.connections.values(), self.look_at, at):
            return  # those that have something to read are not kept waiting for all of it
        if at >= self.cut:
            self.door.close()
        elif self.cut < math.inf and self.door.open:
            self.sweep.by(at + _DRAIN)

    def look_at(self, c: Open, at: float) -> float:
        """Hold one connection to the limits in time; when to look at it again."""
        if c.state == LINGERING:
            if at >= min(c.until, self.cut):
                if not unsent(c.sock):
                    self.close(c)
                elif at >= min(c.moved + self.limits.drain, self.cut):
                    self.abort(c, Kind.CUT, "")
                else:  # a slow reader: a close now could turn into a reset
                    c.until = at + LINGER
            return min(c.until, self.cut)
        idle = math.inf if self.limits.idle is None else c.moved + self.limits.idle
        quiet = c.moved + QUIET if self.cut < math.inf and c.state == READING else math.inf
        wake = c.until if c.state == READING else math.inf
        if at >= self.cut:
            self.abort(c, Kind.CUT, "")
        elif at >= wake:
            c.until = math.inf
            self.ask(c, c.protocol.wake, at)
        elif at >= idle and c.state == WRITING:
            self.abort(c, Kind.FAILED, f"idle for {self.limits.idle:g} s while we waited to write")
        elif at >= idle and unsent(c.sock):
            self.abort(c, Kind.FAILED, NOT_TAKEN)
        elif at >= min(idle, quiet) and not waits(c.sock):
            c.detail = f"idle for {self.limits.idle:g} s" if at >= idle else ""
            self.finish(c, at)
        elif at < min(idle, quiet):
            return min(idle, quiet, wake, self.cut)
        return at  # soon again
