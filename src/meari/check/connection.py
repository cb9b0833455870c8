"""One connection to the far end, both directions at once, every byte verified.

Sent data ends with a newline, so a far end that returns whole lines holds nothing back; only the
property `partial` finds out. The data is the keyed stream; or, where bytes are not the question,
one line of text again and again, so that a far end that damages some bytes does not fail every
property.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Callable, Collection

from ..channel import FIN, PIECE, Channel
from ..errors import Stopped
from ..net import kernel
from ..rio import Poller
from ..stop import Stop, milliseconds
from ..stream.pattern import Stream
from ..stream.verify import Fault, Verifier

_TICK = 0.05  # seconds between two checks of a condition, at most
_FAULTS = 100  # faults kept
_NAMED = re.compile(rb"meari (\d{6}): ")


class _Text:
    """The counterpart of a Verifier for one line of text, which names its connection."""

    def __init__(self, number: int, report: Callable[[Fault], None]) -> None:
        self.number, self.report = number, report
        self.progress = 0
        connection = f"meari {number:06d}: every line comes back\n".encode()
        self._one = len(connection)
        self._text = connection * (PIECE // len(connection))
        self._twice = self._text * 2

    def more(self) -> bytes:
        return self._text

    def newline(self, offset: int) -> int:
        """The offset of the first newline from *offset* on."""
        return offset + self._one - 1 - offset % self._one

    def receive(self, data: bytes) -> None:
        at = self.progress % self._one
        if data != self._twice[at : at + len(data)]:
            others = {int(number) for number in _NAMED.findall(data)} - {self.number}
            kind, detail = (
                ("foreign", f"of connection {min(others)}")
                if others
                else ("different", f"{data[:20]!r} came")
            )
            self.report(Fault(kind, self.number, self.progress, len(data), detail))
        self.progress += len(data)

    def unmake(self, n: int) -> None:
        pass

    def finish(self) -> None:
        pass


class _Keyed(Verifier):
    def newline(self, offset: int) -> int:
        """The offset of the first newline from *offset* on."""
        while True:
            ahead = Stream(self.run, self.connection).read(offset, 4096)
            newline = ahead.find(b"\n")
            if newline >= 0:
                return offset + newline
            offset += len(ahead)


class Connection:
    """The connection on *channel*, which took *took* seconds to connect.

    It carries text that names its *number*, or the stream of the connection of that number in *run*
    (pattern.py).
    """

    def __init__(
        self,
        channel: Channel,
        took: float,
        number: int,
        run: int | None = None,
        closing: Callable[[socket.socket], None] = lambda _: None,
    ) -> None:
        self.channel, self.took = channel, took
        self._closing = closing  # called right before the socket is closed, once
        self.faults: list[Fault] = []  # the first of them
        self.asked = 0  # bytes to be sent, in all
        self.written = 0  # bytes written
        self.reading = True  # False: received bytes are left in the kernel
        self.parting = False  # our FIN is sent once all requested bytes are written
        self.parted = False
        # How the far end ended it: FIN, RESET or the kernel's error.
        self.end: str | None = None
        self.moved = time.monotonic()  # when the last byte moved, in either direction
        self.ended_at = 0.0
        # The far end's FIN came without the layer's own end.
        self.truncated = False
        self._verifier = (
            _Text(number, self._fault) if run is None else _Keyed(run, number, self._fault, PIECE)
        )
        self._out: bytes | bytearray = b""
        self._at = 0

    @property
    def sock(self) -> socket.socket:
        return self.channel.sock

    def fileno(self) -> int:
        return self.sock.fileno()

    def _fault(self, fault: Fault) -> None:
        if len(self.faults) < _FAULTS:
            self.faults.append(fault)

    def ask(self, n: int) -> None:
        """Send at least *n* more bytes, up to the next newline."""
        self.asked = self._verifier.newline(self.asked + max(n, 1) - 1) + 1

    @property
    def returned(self) -> int:
        """The number of sent bytes that have been returned, as far as can be determined."""
        return min(self._verifier.progress, self.asked)

    @property
    def missing(self) -> int:
        return self.asked - self.returned

    def mask(self) -> int:
        """The events to poll for; 0: nothing more is expected."""
        return (
            0
            if self.end is not None
            else self.channel.mask(reading=self.reading, writing=self.written < self.asked)
        )

    def step(self, event: int) -> None:
        """Read and write as poll(2) reports."""
        if self.reading and event & (select.POLLIN | select.POLLERR | select.POLLHUP):
            self._read()
        elif event & select.POLLERR:  # without reading, the error would not be noticed
            self.channel.look()
            self._ended()
        if event & select.POLLOUT and self.end is None:
            self._write()
        self.part()

    def part(self) -> None:
        """Send our FIN if it is due."""
        if self.parting and not self.parted and self.written == self.asked:
            self.parted = True
            self.channel.half_close()

    def _ended(self) -> None:
        self.end, self.ended_at = self.channel.end, time.monotonic()
        # The property `truncation` judges this; for all others the stream has ended.
        if self.channel.truncated:
            self.end, self.truncated = FIN, True

    def _read(self) -> None:
        data = self.channel.read(PIECE)
        if data:
            self.moved = time.monotonic()
            self._verifier.receive(data)
        elif data is not None:
            self._ended()

    def _write(self) -> None:
        self.channel.flush()
        if self._at == len(self._out):
            self._out, self._at = self._verifier.more(), 0
        n = self.channel.write(
            memoryview(self._out)[self._at : self._at + self.asked - self.written]
        )
        if n:
            self.moved = time.monotonic()
        elif self.channel.failed is not None and not self.reading:
            self.channel.look()
            self._ended()
        self._at += n
        self.written += n

    def conclude(self) -> list[Fault]:
        """End verification: missing bytes become faults too."""
        self._verifier.unmake(len(self._out) - self._at)
        self._out, self._at = b"", 0
        self._verifier.finish()
        return self.faults

    def abort(self) -> None:
        self._closing(self.sock)
        self.channel.reset()

    def close(self) -> None:
        self._closing(self.sock)
        self.channel.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pump(
    connections: Collection[Connection],
    done: Callable[[], bool],
    stop: Stop,
    *,
    quiet: float,
    most: float = 60.0,
) -> bool:
    """Write and read on *connections* until *done* returns true; whether it did.

    Otherwise it ends when no byte moved for *quiet* seconds, or after *most* in all. Raises
    Stopped.
    """
    began = time.monotonic()
    watched = {connection.fileno(): connection for connection in connections}
    masks: dict[int, int] = {}
    poller = _poller(masks, stop)
    while not done():
        now = time.monotonic()
        left = (
            min(
                max((began, *(connection.moved for connection in connections))) + quiet,
                began + most,
            )
            - now
        )
        if left <= 0:
            return False
        for connection in connections:
            connection.part()
        wanted = {fd: mask for fd, connection in watched.items() if (mask := connection.mask())}
        if wanted != masks:
            masks, poller = wanted, _poller(wanted, stop)
        known = [
            fd
            for fd, connection in watched.items()
            if connection.reading and connection.end is None and connection.channel.waiting
        ]
        for fd in known:
            watched[fd].step(select.POLLIN)
        for fd, event in poller.poll(0 if known else milliseconds(min(left, _TICK))):
            if fd == stop.fileno():
                raise Stopped("stopped")
            watched[fd].step(event)
    return True


def _poller(masks: dict[int, int], stop: Stop) -> Poller:
    poller = kernel.poll()
    poller.register(stop.fileno(), 0)
    for fd, mask in masks.items():
        poller.register(fd, mask)
    return poller
