"""The connections of the event engine, and the transitions between their states.

event.py describes the states. Each transition leaves the connection in exactly one of them, and the
poller watching for what that state needs; or closed, with one event reported.
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
from ..errors import Refused, failure
from ..events import Event, Events, Kind
from ..limits import Limits
from ..listeners import Listener
from ..net import kernel
from ..sockets import reset, unsent, waits
from ..wire.protocol import Service, Span
from .acceptor import MOST_WATCHED, Acceptor, capacity
from .opened import FIRST, LINGERING, PAUSED, READING, SPLICING, WRITING, Open, rest, send, size
from .pipe import Pipe
from .serving import LINGER, NOT_TAKEN, QUIET
from .sweep import Sweep
from .watches import Watches

_IN = select.EPOLLIN
_READ = _IN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
_WRITE = select.EPOLLOUT | select.EPOLLET
# Level-triggered: a pipe may be full before the receive buffer is empty.
_SPLICE = _IN
# The first read is 4 KiB: a fresh large bytes object is expensive. Small messages lower it to 448
# bytes, which Python's own allocator serves.
SMALL = 448
_LARGEST = 65536
# More than a message of 64 KiB in TLS records: half as many reads.
_WHOLE = 66_560
_LARGER = {SMALL: FIRST, FIRST: _LARGEST, _LARGEST: _WHOLE, _WHOLE: _WHOLE}
# Pieces of a long output sent in one turn, so that other connections get theirs.
_PIECES = 16


class Connections:
    """All connections of one loop. *cut* is the drain limit, once stopped."""

    def __init__(
        self,
        listeners: Sequence[tuple[Listener, Service]],
        limits: Limits,
        events: Events,
        poller: select.epoll,
    ) -> None:
        self.open: dict[int, Open] = {}
        # Those of them that are READING, and whose protocol reflects.
        self.mirrors: dict[int, Open] = {}
        self.limits, self.events, self.poller = limits, events, poller
        self.acceptor = Acceptor(listeners, limits, events, poller, capacity(limits, MOST_WATCHED))
        self.sweep = Sweep()
        self.cut = math.inf
        # Memory is short: reads stay small.
        self.lean = False
        # One pipe for all: it is empty between two turns.
        self._pipe = Pipe()
        self.watches = Watches(poller)
        # By state: READING, WRITING, SPLICING, LINGERING, PAUSED.
        self.handlers = (self.read, self.flush, self.splice, self.linger, self.hung_up)

    def close_all(self) -> None:
        """Close the listeners and reset every connection."""
        self.acceptor.close()
        for c in list(self.open.values()):
            self.abort(c, Kind.CUT, "")
        self._pipe.drop()

    def admit(self, sock: socket.socket, peer: Address, service: Service, at: float) -> None:
        """Begin to serve an accepted connection. An exception of the service ends only this one."""
        sock.setblocking(False)
        c = Open(sock, peer, self.events, at)
        try:
            c.protocol = protocol = service(c)
            # A protocol that lacks an attribute fails here, and alone.
            reflects = protocol.reflects
            _ = protocol.within, protocol.reads, protocol.watch, protocol.done, protocol.error
            c.connected()
            self.acceptor.admitted()
            out = protocol.start()
        except Refused as refused:
            c.kind, c.detail = Kind.REFUSED, str(refused)
            self.close(c)
            return
        except Exception as error:
            self.fail(c, error)
            return
        fd = sock.fileno()
        self.open[fd] = c
        self.poller.register(fd, _READ)
        if reflects:
            self.mirrors[fd] = c
        if self.limits.idle is not None:
            self.sweep.by(at + self.limits.idle)
        self.send(c, out, at)

    # Reading

    def read(self, c: Open, fd: int, mask: int, at: float) -> None:
        """Read once, and send the protocol's answer: the hot path of other than reflecting ones."""
        try:
            data = kernel.read(fd, c.size)
            out = c.protocol.receive(data) if data else b""
        except BlockingIOError:
            return
        except Exception as error:
            # The protocol's own error, too, ends this connection and no other.
            self.fail(c, error)
            return
        if not data:
            self.finish(c, at, ended=True)
            return
        c.moved = at
        n = len(data)
        if n < SMALL // 2 and c.size == FIRST:
            c.size = SMALL
        self.send(c, out, at)
        if n == c.size or mask != _IN:
            self.rearm(c, fd, n)

    def rearm(self, c: Open, fd: int, n: int) -> None:
        """Request the edge again: a read of *n* bytes was full, or a FIN or urgent data follows."""
        if c.state != READING or self.open.get(fd) is not c:
            return
        if n >= _LARGEST and fd in self.mirrors and self._begin_splice(c, fd):
            return
        if n == c.size and not (self.lean and n >= FIRST):
            c.size = _LARGER[n]
        self.poller.modify(fd, _READ)

    def _begin_splice(self, c: Open, fd: int) -> bool:
        """From READING to SPLICING. False if no pipe can be made."""
        if not self._pipe.open():
            return False
        del self.mirrors[fd]
        c.state = SPLICING
        self.poller.modify(fd, _SPLICE)
        return True

    def splice(self, c: Open, fd: int, _mask: int, at: float) -> None:
        """Echo what has been received through the pipe.

        The connection is not read until all pending output is sent. A small piece,
        the FIN, or urgent data (before which splice stops) returns it to READING.
        """
        if not self._pipe.open():
            self._read_again(c)
            return
        try:
            n, left = self._pipe.reflect(fd)
        except OSError as error:
            self.fail(c, error)
            return
        if n:
            c.moved = at
            # As in loop(): only the first message after a report is passed on.
            if c.messages == c.reported:
                self.events.received(c, n)
            else:
                c.messages += 1
                c.bytes += n
        if left:
            self.after_write(c, left, len(left), at)
        elif n < FIRST:
            c.size = FIRST
            self._read_again(c)

    def finish(self, c: Open, at: float, *, ended: bool = False) -> None:
        """Send the protocol's last output; then the end. *ended*: the peer has sent its FIN."""
        c.ending, c.ended, c.moved = True, ended, at
        self.ask(c, c.protocol.eof if ended else c.protocol.close, at)

    # Writing

    def send(self, c: Open, out: bytes | Span, at: float) -> None:
        """Send *out*, and the pieces that follow it, as far as the peer accepts them."""
        protocol, fd, pieces = c.protocol, c.sock.fileno(), 0
        while out and pieces < _PIECES:
            left = size(out)
            try:
                left -= send(fd, out) if isinstance(out, Span) else kernel.write(fd, out)
            except BlockingIOError:
                pass
            except OSError as error:
                self.fail(c, error)
                return
            if left:
                self.after_write(c, out, left, at)
                return
            pieces += 1
            try:
                out = protocol.more()
            except Exception as error:
                self.fail(c, error)
                return
        # The usual case of after_write(), without its call.
        if out or c.ending or protocol.done or protocol.within is not None or c.state != READING:
            self.after_write(c, out, size(out), at)
        else:
            c.until = math.inf

    def after_write(self, c: Open, out: bytes | Span, left: int, at: float) -> None:
        """Enter the state that follows a write: the last *left* bytes of *out* are pending."""
        c.ending |= c.protocol.done
        if left:
            fd = c.sock.fileno()
            self.mirrors.pop(fd, None)
            c.state = WRITING
            c.left = rest(out, size(out) - left)
            self.poller.modify(fd, _WRITE)
        elif c.ending:
            self.half_close(c, at)
        else:
            if c.state == WRITING or c.protocol.reads is (c.state == PAUSED):
                c.moved = at
                self._read_again(c)
            if (within := c.protocol.within) is None:
                c.until = math.inf
            else:
                c.until = at + within
                self.sweep.by(c.until)
                self.watches.add(c)

    def _read_again(self, c: Open) -> None:
        """To READING; data that has arrived meanwhile is reported at once. Or to PAUSED."""
        fd = c.sock.fileno()
        if not c.protocol.reads:
            c.state = PAUSED
            self.poller.modify(fd, 0)  # but for EPOLLHUP and EPOLLERR
            return
        c.state = READING
        if c.protocol.reflects:
            self.mirrors[fd] = c
        self.poller.modify(fd, _READ)

    def flush(self, c: Open, fd: int, _mask: int, at: float) -> None:
        """Send pending output."""
        try:
            sent = send(fd, c.left)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(c, error)
            return
        c.moved = at
        c.left = rest(c.left, sent)
        if size(c.left):
            # A Span stops at its share of a turn, not at a full buffer: request the edge again.
            if isinstance(c.left, Span):
                self.poller.modify(fd, _WRITE)
            return
        c.left = b""
        self.ask(c, c.protocol.more, at)

    def ready(self, c: Open, at: float) -> None:
        """Handle the readiness of the protocol's own descriptor. Pending output is sent first: the
        descriptor is watched again afterwards.
        """
        if c.state in (READING, PAUSED):
            self.ask(c, c.protocol.ready, at)

    def ask(self, c: Open, call: Callable[[], bytes | Span], at: float) -> None:
        """Send the output that *call*, a method of the protocol, returns."""
        try:
            out = call()
        except Exception as error:
            self.fail(c, error)
            return
        self.send(c, out, at)

    # The end

    def half_close(self, c: Open, at: float) -> None:
        """All output is sent: close, or send our FIN and linger until the peer's arrives."""
        if error := c.protocol.error:
            c.kind, c.detail = Kind.FAILED, str(error)
        if c.ended:
            self.close(c)
            return
        try:
            c.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            # The peer's reset was faster.
            self.fail(c, error)
            return
        fd = c.sock.fileno()
        self.mirrors.pop(fd, None)
        c.state = LINGERING
        c.until = at + LINGER
        self.sweep.by(c.until)
        self.poller.modify(fd, _READ)

    def linger(self, c: Open, fd: int, _mask: int, _at: float) -> None:
        """Discard what arrives after our FIN, until the peer's."""
        try:
            data = kernel.read(fd, _LARGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.poller.modify(fd, _READ)
        else:
            self.close(c)

    def hung_up(self, c: Open, _fd: int, mask: int, _at: float) -> None:
        """PAUSED: only a reset matters."""
        if mask & (select.EPOLLHUP | select.EPOLLERR):
            error = c.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET
            self.fail(c, OSError(error, os.strerror(error)))

    def fail(self, c: Open, error: Exception) -> None:
        """Reset the connection, so that the peer does not take it for the end of the stream."""
        reason = error.strerror if isinstance(error, OSError) else None
        kind = Kind.REFUSED if isinstance(error, Refused) else Kind.FAILED
        self.abort(c, kind, reason or failure(error))

    def abort(self, c: Open, kind: Kind, detail: str) -> None:
        c.kind, c.detail = kind, detail
        self.close(c, reset)

    def close(self, c: Open, how: Callable[[socket.socket], None] = socket.socket.close) -> None:
        """Close the socket, make room for another client, and report the end."""
        fd = c.sock.fileno()
        self.open.pop(fd, None)
        self.mirrors.pop(fd, None)
        self.watches.forget(c)
        how(c.sock)
        # A protocol that knows its connection would live on, with the file that it has open. A
        # refused connection has none.
        if hasattr(c, "protocol"):
            del c.protocol
        self.acceptor.release(c.via or c.peer, admitted=c.admitted, refused=c.kind is Kind.REFUSED)
        self.events.report(
            Event(
                c.kind,
                (c.peer,),
                messages=c.messages,
                bytes=c.bytes,
                seconds=time.monotonic() - c.began,
                detail=c.detail,
            )
        )

    # Limits

    def save_memory(self) -> None:
        """Read in small pieces, and request every edge again: events may have been lost."""
        self.lean = True
        for fd, c in self.open.items():
            if c.state == SPLICING:
                self._read_again(c)
            c.size = min(c.size, FIRST)
            if c.state != PAUSED:
                self.poller.modify(fd, _WRITE if c.state == WRITING else _READ)

    def check_limits(self, c: Open, at: float) -> float:
        """Apply the time limits to one connection; the time of its next check."""
        if c.state == LINGERING:
            if at >= min(c.until, self.cut):
                if not unsent(c.sock):
                    self.close(c)
                elif at >= min(c.moved + self.limits.drain, self.cut):
                    self.abort(c, Kind.CUT, "")
                else:
                    # A slow reader: a close now could turn into a reset.
                    c.until = at + LINGER
            return min(c.until, self.cut)
        reads = c.state in (READING, SPLICING)
        idle = c.moved + (self.limits.idle or math.inf) if c.state != PAUSED else math.inf
        quiet = c.moved + QUIET if self.cut < math.inf and reads else math.inf
        wake = c.until if c.state in (READING, PAUSED) else math.inf
        if at >= self.cut:
            self.abort(c, Kind.CUT, "")
        elif at >= wake:
            c.until = math.inf
            self.ask(c, c.protocol.wake, at)
        elif at >= idle and c.state == WRITING:
            self.abort(c, Kind.FAILED, f"idle for {self.limits.idle:g} s with output pending")
        elif at >= idle and unsent(c.sock):
            self.abort(c, Kind.FAILED, NOT_TAKEN)
        elif at >= min(idle, quiet) and not waits(c.sock):
            c.detail = f"idle for {self.limits.idle:g} s" if at >= idle else ""
            self.finish(c, at)
        elif at < min(idle, quiet):
            return min(idle, quiet, wake, self.cut)
        # Soon again.
        return at
