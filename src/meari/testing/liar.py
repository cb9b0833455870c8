"""Liar: a far end that returns almost every byte.

Its lies follow from a seed: the same bytes in the same reads on the same connection (in the order
of accepting) get the same lies, except a swap, which needs another connection with bytes at that
time. Each lie is recorded when it is told, so a verifier can be held to all of them. A lie uses the
bytes of one read, so the far end never waits for more; a read that is too short for a lie is
returned unchanged.
"""

from __future__ import annotations

import random
import threading
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..address import Address
from ..errors import MeariError, UsageError
from ..events import Event, Events, Kind
from ..limits import Limits
from ..server import Server
from ..units import amount
from ..wire.echo import StreamEcho
from ..wire.protocol import Connection

if typing.TYPE_CHECKING:
    import ssl

# Each lie, and the fault that the near end reports.
LIES = {
    "flip": "flipped",
    "drop": "dropped",
    "insert": "inserted",
    "duplicate": "duplicated",
    "reorder": "reordered",
    "swap": "foreign",
    "replay": "replayed",
    "truncate": "truncated",
    "append": "excess",
    "delay": "delayed",
    "stall": "stalled",
    "reset": "reset",
}
SHORTEST, LONGEST = 48, 4096  # length of a lie in bytes
APART = 1024  # bytes between two lies, at least
EVERY = 65536  # bytes between two lies, on average
DELAY = 0.1  # seconds
_KEPT = 16384  # received bytes that are kept to be replayed
_PATIENCE = 0.2  # seconds that a connection waits for another to swap bytes


class Reset(MeariError):
    """The lie is the end of the connection."""


@dataclass(frozen=True, slots=True)
class Lie:
    """One lie: *length* bytes at *offset* of the bytes from *peer* were changed; *put* are the
    bytes that replace them or stand before them.

    *connection* is the liar's number of the connection, from 0; a peer may connect again from the
    same port.
    """

    kind: str
    connection: int
    peer: Address
    offset: int
    length: int
    put: bytes = b""

    def __str__(self) -> str:
        who = (
            f"{self.peer.host}, pid {self.peer.port}"
            if self.peer.scheme == "unix"
            else f"{self.peer.host}, {self.peer.port}"
        )
        return (
            f"lied to ({who}): {LIES[self.kind]}, {amount(self.length, 'byte')} at {self.offset:,}"
        )


class Lies:
    """The shared state of the connections of one Liar; a call makes the Protocol of one connection,
    so it is a Service.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        every: int = EVERY,
        seed: int = 0,
        report: Callable[[Lie], None] = lambda _: None,
    ) -> None:
        for kind in kinds:
            if kind not in LIES:
                raise UsageError(f"there is no lie {kind!r}; there are {', '.join(LIES)}")
        if not kinds:
            raise UsageError("a liar needs a lie to tell")
        if every < APART:
            raise UsageError(f"lies are {APART:,} bytes apart at least, not {every:,}")
        self.kinds, self.every, self.seed, self.report = tuple(kinds), every, seed, report
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._connections = 0
        self._swap: _Swap | None = None  # the connection that waits for another

    def __call__(self, connection: Connection) -> _Lying:
        with self._lock:
            number = self._connections
            self._connections += 1
        return _Lying(connection, self, number)

    def swap(self, whose: _Lying, data: bytes, length: int) -> bytes | None:
        """Bytes of another connection in exchange for the first of *data*; None if no other
        connection swaps now.
        """
        with self._lock:
            other = self._swap
            if other is not None and other.whose is not whose and len(other.mine) <= len(data):
                self._swap = None
                other.theirs = data[: len(other.mine)]
                other.done.set()
                return other.mine
            if other is not None:
                return None
            mine = self._swap = _Swap(whose, data[:length])
        mine.done.wait(_PATIENCE)
        with self._lock:
            if self._swap is mine:
                self._swap = None
        return mine.theirs


class _Swap:
    def __init__(self, whose: _Lying, mine: bytes) -> None:
        self.whose, self.mine = whose, mine
        self.theirs: bytes | None = None
        self.done = threading.Event()


class _Lying(StreamEcho):
    """The echo of one connection. It may block, so it runs on an engine with a thread per
    connection.
    """

    __slots__ = (
        "_appends",
        "_before",
        "_began",
        "_kind",
        "_lies",
        "_next",
        "_offset",
        "_random",
        "_stalled",
        "done",
        "number",
    )
    reflects = False

    def __init__(self, connection: Connection, lies: Lies, number: int) -> None:
        super().__init__(connection)
        self.number, self.done = number, False
        self._lies, self._random = lies, random.Random(f"{lies.seed}/{number}")
        self._offset = self._began = 0  # offsets of the next byte, and of the first of this read
        self._before = b""  # the last received bytes
        self._appends = self._stalled = False
        self._next, self._kind = 0, ""
        self._plan()

    def _plan(self) -> None:
        """The offset and the kind of the next lie."""
        self._kind = self._random.choice(self._lies.kinds)
        self._next = self._offset + self._random.randint(
            APART, max(APART, 2 * self._lies.every - APART)
        )

    def receive(self, data: bytes, /) -> bytes:
        self.connection.received(len(data))
        self._began = self._offset
        out = []
        while data and not self._stalled and not self.done:
            honest = max(0, self._next - self._offset)
            out.append(self._pass(data[:honest]))
            data = data[honest:]
            if not data:
                break
            lied = getattr(self, f"_{self._kind}")(data)
            if lied is None:  # not in these bytes
                out.append(self._pass(data))
                break
            length, put = lied
            if self._kind != "append":
                self._report(length, put)
            self._pass(data[:length])
            out.append(put)
            data = data[length:]
            self._plan()
        return b"".join(out)

    def eof(self) -> bytes:
        if not self._appends:
            return b""
        put = self._random.randbytes(self._length(LONGEST) or 0)
        self._kind = "append"
        self._report(len(put), put)
        return put

    def _report(self, length: int, put: bytes) -> None:
        self._lies.report(
            Lie(
                self._kind, self.number, self.connection.peer, self._offset, length or len(put), put
            )
        )

    def _pass(self, data: bytes) -> bytes:
        self._offset += len(data)
        self._before = (self._before + data)[-_KEPT:]
        return data

    def _length(self, most: int, *, one: bool = False) -> int | None:
        """The length of a lie; None if *most* is too short for any."""
        if one and most and self._random.random() < 0.25:
            return 1
        return None if most < SHORTEST else self._random.randint(SHORTEST, min(most, LONGEST))

    # The lies: each returns the number of bytes that it takes, and the bytes that replace them

    def _flip(self, data: bytes) -> tuple[int, bytes] | None:
        return 1, bytes([data[0] ^ 1 << self._random.randrange(8)])

    def _drop(self, data: bytes) -> tuple[int, bytes] | None:
        length = self._length(len(data), one=True)
        return None if length is None else (length, b"")

    def _insert(self, data: bytes) -> tuple[int, bytes] | None:
        put = bytearray(self._random.randbytes(self._length(LONGEST, one=True) or 1))
        beside = (self._before[-1:], data[:1])
        # Such a byte could also be a duplicate.
        while put[:1] in beside or put[-1:] in beside:
            put[0] = self._random.randrange(256)
            put[-1] = put[0] if len(put) == 1 else self._random.randrange(256)
        return 0, bytes(put)

    def _duplicate(self, data: bytes) -> tuple[int, bytes] | None:
        length = self._length(len(data), one=True)
        return None if length is None else (length, data[:length] * 2)

    def _reorder(self, data: bytes) -> tuple[int, bytes] | None:
        if len(data) < 2 * SHORTEST:
            return None
        length = self._random.randint(2 * SHORTEST, min(len(data), LONGEST))
        middle = self._random.randint(SHORTEST, length - SHORTEST)
        return length, data[middle:length] + data[:middle]

    def _swap(self, data: bytes) -> tuple[int, bytes] | None:
        length = self._length(len(data))
        put = None if length is None else self._lies.swap(self, data, length)
        if put is None:
            # No connection swaps: try again at the next lie's place, because waiting at each read
            # would be a lie itself.
            self._plan()
            return None
        return len(put), put

    def _replay(self, data: bytes) -> tuple[int, bytes] | None:
        # Not the last bytes: those would be duplicates.
        length = self._length(len(self._before) - 2 * SHORTEST)
        if length is None:
            return None
        start = self._random.randint(0, len(self._before) - SHORTEST - length)
        return 0, self._before[start : start + length]

    def _truncate(self, data: bytes) -> tuple[int, bytes] | None:
        self.done = True
        return 0, b""

    def _append(self, data: bytes) -> tuple[int, bytes] | None:
        self._appends = True
        return 0, b""

    def _delay(self, data: bytes) -> tuple[int, bytes] | None:
        if self._offset > self._began:
            return None
        self._lies.ended.wait(DELAY)
        return 0, b""

    def _stall(self, data: bytes) -> tuple[int, bytes] | None:
        self._stalled = True
        return 0, b""

    def _reset(self, data: bytes) -> tuple[int, bytes] | None:
        # As for a delay: the bytes of this read before the lie are returned first.
        if self._offset > self._began:
            return None
        self._report(0, b"")
        raise Reset("the lie was a reset")


class Liar(Server):
    """A far end on *addresses* that lies; used as Server. *lies* has its lies so far.

    The argument *lies* has kinds of LIES; on average one lie in *every* bytes of a connection, from
    a *seed*.
    """

    def __init__(
        self,
        *addresses: Address | str,
        lies: Sequence[str] = tuple(LIES),
        every: int = EVERY,
        seed: int = 0,
        limits: Limits | None = None,
        events: Events | None = None,
        family: int = 0,
        mode: int = 0o600,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.lies: list[Lie] = []
        self._lies = Lies(lies, every, seed, self._lied)
        super().__init__(
            *addresses,
            engine="thread",
            service=self._lies,
            limits=limits,
            events=events,
            family=family,
            mode=mode,
            tls=tls,
        )

    def _lied(self, lie: Lie) -> None:
        self.lies.append(lie)
        self._events.report(Event(Kind.LIES, (lie.peer,), detail=str(lie)))

    def stop(self) -> None:
        self._lies.ended.set()
        super().stop()
