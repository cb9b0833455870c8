"""Serving one connection by blocking on it: what the iterative, process, thread and prethread
engines share.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time
from collections.abc import Callable

from ..address import Address
from ..errors import DeadlineError, MeariError, Refused, Stopped, failure
from ..events import Event, Kind
from ..net import kernel
from ..rio import Readiness, Rio
from ..sockets import unsent
from ..stop import Stop
from ..wire.protocol import Connection, Protocol, Service, Span
from .accept_loop import AcceptLoop

# Seconds without a byte after which a connection is taken to have said all, once we are to stop.
QUIET = 1.0
NOT_TAKEN = "idle, and what was written was not taken"
# Seconds that we read on, after our FIN, so that what is still on its way does not turn it into a
# reset.
LINGER = 2.0

# Blocking: what a textbook server calls for a connection.
Handler = Callable[[Rio, Connection], None]


class _MustReset(MeariError):
    """The connection has to be reset: pending output cannot be sent.

    *kind* is the event of its end.
    """

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class _EndedWithError(MeariError):
    """The protocol's own reason for the end: its output is sent completely."""


class _Idle(DeadlineError):
    """The idle limit."""


_NEVER = MeariError("a wait without an end has ended")


class Patience:
    """How long an engine waits for *sock*: the idle limit, and after the stop the rules of
    draining.

    After the stop a read ends (Stopped) once no byte has moved for QUIET seconds, and everything
    ends at the drain limit. While it waits, events are flushed in time; if *alone*, no other thread
    is at the porch, and it looks there too.
    """

    def __init__(self, sock: socket.socket, loop: AcceptLoop[Handler], alone: bool) -> None:
        self.moved = time.monotonic()
        self._sock = sock
        self._readiness = Readiness(sock, kernel.poll)
        self._limits = loop.limits
        self._events = loop.events
        self._loop = loop if alone else None
        self._stop: Stop | None = loop.stop
        self._stopping: Stop | None = None

    def wait(self, mask: int, deadline: float | None, watch: int | None) -> bool:
        """Wait until the socket is ready for *mask* (True), *watch* can be read, or *deadline*
        passes. Called by a Rio.

        Raises DeadlineError, Stopped or _Idle for a read that is given up, and _MustReset.
        """
        while True:
            until, over = self._until(mask, deadline)
            ready = self._watch(mask, until, watch)
            if not mask or self._sock.fileno() in ready:
                self.moved = time.monotonic()
            if self._sock.fileno() in ready or watch in ready:
                return self._sock.fileno() in ready
            if time.monotonic() >= until:  # and nothing was ready at the last look
                if until != deadline:
                    self.moved = time.monotonic()  # output that is written now has its own time
                if isinstance(over, _Idle) and _owed(self._sock):
                    raise _MustReset(Kind.FAILED, NOT_TAKEN)
                try:
                    raise over
                finally:
                    # An exception that its own frame refers to is freed by the garbage collector
                    # alone, and with it the protocol and the file that it has open.
                    del over

    def _watch(self, mask: int, until: float, watch: int | None = None) -> list[int]:
        """Return the descriptors that are ready by *until*, of the socket and *watch*; possibly
        none, after another event was handled.
        """
        stop = -1 if self._stop is None else self._stop.fileno()
        loop = -1 if self._loop is None else self._loop.poller.fileno()
        others = tuple(fd for fd in (stop, loop, watch) if fd is not None and fd >= 0)
        ready = self._readiness.wait(mask, min(until, self._events.due) - time.monotonic(), others)
        if stop in ready and self._stop is not None:
            # A set stop is always ready: it is watched no more.
            self._stopping, self._stop = self._stop, None
            self._stopping.noticed()
        if loop in ready and self._loop is not None:
            self._loop.look()
        self._events.tick()
        return ready

    def _cut(self) -> float:
        """The drain limit, once there is one."""
        return math.inf if self._stopping is None else self._stopping.noticed() + self._limits.drain

    def _until(self, mask: int, deadline: float | None) -> tuple[float, MeariError]:
        """When a wait is over, and what it then ends in.

        Raises _MustReset for what is over even if the socket is ready.
        """
        if time.monotonic() >= self._cut():
            raise _MustReset(Kind.CUT, "the drain limit")
        found: list[tuple[float, MeariError]] = []
        if deadline is not None:
            if time.monotonic() >= deadline:
                raise DeadlineError("the deadline passed")
            found.append((deadline, DeadlineError("the deadline passed")))
        if (idle := self._limits.idle) is not None and mask:
            late = _Idle(f"idle for {idle:g} s")
            over = (
                late
                if mask == select.POLLIN
                else _MustReset(Kind.FAILED, f"{late} with output pending")
            )
            found.append((self.moved + idle, over))
        if self._stopping is not None:
            found.append((self._cut(), _MustReset(Kind.CUT, "the drain limit")))
            if mask == select.POLLIN:
                found.append((self.moved + QUIET, Stopped("stopped")))
        return min(found, key=lambda one: one[0]) if found else (math.inf, _NEVER)

    def end(self, rio: Rio) -> None:
        """Send our FIN, then read on until the peer's: a close never turns into a reset.

        That is bounded by LINGER seconds, and by the time to drain for as long as the peer has not
        received all output; then it is reset.
        """
        rio.shutdown()
        patient, ended = self._limits.drain, rio.ended
        until, last = time.monotonic() + LINGER, time.monotonic() + patient
        with contextlib.suppress(OSError):
            while not ended and (now := time.monotonic()) < min(until, self._cut()):
                if self._sock.fileno() in self._watch(select.POLLIN, min(until, self._cut())):
                    ended = not self._sock.recv(65536, socket.MSG_DONTWAIT)
                elif unsent(self._sock) and now < last:
                    until = min(time.monotonic() + LINGER, last)
            if not ended and unsent(self._sock):
                raise _MustReset(Kind.CUT, "the drain limit")


def _owed(sock: socket.socket) -> int:
    """Bytes that the peer has not taken; 0 for a connection that is gone."""
    try:
        return unsent(sock)
    except OSError:
        return 0


def converse(rio: Rio, connection: Connection, protocol: Protocol) -> None:
    """The bridge from a Protocol to a blocking engine: CS:APP's echo(), for any protocol."""
    _say(rio, protocol, protocol.start())
    quiet: MeariError | None = None
    while not protocol.done:
        try:
            waits = protocol.watch is not None or not protocol.reads
            if waits and not rio.wait(reads=protocol.reads, watch=protocol.watch):
                _say(rio, protocol, protocol.ready())
                continue
            data = rio.read()
        except (Stopped, _Idle) as late:
            quiet = late
            break
        except DeadlineError:
            _say(rio, protocol, protocol.wake())
            continue
        if not data:
            break
        if protocol.reflects:
            connection.received(len(data))
        _say(rio, protocol, protocol.receive(data))
    if not protocol.done:
        _say(rio, protocol, protocol.close() if quiet else protocol.eof())
    over = _EndedWithError(str(protocol.error)) if protocol.error else quiet
    try:
        if over is not None:
            raise over
    finally:
        del over, quiet  # as in wait()


def _say(rio: Rio, protocol: Protocol, out: bytes | Span) -> None:
    """Send *out*, and all that is more; from then on the protocol's time counts."""
    rio.deadline = None
    while out:
        if isinstance(out, Span):
            rio.sendfile(out.fd, out.offset, out.count)
        else:
            rio.writen(out)
        out = protocol.more()
    if protocol.within is not None:
        rio.deadline = time.monotonic() + protocol.within


def conversing(service: Service) -> Handler:
    """What a blocking engine calls to run a service."""

    def handler(rio: Rio, connection: Connection) -> None:
        protocol = service(connection)
        connection.connected()
        converse(rio, connection, protocol)

    return handler


class Client(Connection):
    """A connection of a blocking engine; *admit* is called once a service has taken it."""

    __slots__ = ("_admit", "refused")

    def __init__(
        self, peer: Address, loop: AcceptLoop[Handler], admit: Callable[[], None] | None
    ) -> None:
        super().__init__(peer, loop.events)
        self.refused = False  # by our own rules
        self._admit = admit

    def connected(self) -> None:
        super().connected()
        if self._admit is not None:
            self._admit()


def serve(
    sock: socket.socket,
    peer: Address,
    handler: Handler,
    loop: AcceptLoop[Handler],
    admit: Callable[[], None] | None = None,
    *,
    alone: bool = False,
) -> Client:
    """Serve one connection to its end. Nothing is raised; one event reports the end; the socket is
    closed.
    """
    connection = Client(peer, loop, admit)
    began = time.monotonic()
    kind, detail = Kind.CLOSED, ""
    engine = Patience(sock, loop, alone)
    with Rio(sock, wait=engine.wait, poll=kernel.poll) as rio:
        try:
            try:
                handler(rio, connection)
            except Stopped:
                pass
            except DeadlineError as late:
                detail = str(late)
            except _EndedWithError as ended:
                kind, detail = Kind.FAILED, str(ended)
            engine.end(rio)
        except Refused as refused:
            kind, detail, connection.refused = Kind.REFUSED, str(refused), True
        except _MustReset as reset:
            kind, detail = reset.kind, str(reset)
            rio.abort()
        except OSError as error:
            kind, detail = Kind.FAILED, error.strerror or str(error)
            rio.abort()  # it may have been a file's
        except Exception as error:
            # A fault of the handler's or the protocol's: this connection's, and no other's.
            kind, detail = Kind.FAILED, failure(error)
            rio.abort()  # so that the peer does not take it for the end
    seconds = time.monotonic() - began
    loop.events.report(
        Event(
            kind,
            (connection.peer,),
            messages=connection.messages,
            bytes=connection.bytes,
            seconds=seconds,
            detail=detail,
        )
    )
    return connection
