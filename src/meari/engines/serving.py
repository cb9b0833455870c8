"""Serving one connection by blocking on it: what the iterative, process, thread and prethread engines share."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time
from collections.abc import Callable

from ..address import Address
from ..errors import DeadlineError, MeariError, Refused, Stopped
from ..events import Event, Kind
from ..net import kernel, unsent
from ..rio import Rio
from ..stop import Stop
from ..wire.protocol import Connection, Protocol, Service
from .door import Porch

QUIET = 1.0  # seconds without a byte after which a connection is taken to have said all, once we are to stop
NOT_TAKEN = "idle, and what was written was not taken"
LINGER = 2.0  # seconds that we read on, after our FIN, so that what is still on its way does not turn it into a reset

Handler = Callable[[Rio, Connection], None]  # blocking: what a textbook server calls for a connection


class _Cut(MeariError):
    """A connection has to be reset: what we owe it cannot be sent. *kind* is how that is told."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class _Told(MeariError):
    """What a protocol gives as the reason of its end: all that it had to say is written."""


_NEVER = MeariError("a wait without an end has ended")


class Served(Rio):
    """A Rio with the patience of an engine: the idle limit, and after the stop the rules of draining.

    After the stop a read ends (Stopped) once no byte has moved for QUIET seconds, and everything ends at the drain
    limit. While it waits, events are told in time; if *alone*, no other thread is at the porch, and it looks there too.
    """

    def __init__(self, sock: socket.socket, porch: Porch[Handler], alone: bool) -> None:
        super().__init__(sock, stop=porch.stop, poll=kernel.poll)
        self.moved = time.monotonic()
        self._limits = porch.limits
        self._events = porch.events
        self._porch = porch if alone else None
        self._stopping: Stop | None = None
        self._ended = False  # the peer's FIN came

    def _patient(self) -> bool:
        return True

    def _recv(self, size: int) -> bytes:
        data = super()._recv(size)
        self._ended = not data
        return data

    def _wait(self, mask: int) -> None:
        while True:
            until, over = self._until(mask)
            if self._watch(mask, until):
                self.moved = time.monotonic()
                return
            if time.monotonic() >= until:  # and nothing was ready at the last look
                self.moved = time.monotonic()  # what is written now has its own time
                raise over

    def _watch(self, mask: int, until: float) -> bool:
        """Whether the socket is ready, by *until* or when something else wants to be looked after, which it is."""
        stop = -1 if self.stop is None else self.stop.fileno()
        porch = -1 if self._porch is None else self._porch.poller.fileno()
        others = tuple(fd for fd in (stop, porch) if fd >= 0)
        ready = self._ready(mask, min(until, self._events.due) - time.monotonic(), others)
        if stop in ready and self.stop is not None:
            self._stopping, self.stop = self.stop, None  # a set stop is always ready: it is watched no more
            self._stopping.noticed()
        if porch in ready and self._porch is not None:
            self._porch.look()
        self._events.tick()
        return self.sock.fileno() in ready

    def _cut(self) -> float:
        """The drain limit, once there is one."""
        return math.inf if self._stopping is None else self._stopping.noticed() + self._limits.drain

    def _until(self, mask: int) -> tuple[float, MeariError]:
        """When a wait is over, and what it then ends in. Raises that for what is over even if the socket is ready."""
        if time.monotonic() >= self._cut():
            raise _Cut(Kind.CUT, "the drain limit")
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineError("the deadline passed")
        found: list[tuple[float, MeariError]] = []
        if self.deadline is not None:
            found.append((self.deadline, DeadlineError("the deadline passed")))
        if (idle := self._limits.idle) is not None:
            late = DeadlineError(f"idle for {idle:g} s")
            found.append((self.moved + idle, late if mask == select.POLLIN else _Cut(Kind.FAILED, f"{late} while we waited to write")))
        if self._stopping is not None:
            found.append((self._cut(), _Cut(Kind.CUT, "the drain limit")))
            if mask == select.POLLIN:
                found.append((self.moved + QUIET, Stopped("stopped")))
        return min(found, key=lambda one: one[0]) if found else (math.inf, _NEVER)

    def end(self, patience: float | None = None) -> None:
        """Our FIN, then read on until the peer's, for a bounded time: a close never turns into a reset.

        That is LINGER seconds, and for as long as the peer is still to take what we have written *patience*, or the time
        to drain: a peer that has not taken it by then is reset.
        """
        if patience is not None and _owed(self.sock):  # before our FIN, which counts as a byte until it is acknowledged
            raise _Cut(Kind.FAILED, NOT_TAKEN)
        self.shutdown()
        patient = self._limits.drain
        until, last = time.monotonic() + LINGER, time.monotonic() + patient
        with contextlib.suppress(OSError):
            while not self._ended and (now := time.monotonic()) < min(until, self._cut()):
                if self._watch(select.POLLIN, min(until, self._cut())):
                    self._ended = not self.sock.recv(65536, socket.MSG_DONTWAIT)
                elif unsent(self.sock) and now < last:
                    until = min(time.monotonic() + LINGER, last)
            if not self._ended and unsent(self.sock):
                raise _Cut(Kind.CUT, "the drain limit")


def _owed(sock: socket.socket) -> int:
    """Bytes that the peer has not taken; 0 for a connection that is gone."""
    try:
        return unsent(sock)
    except OSError:
        return 0


def converse(rio: Rio, connection: Connection, protocol: Protocol) -> None:
    """The bridge from a Protocol to a blocking engine: CS:APP's echo(), for whatever is to be said."""
    if protocol.set_up_within is not None:
        rio.deadline = time.monotonic() + protocol.set_up_within
    rio.writen(protocol.start())
    quiet: MeariError | None = None
    while not protocol.done:
        try:
            data = rio.read()
        except (Stopped, DeadlineError) as late:
            quiet = late
            break
        if not data:
            break
        if protocol.reflects:
            connection.received(len(data))
        rio.writen(protocol.receive(data))
        if protocol.set_up_within is None:
            rio.deadline = None
    if not protocol.done:
        rio.writen(protocol.finish())
    if over := _Told(str(protocol.error)) if protocol.error else quiet:
        raise over


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

    def __init__(self, peer: Address, porch: Porch[Handler], admit: Callable[[], None] | None) -> None:
        super().__init__(peer, porch.events)
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
    porch: Porch[Handler],
    admit: Callable[[], None] | None = None,
    *,
    alone: bool = False,
) -> Client:
    """Serve one connection to its end, whatever that is: nothing is raised, one event tells it, the socket is closed."""
    connection = Client(peer, porch, admit)
    began = time.monotonic()
    kind, detail = Kind.CLOSED, ""
    with Served(sock, porch, alone) as rio:
        try:
            patience = None
            try:
                handler(rio, connection)
            except Stopped:
                pass
            except DeadlineError as late:
                detail, patience = str(late), 0.0  # it has been idle for as long as it may
            except _Told as told:
                kind, detail = Kind.FAILED, str(told)
            rio.end(patience)
        except Refused as refused:
            kind, detail, connection.refused = Kind.REFUSED, str(refused), True
        except _Cut as cut:
            kind, detail = cut.kind, str(cut)
            rio.abort()
        except OSError as error:
            kind, detail = Kind.FAILED, error.strerror or str(error)
        except Exception as error:  # a fault of the handler's or the protocol's: this connection's, and no other's
            kind, detail = Kind.FAILED, f"{type(error).__name__}: {error}"
            rio.abort()  # so that the peer does not take it for the end
    seconds = time.monotonic() - began
    porch.events.tell(Event(kind, (peer,), messages=connection.messages, bytes=connection.bytes, seconds=seconds, detail=detail))
    return connection
