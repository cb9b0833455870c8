"""Naming what a path did to a keyed stream: each stretch that differs, where it is, and what became of it.

While bytes are as they were sent, they are compared with what was sent, and nothing else is done. At the first that is
not, a *case* is opened. It has three numbers, and they name the fault:

    ours until   the place where the bytes stop to be what was expected
    ours from    the place from which they are ours again, found by decrypting (pattern.find)
    shift        by how much places and offsets differ from there on: bytes too many, or (negative) too few

A place counts the bytes that came, so that before the case it is the offset. With shift 0 the bytes between the two were
altered where they lie; a shift above 0 is bytes put in, below 0 bytes lost. A stretch between them that names an origin
of its own (another connection, another run, an earlier offset) is followed to its end, however long that is.

Where several offsets explain the same bytes, the earliest is told. Bytes before "ours until" may fit both what was
expected and what came instead, so a few that came before are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from . import pattern
from .pattern import Origin, Stream

KINDS = ("flipped", "dropped", "inserted", "duplicated", "reordered", "foreign", "replayed", "truncated", "excess")
_CHUNK = 4096  # bytes of the stream that are made at once
_BEFORE = 64  # bytes that came before a place, kept to find the earliest explanation
_UNNAMED = 1 << 16  # bytes that name no origin, kept; of more only the number is
_OPEN = 64  # holes, and the bytes after them, within which what is missing may still come: then it was reordered
_SETTLED = 1 << 16
_RECYCLED = 1 << 14  # bytes of a chunk from which on its memory is used again: fresh memory is dear
_CHANCE = 16  # bytes that may fit by chance where two explanations meet


@dataclass(slots=True)
class Fault:
    """A stretch of a connection that differs: *length* bytes at *offset* of what was sent.

    For what was put in, *offset* is that of the byte before which it stands; for what came twice, or out of order, that
    of its first byte. *sent* and *returned* are bytes around the place, from *shown* on.
    """

    kind: str
    connection: int
    offset: int
    length: int
    detail: str = ""
    origin: Origin | None = None  # of foreign and replayed bytes
    shown: int = 0
    sent: bytes = b""
    returned: bytes = b""

    def __str__(self) -> str:
        where = f"connection {self.connection} at {self.offset:,}: {self.length:,} byte{'s' * (self.length != 1)} {self.kind}"
        return f"{where}, {self.detail}" if self.detail else where


@dataclass(slots=True)
class _Stretch:
    """Bytes of a case that name their origin: *length* of them from *place* on."""

    place: int
    length: int
    origin: Origin


@dataclass(slots=True)
class _Case:
    """What came since the bytes stopped to be what was expected."""

    until: int  # "ours until"
    before: bytes  # the last bytes that came before `place`
    place: int  # of the first byte of `data`
    data: bytearray = field(default_factory=bytearray)  # came, and not yet accounted for
    searched: int = 0  # of data, without finding an origin
    stretches: list[_Stretch] = field(default_factory=list)
    following: Origin | None = None  # of the next byte, while a stretch is followed
    limit: int = 0  # of the offset, where that is one of ours
    fault: Fault | None = None  # what it is if the stretch goes on to the limit
    returned: bytes = b""  # the first bytes that came since `until`

    def pass_over(self, n: int) -> None:
        self.before = (self.before + self.data[:n])[-_BEFORE:]
        del self.data[:n]
        self.place += n
        self.searched = max(0, self.searched - n)


class Verifier:
    """Makes what one connection sends, and compares what comes back; each fault goes to *tell*, once it is certain.

    The loader reads `chunk` and `position` itself: what came is as expected if chunk.startswith(data, position).
    """

    __slots__ = (
        "_ahead",
        "_case",
        "_chunks",
        "_holes",
        "_made",
        "_spare",
        "_stream",
        "_tell",
        "chunk",
        "connection",
        "front",
        "position",
        "run",
        "size",
    )

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
        self._tell = tell
        self._case: _Case | None = None
        self._holes: deque[tuple[Fault, int]] = deque()  # what was dropped, with the latest offset that explains it

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
        return self._case is None

    @property
    def progress(self) -> int:
        """The offset up to which the far end has answered, as far as can be told; in a case every byte counts as one."""
        case = self._case
        if case is None or (case.fault is not None):
            return self.front
        return min(self._made, case.place + len(case.data))

    # What comes

    def receive(self, data: bytes) -> None:
        """*data* came back."""
        while data:
            if self.position == len(self.chunk):
                self._next()
            if self._case is not None:
                case = self._case
                case.data += data
                if len(case.returned) < 32:
                    case.returned += data[:32]
                data = self._examine(case)
                continue
            n = min(len(self.chunk) - self.position, len(data))
            piece = data[:n]
            if n and self.chunk.startswith(piece, self.position):
                self._accept(n)
                data = data[n:]
                continue
            n = common(self.chunk[self.position : self.position + n], piece)
            self._accept(n)
            data = data[n:]
            before = self._stream_at(max(0, self.front - _BEFORE), min(self.front, _BEFORE))
            self._case = _Case(self.front, before, self.front)

    def finish(self, lost: str = "truncated") -> None:
        """No more will come: what is still missing is told, as *lost*."""
        if self._case is not None:
            self._conclude(self._case)
            self._case = None
        while self._holes:
            self._tell(self._holes.popleft()[0])
        if self.front < self._made:
            self._fault(lost, self.front, self._made - self.front)
            self.front = self._made

    def _accept(self, n: int) -> None:
        self.position += n
        self.front += n
        while self._holes and (len(self._holes) > _OPEN or self.front - self._holes[0][0].offset > _SETTLED):
            self._tell(self._holes.popleft()[0])

    def _next(self) -> None:
        if isinstance(self.chunk, bytearray) and self._case is None:
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
            missing = self._stream_at(offset, self.front - offset)
            self.chunk, self.position = missing + self.chunk[self.position :], 0
            self.front = offset

    # A case

    def _examine(self, case: _Case) -> bytes:
        """Account for what came in *case*, as far as can be told; what is left once it is closed."""
        while case.data:
            if case.following is not None:
                self._follow(case)
                if self._case is None:
                    return bytes(case.data)
                continue
            data = bytes(case.data)
            found = pattern.find(data, case.searched, self.run)
            if found is None:
                case.searched = max(0, len(data) - pattern.BLOCK + 1)
                if len(data) > _UNNAMED:
                    case.pass_over(len(data) - _BEFORE)
                return b""
            place, origin = found
            back = self._extended(case, place, origin)
            if self._ours(origin):
                self._return(case, place - back, origin.moved(-back))
                if self._case is None:
                    return bytes(case.data)
            else:
                case.pass_over(max(0, place - back))
                case.following = origin.moved(-min(back, place))
                start = case.place - max(0, back - place)
                case.stretches.append(_Stretch(start, case.place - start, origin.moved(-back)))
        return b""

    def _ours(self, origin: Origin) -> bool:
        """Whether the bytes are of this connection, and were sent already."""
        return (origin.run, origin.connection, origin.direction) == (self.run, self.connection, 0) and origin.offset < self._made

    def _extended(self, case: _Case, place: int, origin: Origin) -> int:
        """How many bytes before *place* in the case fit as well, those that came before it included."""
        came = (case.before + case.data[max(0, place - _BEFORE) : place])[-_BEFORE:]
        n = min(len(came), origin.offset)
        stream = Stream(origin.run, origin.connection, origin.direction).read(origin.offset - n, n)
        fit = 0
        while fit < n and stream[-1 - fit] == came[-1 - fit]:
            fit += 1
        return fit

    def _follow(self, case: _Case) -> None:
        """Take what goes on as the stretch that is followed."""
        origin = case.following
        assert origin is not None
        data = bytes(case.data[: case.limit - origin.offset] if case.limit else case.data)
        n = common(data, Stream(origin.run, origin.connection, origin.direction).read(origin.offset, len(data)))
        case.pass_over(n)
        if case.stretches:
            case.stretches[-1].length += n
        case.following = origin.moved(n)
        if case.limit and case.following.offset >= case.limit:
            self._close(case, case.fault)
        elif n < len(data):
            case.following, case.limit, case.fault = None, 0, None

    def _return(self, case: _Case, at: int, origin: Origin) -> None:
        """From *at* in the data on (below 0: in what came before) the bytes are ours, and begin with *origin*."""
        start = case.place + at  # "ours from"
        shift = start - origin.offset
        extra = start > case.until
        if shift > 0 and (not extra or case.until - origin.offset > _CHANCE):
            if at > 0:
                case.pass_over(at)
            self._jump_back(case, start, shift)
            return
        if shift > 0 and not case.stretches and start - shift > case.until:
            self._altered(case, case.until, start - shift)
            self._fault("inserted", start - shift, shift, case=case)
        elif shift > 0:
            self._put_in(case, start, shift)
        else:
            if extra:
                self._altered(case, case.until, start)
            if shift < 0:
                lost = self._make("dropped", min(start, case.until) if not extra else start, -shift, case=case)
                self._holes.append((lost, case.until))
        case.pass_over(max(0, at))
        self._resume(case, origin.offset + max(0, -at))

    def _jump_back(self, case: _Case, start: int, shift: int) -> None:
        """What came before comes again, or what was missing comes late: it is followed, to where that ends."""
        origin = Origin(self.run, self.connection, 0, case.place - shift)
        for hole, latest in self._holes:
            first = max(hole.offset, start - shift)
            if first <= min(latest, origin.offset) and origin.offset <= hole.offset + hole.length:
                case.fault = self._make("reordered", first, shift, case=case)
                case.limit = first + hole.length
                break
        else:
            case.fault = self._make("duplicated", start - shift, shift, case=case)
            case.limit = case.until
        case.stretches.append(_Stretch(case.place, 0, origin))
        case.following = origin

    def _close(self, case: _Case, fault: Fault | None) -> None:
        """The stretch went on to its limit, so the fault is what it was taken for."""
        assert fault is not None
        resumed = case.until
        if fault.kind == "reordered":
            resumed = fault.offset + fault.length
            for hole in self._holes:
                if hole[0].offset <= fault.offset <= hole[1]:
                    self._holes.remove(hole)
                    break
        case.stretches.pop()
        if case.stretches or case.place - fault.length > case.until + _CHANCE:
            self._named(case, case.until, 0)
        self._tell(fault)
        self._resume(case, resumed)

    def _resume(self, case: _Case, offset: int) -> None:
        self._case = None
        self._seek(offset)

    def _altered(self, case: _Case, start: int, end: int) -> None:
        """The places from *start* to *end* hold something else than was sent."""
        at = start
        for stretch in case.stretches:
            if stretch.place > at:
                self._flipped(case, at, min(stretch.place, end))
            at = max(at, stretch.place)
            n = min(stretch.place + stretch.length, end) - at
            if n > 0:
                self._stretch(case, stretch, at, n)
                at += n
        if at < end:
            self._flipped(case, at, end)

    def _flipped(self, case: _Case, start: int, end: int) -> None:
        came = self._came(case, start, end)
        if came is None:
            self._fault("flipped", start, end - start, "some bits of them", case=case)
            return
        sent = self._stream_at(start, end - start)
        changed = [x ^ y for x, y in zip(sent, came, strict=True)]
        detail = f"{sum(x.bit_count() for x in changed)} bits"
        if len(changed) == 1:
            detail = "bit " + ", ".join(str(i) for i in range(8) if changed[0] >> i & 1) + f": 0x{sent[0]:02x} came back as 0x{came[0]:02x}"
        self._fault("flipped", start, end - start, detail, case=case)

    def _put_in(self, case: _Case, start: int, shift: int) -> None:
        """*shift* bytes were put in; ours go on at the place *start*."""
        earliest = max(start - shift, 0)
        if len(case.stretches) == 1 and case.stretches[0].place <= case.until + _CHANCE:
            self._stretch(case, case.stretches[0], earliest, shift, moved=earliest - case.stretches[0].place)
        elif case.stretches:
            self._named(case, earliest, shift)
        else:
            self._fault("inserted", earliest, shift, case=case)

    def _named(self, case: _Case, offset: int, shift: int) -> None:
        """Every stretch of the case as a fault of its own at *offset*, and what is between them as bytes put in."""
        at = case.until
        for stretch in case.stretches:
            if stretch.place > at:
                self._fault("inserted", offset, stretch.place - at, case=case)
            self._stretch(case, stretch, offset, stretch.length)
            at = stretch.place + stretch.length
        rest = case.until + shift - at if shift else case.place - at
        if rest > 0:
            self._fault("inserted", offset, rest, case=case)

    def _stretch(self, case: _Case, stretch: _Stretch, offset: int, length: int, moved: int = 0) -> None:
        origin = stretch.origin.moved(max(moved, -stretch.origin.offset))
        if origin.run != self.run:
            kind, detail = "replayed", f"of run {origin.run:08x}, connection {origin.connection} at {origin.offset:,}"
        elif origin.connection != self.connection:
            kind, detail = "foreign", f"of connection {origin.connection} at {origin.offset:,}"
        else:
            kind, detail = "replayed", f"from {origin.offset:,}"
        self._fault(kind, offset, length, detail, origin=origin, case=case)

    def _conclude(self, case: _Case) -> None:
        """No more will come: name what is open as well as can be."""
        if case.following is None and case.data:
            tail = self._made
            n = min(_BEFORE, tail, len(case.before) + len(case.data))
            came, expected = (case.before + case.data)[-n:], self._stream_at(tail - n, n)
            fit = 0
            while fit < n and came[-1 - fit] == expected[-1 - fit]:
                fit += 1
            end = case.place + len(case.data)
            if fit >= 4 or (fit and end == tail):
                at = len(case.data) - fit
                self._return(case, at, Origin(self.run, self.connection, 0, tail - fit))
                if self._case is None:
                    return
                self._follow(case)
                if self._case is None:
                    return
        end = case.place + len(case.data)
        if case.stretches:
            self._named(case, case.until, 0)
            return
        missing = min(self._made - case.until, end - case.until)
        if missing > 0:
            self._flipped(case, case.until, case.until + missing)
        if end - case.until > missing:
            self._fault("excess", case.until + missing, end - case.until - missing, case=case)
        self._seek(case.until + missing)

    # What is told

    def _came(self, case: _Case, start: int, end: int) -> bytes | None:
        """The bytes at the places from *start* to *end*, if they are still here."""
        first = case.place - len(case.before)
        if start < first:
            return None
        return bytes((case.before + case.data)[start - first : end - first])

    def _make(
        self, kind: str, offset: int, length: int, detail: str = "", *, case: _Case | None = None, origin: Origin | None = None
    ) -> Fault:
        first = max(0, (offset if case is None else min(case.until, offset)) - 8)
        returned = b"" if case is None else self._stream_at(first, case.until - first) + case.returned
        sent = self._stream_at(first, min(32, self._made - first))
        return Fault(kind, self.connection, offset, length, detail, origin, first, sent, returned[:32])

    def _fault(
        self, kind: str, offset: int, length: int, detail: str = "", *, case: _Case | None = None, origin: Origin | None = None
    ) -> None:
        self._tell(self._make(kind, offset, length, detail, case=case, origin=origin))

    def _stream_at(self, offset: int, n: int) -> bytes:
        return Stream(self.run, self.connection).read(offset, max(0, n))


def common(a: bytes | bytearray, b: bytes | bytearray) -> int:
    """How many bytes *a* and *b* begin with alike: found by halving, since comparing bytes is a memcmp."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
