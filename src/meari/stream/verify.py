"""What one connection sends, and whether it came back.

While bytes are as they were sent, they are compared with what was sent, and nothing else is done:
bytes with bytes, which is a memcmp. From the first that is not, what comes is given to faults.py,
until it is what was expected again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .fault import KINDS as KINDS
from .fault import Fault as Fault
from .faults import FaultClassifier, common
from .pattern import Stream

_CHUNK = 4096  # bytes of the stream that are made at once
_OPEN = 1 << 62  # where damage ends that has not ended
_RECYCLED = 1 << 14  # bytes of a chunk from which on its memory is used again: fresh memory is dear


class Verifier:
    """Makes what one connection sends, and compares what comes back; each fault goes to *tell*,
    once it is certain.

    The loader reads `chunk` and `position` itself: received data is as expected if
    chunk.startswith(data, position).
    """

    __slots__ = (
        "_ahead",
        "_chunks",
        "_classifier",
        "_made",
        "_queued",
        "_spare",
        "_stream",
        "chunk",
        "connection",
        "damage",
        "front",
        "position",
        "run",
        "size",
    )  # fmt: skip

    def __init__(
        self, run: int, connection: int, report: Callable[[Fault], None], size: int = _CHUNK
    ) -> None:
        self.run, self.connection, self.size = run, connection, size
        self.front = 0  # offset up to which bytes were returned or reported as lost
        # The stretches of offsets of which not all did, as far as not settled.
        self.damage: list[tuple[int, int]] = []
        self.chunk: bytes | bytearray = b""  # what is expected next
        self.position = 0  # how much of it came
        self._chunks: deque[bytes | bytearray] = deque()  # made, and expected after chunk
        # The offset where the first of them begins; what lies before it can be made again.
        self._queued = 0
        self._ahead: bytes | bytearray | None = None  # made, and not yet asked for
        self._spare: bytearray | None = None
        self._made = 0  # the offset where the last chunk ends
        self._stream = Stream(run, connection)
        self._classifier = FaultClassifier(run, connection, report)

    def more(self) -> bytes | bytearray:
        """The next bytes to send; they are expected back."""
        made, self._ahead = self._ahead or self._produce(), None
        self._made += self.size
        if (
            self._classifier.case is not None
        ):  # nothing is compared with it now, for who knows how long
            self._queued = self._made
            return made
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
        self._queued = min(self._queued, self._made)
        if n and self.chunk:
            self.chunk = self.chunk[: max(self.position, len(self.chunk) - n)]

    def settle(self) -> None:
        """Tell at once what might still turn out to be reordered, as dropped."""
        self._classifier.settle()

    def harmed(self, start: int, end: int) -> bool:
        """Whether what was sent from *start* to *end* did not come back as it was; what lies before
        *end* is not asked for again.
        """
        found = any(first < end and last > start for first, last in self.damage)
        self.damage = [(first, last) for first, last in self.damage if last > end]
        return found

    @property
    def sound(self) -> bool:
        """Whether all that came so far is what was expected, or was named."""
        return self._classifier.case is None

    @property
    def progress(self) -> int:
        """The offset up to which the far end has answered, as far as can be determined."""
        found = self._classifier.progress
        return self.front if found is None else found

    def receive(self, data: bytes) -> None:
        """*data* came back."""
        namer = self._classifier
        while data:
            if self.position == len(self.chunk):
                self._next()
            if namer.case is not None:
                namer.made = self._made
                data = namer.take(data)
                if namer.case is None:
                    self._resume()
                continue
            expected = self.chunk[self.position : self.position + len(data)]
            n = common(expected, data)
            self.position += n
            self.front += n
            namer.settle(self.front)
            data = data[n:]
            if n < len(expected) or not expected:
                self._open()

    def finish(self, lost: str | None = "truncated") -> None:
        """End of the stream: report missing bytes as *lost*; None: they are no fault."""
        namer = self._classifier
        namer.made = self._made
        while namer.case is not None:  # naming one may open another in what was left
            left = namer.conclude()
            self._resume()
            self.receive(left)
        namer.settle()
        if self.front < self._made:
            if lost is not None:
                namer.lost(lost, self.front)
            self.front = self._made

    def _open(self) -> None:
        """What came is not what was expected."""
        self._classifier.made = self._made
        self._classifier.open(self.front)
        self.damage.append((self.front, _OPEN))
        self.chunk, self.position, self._queued = b"", 0, self._made
        self._chunks.clear()

    def _resume(self) -> None:
        """It is what is expected again, from an offset on."""
        self.front = self._classifier.resumed
        first, _ = self.damage.pop() if self.damage else (self.front, 0)
        self.damage.append((min(first, self.front), max(self.front, first + 1)))
        self.chunk, self.position = b"", 0

    def _next(self) -> None:
        if isinstance(self.chunk, bytearray):
            self._spare = self.chunk
        self.position = 0
        if self.front < self._queued:
            self.chunk = Stream(self.run, self.connection).read(
                self.front, min(self.size, self._queued - self.front)
            )
        elif self._chunks:
            self.chunk = self._chunks.popleft()
            self._queued += len(self.chunk)
        else:
            self.chunk = b""
