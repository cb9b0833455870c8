"""The process that writes the events of all others to one output.

It is a process of its own because writing may wait: standard output may be a full pipe, a stopped
terminal or a slow disk, and a name lookup may take seconds. The processes that hand events over
through a Pipe never wait, so neither the log nor a lookup delays an echo.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection

from .address import Address
from .child import Child
from .events import A_SECOND, Event, Events, Kind
from .report.events import FORMS, Form, plain, text
from .stop import milliseconds
from .totals import Totals

_NAMES = 4096  # kept
_LOOKUP = 1.0  # seconds for a name: one that comes later is used from then on
_GLANCE = 0.05  # seconds from one look at whether lookups are abandoned to the next


class Names:
    """Peers by their hosts' names, as getnameinfo returns them (CS:APP 11.4.7).

    A lookup has a bounded time; a host whose name does not come in it stays a number, and after
    abandon() every host does.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._abandoned = False

    def __call__(self, peer: Address) -> str:
        host = peer.host or ""
        if peer.scheme == "unix":
            return plain(peer)
        if host not in self._known and not self._abandoned:
            self._look_up(host)
        return plain(Address(self._known.get(host, host), peer.port))

    def abandon(self, *_: object) -> None:
        """Look up no more names. Safe in a signal handler."""
        self._abandoned = True

    def _look_up(self, host: str) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="names", daemon=True)
            self._thread.start()
        if len(self._known) >= _NAMES:
            self._known.clear()
        self._known[host] = host
        self._asked.put(host)
        until = time.monotonic() + _LOOKUP
        while not self._abandoned and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                asked, name = self._answers.get(timeout=min(left, _GLANCE))
                self._known[asked] = name  # perhaps an earlier one's, which came late
                if asked == host:
                    return

    def _run(self) -> None:
        while True:
            host = self._asked.get()
            name = host
            # Not socket.getnameinfo(): in early releases of Python 3.11 it keeps the interpreter's
            # lock while the resolver waits, and nothing is written meanwhile.
            with contextlib.suppress(OSError, UnicodeError):
                name = socket.gethostbyaddr(host)[0]
            self._answers.put((host, name))


class Writer:
    """Reads events from the pipe *fd* until every process that can write to it is gone; writes them
    to *out* in a *form*; in the form "common", which has requests only, other events are written to
    standard error as text.

    *dropped* is the eventfd(2) in which they count what the pipe did not take: read here, after the
    pipe, so that it is reported also when no other event follows.
    """

    def __init__(
        self,
        fd: int,
        dropped: int,
        out: int,
        *,
        form: Form,
        verbose: bool,
        omit: Collection[Kind],
        resolve: bool,
        totals: Totals | None,
    ) -> None:
        self._totals = totals
        self._in, self._dropped, self._out = fd, dropped, out
        self._form = form
        self._omit = omit
        self.names = Names()
        self._who: Callable[[Address], str] = self.names if resolve else plain
        self._events = Events(self._print, verbose=verbose)

    def run(self) -> None:
        poller = select.poll()
        poller.register(self._in, select.POLLIN)
        poller.register(self._dropped, select.POLLIN)
        kept = b""
        while True:
            wait = None if self._events.due == math.inf else self._events.due - time.monotonic()
            ready = [fd for fd, _ in poller.poll(milliseconds(wait))]
            if self._in in ready:
                data = os.read(self._in, 65536)
                if not data:
                    break
                *lines, kept = (kept + data).split(b"\n")
                for line in lines:
                    self._take(decode(line))
            if self._dropped in ready:
                self._count_dropped()
            self._events.tick()
        self._count_dropped()
        self._events.flush()

    def _count_dropped(self) -> None:
        with contextlib.suppress(OSError):  # none was
            self._take(Event(Kind.DROPPED, count=os.eventfd_read(self._dropped)))

    def _take(self, event: Event) -> None:
        if self._totals is not None:
            self._totals.add(event)
        self._events.report(event)

    def _print(self, event: Event) -> None:
        if event.kind in self._omit:
            return
        aside = self._form == "common" and event.kind is not Kind.REQUEST
        make = text if aside else FORMS[self._form]
        # Closed, or a full disk: the line is lost, the echo goes on.
        with contextlib.suppress(OSError):
            _write(2 if aside else self._out, make(event, self._who).encode() + b"\n")


def _write(fd: int, left: bytes) -> None:
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:  # a process that shares the output made it non-blocking
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll()


class Pipe:
    """Hands events to another process: a line of JSON each, never over PIPE_BUF, so writers do not
    mix (pipe(7)).

    Nothing waits: what a full pipe does not take is dropped, and counted in *dropped*, an
    eventfd(2) that all processes share and the reader reads. A pipe that nobody reads any more
    takes and forgets everything.
    """

    def __init__(self, fd: int, dropped: int) -> None:
        os.set_blocking(fd, False)
        self._fd, self._dropped = fd, dropped

    def __call__(self, event: Event) -> None:
        try:
            os.write(self._fd, encode(event))
        except BlockingIOError:
            with contextlib.suppress(OSError):
                os.eventfd_write(self._dropped, event.count)
        except OSError:
            pass  # the reader is gone, and with it anybody to report it to

    def close(self) -> None:
        """For good: an event that is handed over later is lost."""
        for fd in (self._fd, self._dropped):
            os.close(fd)
        self._fd = self._dropped = -1


def encode(event: Event) -> bytes:
    """One event as one line."""
    peers = [[peer.host, peer.port, peer.scheme] for peer in event.peers[:A_SECOND]]
    others = event.others + max(0, len(event.peers) - A_SECOND)
    values = [
        event.kind,
        peers,
        others,
        event.count,
        event.messages,
        event.bytes,
        event.seconds,
        event.detail[:500],
        event.time,
    ]
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Event:
    """What encode() made."""
    kind, peers, others, count, messages, total, seconds, detail, at = json.loads(line)
    named = tuple(Address(*peer) for peer in peers)
    return Event(Kind(kind), named, others, count, messages, total, seconds, detail, at)


class WriterProcess:
    """The writer's process, from its parent: events handed to *hand* are written to *out*.

    Those of the kinds *omit* are not. All are added to *totals*.

    To be started before anything else is opened, since a fork copies every descriptor.
    """

    def __init__(
        self,
        out: int,
        *,
        form: Form = "text",
        verbose: bool = False,
        omit: Collection[Kind] = (),
        resolve: bool = False,
        totals: Totals | None = None,
    ) -> None:
        read, write = os.pipe()
        dropped = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

        def write_all() -> None:
            os.close(write)
            writer = Writer(
                read,
                dropped,
                out,
                form=form,
                verbose=verbose,
                omit=omit,
                resolve=resolve,
                totals=totals,
            )
            signal.signal(signal.SIGUSR1, writer.names.abandon)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
            writer.run()

        # Blocked until the writer has its handler: the default action would end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        try:
            # It ends when the last process that can write to the pipe has ended.
            self._child = Child(write_all, ignore=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        os.close(read)
        self.hand = Pipe(write, dropped)

    def close(self, patience: float = 2.0) -> None:
        """Let it write pending events for at most *patience* seconds, then kill it.

        Names that are still being looked up are abandoned.
        """
        self._child.kill(signal.SIGUSR1)
        self.hand.close()
        self._child.end(patience)
