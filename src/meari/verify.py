"""What one connection sends, and whether it came back.

While bytes are as they were sent, they are compared with what was sent, and nothing else is done: bytes with bytes, which
is a memcmp. From the first that is not, what comes is given to naming.py, until it is what was expected again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .naming import KINDS as KINDS
from .naming import Fault as Fault
from .naming import Namer, common
from .pattern import Stream

_CHUNK = 4096  # bytes of the stream that are made at once
_RECYCLED = 1 << 14  # bytes of a chunk from which on its memory is used again: fresh memory is dear


class Verifier:
    """Makes what one connection sends, and compares what comes back; each fault goes to *tell*, once it is certain.

    The loader reads `chunk` and `position` itself: what came is as expected if chunk.startswith(data, position).
    """

    __slots__ = ("_ahead", "_chunks", "_made", "_namer", "_spare", "_stream", "chunk", "connection", "front", "position", "run", "size")

    def __init__(self, run: int, connection: int, tell: Callable[[Fault], None], size: int = _CHUNK) -> None:
        self.run, self.connection, self.size = run, connection, size
        self.front = 0  # offset up to which bytes came back, or are told as lost
        self.chunk: bytes | bytearray = b""  # what is expected next
        self.position = 0  # how much of it came
        self._chunks: deque[bytes | bytearray] = deque()  # after chunk
        self._ahead: bytes | bytearray | None = None  # made, and not yet asked for
        self._spare: bytearray | None = None
        self._made = 0  # the offset where the last chunk ends
        self._stream = Stream(run, connection)
        self._namer = Namer(run, connection, tell)

    def more(self) -> bytes | bytearray:
        """The next bytes to send; they are expected back."""
        made, self._ahead = self._ahead or self._produce(), None
        self._made += self.size
        self._chunks.append(made)
        if self.position == len(self.chunk):
            self._next()
        return made

    def prepare(self) -> None:
        """Make what more() gives next, while there is time for it."""
        if self._ahead is None:
            self._ahead = self._produce()

    def _produce(self) -> bytes | bytearray:
        if self.size < _RECYCLED:
            return self._stream.read(self._made, self.size)
        made, self._spare = self._spare or bytearray(self.size), None
        self._stream.read_into(self._made, made)
        return made

    def unmake(self, n: int) -> None:
        """The last *n* bytes that were made will not be sent, and so are not expected."""
        self._made -= n
        while n and self._chunks:
            last = self._chunks.pop()
            if len(last) > n:
                self._chunks.append(last[:-n])
            n -= min(n, len(last))
        if n:
            self.chunk = self.chunk[:-n]

    @property
    def sound(self) -> bool:
        """Whether all that came so far is what was expected, or was named."""
        return self._namer.case is None

    @property
    def progress(self) -> int:
        """The offset up to which the far end has answered, as far as can be told."""
        found = self._namer.progress
        return self.front if found is None else found

    def receive(self, data: bytes) -> None:
        """*data* came back."""
        namer = self._namer
        while data:
            if self.position == len(self.chunk):
                self._next()
            if namer.case is not None:
                namer.made = self._made
                data = namer.take(data)
                if namer.case is None:
                    self._seek(namer.resumed)
                continue
            expected = self.chunk[self.position : self.position + len(data)]
            n = common(expected, data)
            self._accept(n)
            data = data[n:]
            if n < len(expected) or not expected:
                namer.made = self._made
                namer.open(self.front)

    def finish(self, lost: str = "truncated") -> None:
        """No more will come: what is still missing is told, as *lost*."""
        namer = self._namer
        namer.made = self._made
        while namer.case is not None:  # naming one may open another in what was left
            left = namer.conclude()
            self._seek(namer.resumed)
            self.receive(left)
        namer.settle()
        if self.front < self._made:
            namer.lost(lost, self.front)
            self.front = self._made

    def give_up(self) -> None:
        """No more is waited for, and what is missing is no fault."""
        if self.sound:
            self._made = self.front
        self.finish()

    def _accept(self, n: int) -> None:
        self.position += n
        self.front += n
        self._namer.settle(self.front)

    def _next(self) -> None:
        if isinstance(self.chunk, bytearray) and self._namer.case is None:
            self._spare = self.chunk
        self.chunk, self.position = self._chunks.popleft() if self._chunks else b"", 0

    def _seek(self, offset: int) -> None:
        """Go on expecting from *offset*."""
        while offset > self.front:
            if self.position == len(self.chunk):
                self._next()
            n = min(offset - self.front, len(self.chunk) - self.position)
            if n == 0:
                break
            self._accept(n)
        if offset < self.front:  # by a few bytes, which had fitted by chance
            missing = Stream(self.run, self.connection).read(offset, self.front - offset)
            self.chunk, self.position = missing + self.chunk[self.position :], 0
            self.front = offset
