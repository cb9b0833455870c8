"""Naming what a path did to a keyed stream: each stretch that differs, where it is, and what became
of it.

While bytes are as they were sent, they are compared with what was sent, and nothing else is done.
At the first that is not, a *case* is opened. It has three numbers, and they name the fault:

    ours until   the place where the bytes stop to be what was expected
    ours from    the place from which they are ours again, found by decrypting (pattern.find)
    shift        by how much places and offsets differ from there on: bytes too many, or (negative) too few

A place counts the bytes that came, so that before the case it is the offset. With shift 0 the bytes
between the two were altered where they lie; a shift above 0 is bytes put in, below 0 bytes lost. A
stretch between them that names an origin of its own (another connection, another run, an earlier
offset) is followed to its end, however long that is.

Where several offsets explain the same bytes, the earliest is told. Bytes before "ours until" may
fit both what was expected and what came instead, so a few that came before are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from . import pattern
from .pattern import Origin, Stream

KINDS = (
    "flipped",
    "dropped",
    "inserted",
    "duplicated",
    "reordered",
    "foreign",
    "replayed",
    "truncated",
    "excess",
)
BEFORE = 64  # bytes that came before a place, kept to find the earliest explanation
_UNNAMED = 1 << 16  # bytes that name no origin, kept; of more only the number is
# Holes, and the bytes after them, within which what is missing may still come: then it was
# reordered.
_OPEN = 64
_SETTLED = 1 << 16
# In a row that name origins of their own, kept until it is known what they stand for.
_STRETCHES = 64
_CHANCE = 16  # bytes that may fit by chance where two explanations meet


@dataclass(slots=True)
class Fault:
    """A stretch of a connection that differs: *length* bytes at *offset* of what was sent.

    For what was put in, *offset* is that of the byte before which it stands; for what came twice,
    or out of order, that of its first byte. *sent* and *returned* are bytes around the place, from
    *shown* on.
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
class Case:
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
    reported: int = 0  # the place before which everything is named already

    def pass_over(self, n: int) -> None:
        self.before = (self.before + self.data[:n])[-BEFORE:]
        del self.data[:n]
        self.place += n
        self.searched = max(0, self.searched - n)


class FaultClassifier:
    """Names the faults of one connection. While a case is open, what comes is given to take()."""

    def __init__(self, run: int, connection: int, report: Callable[[Fault], None]) -> None:
        self.run, self.connection, self.report = run, connection, report
        self.made = 0  # the offset up to which there is something to expect
        self.case: Case | None = None
        self.resumed = 0  # the offset to expect, once a case is closed
        # What was dropped, with the latest offset that explains it.
        self._holes: deque[tuple[Fault, int]] = deque()

    def open(self, until: int) -> None:
        """From the offset *until* on, what came is not what was expected."""
        self.case = Case(until, self._stream_at(max(0, until - BEFORE), min(until, BEFORE)), until)

    def take(self, data: bytes) -> bytes:
        """*data* came.

        What is left of it once the case is closed, which is to be expected from `resumed` on.
        """
        case = self.case
        assert case is not None
        case.data += data
        if len(case.returned) < 32:
            case.returned += data[:32]
        return self._examine(case)

    def conclude(self) -> bytes:
        """No more will come: name what is open as well as can be. Returns what take() does."""
        case = self.case
        assert case is not None
        self._conclude(case)
        self.case = None
        return bytes(case.data)

    def settle(self, front: int | None = None) -> None:
        """Tell what was dropped so long before *front* that it will not come any more; None: all of
        it.
        """
        while self._holes and (
            front is None or len(self._holes) > _OPEN or front - self._holes[0][0].offset > _SETTLED
        ):
            self.report(self._holes.popleft()[0])

    def lost(self, kind: str, front: int) -> None:
        """Nothing came from *front* on: told as *kind*."""
        self._fault(kind, front, self.made - front)

    @property
    def progress(self) -> int | None:
        """The offset up to which the far end has answered: every byte counts as one.

        None: as far as before the case.
        """
        case = self.case
        return (
            None
            if case is None or case.fault is not None
            else min(self.made, case.place + len(case.data))
        )

    def _examine(self, case: Case) -> bytes:
        """Account for what came in *case*, as far as can be told; what is left once it is closed."""
        while case.data:
            if case.following is not None:
                self._follow(case)
                if self.case is None:
                    return bytes(case.data)
                continue
            data = bytes(case.data)
            found = pattern.find(data, case.searched, self.run)
            if found is None:
                case.searched = max(0, len(data) - pattern.BLOCK + 1)
                if len(data) > _UNNAMED:
                    case.pass_over(len(data) - BEFORE)
                return b""
            place, origin = found
            back = self._extended(case, place, origin)
            if self._ours(origin):
                self._return(case, place - back, origin.moved(-back))
                if self.case is None:
                    return bytes(case.data)
            else:
                case.pass_over(max(0, place - back))
                case.following = origin.moved(-min(back, place))
                start = case.place - max(0, back - place)
                if len(case.stretches) == _STRETCHES:
                    self._named(case, case.until, 0)
                    case.stretches, case.reported = [], start
                case.stretches.append(_Stretch(start, case.place - start, origin.moved(-back)))
        return b""

    def _ours(self, origin: Origin) -> bool:
        """Whether the bytes are of this connection, and were sent already."""
        return (origin.run, origin.connection, origin.direction) == (
            self.run,
            self.connection,
            0,
        ) and origin.offset < self.made

    def _extended(self, case: Case, place: int, origin: Origin) -> int:
        """How many bytes before *place* in the case fit as well, those that came before it
        included.
        """
        came = (case.before + case.data[max(0, place - BEFORE) : place])[-BEFORE:]
        n = min(len(came), origin.offset)
        stream = Stream(origin.run, origin.connection, origin.direction).read(origin.offset - n, n)
        fit = 0
        while fit < n and stream[-1 - fit] == came[-1 - fit]:
            fit += 1
        return fit

    def _follow(self, case: Case) -> None:
        """Take what goes on as the stretch that is followed."""
        origin = case.following
        assert origin is not None
        data = bytes(case.data[: case.limit - origin.offset] if case.limit else case.data)
        n = common(
            data,
            Stream(origin.run, origin.connection, origin.direction).read(origin.offset, len(data)),
        )
        case.pass_over(n)
        if case.stretches:
            case.stretches[-1].length += n
        case.following = origin.moved(n)
        if case.limit and case.following.offset >= case.limit:
            self._close(case, case.fault)
        elif n < len(data):
            case.following, case.limit, case.fault = None, 0, None

    def _return(self, case: Case, at: int, origin: Origin) -> None:
        """From *at* in the data on (below 0: in what came before) the bytes are ours, and begin
        with *origin*.
        """
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
                lost = self._make(
                    "dropped", min(start, case.until) if not extra else start, -shift, case=case
                )
                self._holes.append((lost, case.until))
        case.pass_over(max(0, at))
        self._resume(case, origin.offset + max(0, -at))

    def _jump_back(self, case: Case, start: int, shift: int) -> None:
        """What came before comes again, or what was missing comes late: it is followed, to where
        that ends.
        """
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

    def _close(self, case: Case, fault: Fault | None) -> None:
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
        self.report(fault)
        self._resume(case, resumed)

    def _resume(self, case: Case, offset: int) -> None:
        self.case = None
        self.resumed = offset

    def _altered(self, case: Case, start: int, end: int) -> None:
        """The places from *start* to *end* hold something else than was sent."""
        at = max(start, case.reported)
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

    def _flipped(self, case: Case, start: int, end: int) -> None:
        came = self._came(case, start, end)
        if came is None:
            self._fault("flipped", start, end - start, "some bits of them", case=case)
            return
        sent = self._stream_at(start, end - start)
        changed = [x ^ y for x, y in zip(sent, came, strict=True)]
        detail = f"{sum(x.bit_count() for x in changed)} bits"
        if len(changed) == 1:
            detail = (
                "bit "
                + ", ".join(str(i) for i in range(8) if changed[0] >> i & 1)
                + f": 0x{sent[0]:02x} came back as 0x{came[0]:02x}"
            )
        self._fault("flipped", start, end - start, detail, case=case)

    def _put_in(self, case: Case, start: int, shift: int) -> None:
        """*shift* bytes were put in; ours go on at the place *start*."""
        earliest = max(start - shift, 0)
        if len(case.stretches) == 1 and case.stretches[0].place <= case.until + _CHANCE:
            self._stretch(
                case, case.stretches[0], earliest, shift, moved=earliest - case.stretches[0].place
            )
        elif case.stretches:
            self._named(case, earliest, shift)
        else:
            self._fault("inserted", earliest, shift, case=case)

    def _named(self, case: Case, offset: int, shift: int) -> None:
        """Every stretch of the case as a fault of its own at *offset*, and what is between them as
        bytes put in.
        """
        at = max(case.until, case.reported)
        for stretch in case.stretches:
            if stretch.place > at:
                self._fault("inserted", offset, stretch.place - at, case=case)
            self._stretch(case, stretch, offset, stretch.length)
            at = stretch.place + stretch.length
        rest = case.until + shift - at if shift else case.place - at
        if rest > 0:
            self._fault("inserted", offset, rest, case=case)

    def _stretch(
        self, case: Case, stretch: _Stretch, offset: int, length: int, moved: int = 0
    ) -> None:
        origin = stretch.origin.moved(max(moved, -stretch.origin.offset))
        if origin.run != self.run:
            kind, detail = (
                "replayed",
                f"of run {origin.run:08x}, connection {origin.connection} at {origin.offset:,}",
            )
        elif origin.connection != self.connection:
            kind, detail = "foreign", f"of connection {origin.connection} at {origin.offset:,}"
        else:
            kind, detail = "replayed", f"from {origin.offset:,}"
        self._fault(kind, offset, length, detail, origin=origin, case=case)

    def _conclude(self, case: Case) -> None:
        """No more will come: name what is open as well as can be."""
        if case.following is None and case.data:
            tail = self.made
            n = min(BEFORE, tail, len(case.before) + len(case.data))
            came, expected = (case.before + case.data)[-n:], self._stream_at(tail - n, n)
            fit = 0
            while fit < n and came[-1 - fit] == expected[-1 - fit]:
                fit += 1
            end = case.place + len(case.data)
            if fit >= 4 or (fit and fit == len(case.data)) or (fit and end == tail):
                at = len(case.data) - fit
                self._return(case, at, Origin(self.run, self.connection, 0, tail - fit))
                if self.case is None:
                    return
                self._follow(case)
                if self.case is None:
                    return
        end = case.place + len(case.data)
        if case.stretches:
            self._named(case, case.until, 0)
            self.resumed = case.until
            case.data.clear()
            return
        missing = min(self.made - case.until, end - case.until)
        if missing > 0:
            self._flipped(case, case.until, case.until + missing)
        if end - case.until > missing:
            self._fault("excess", case.until + missing, end - case.until - missing, case=case)
        self.resumed = case.until + missing
        case.data.clear()

    def _came(self, case: Case, start: int, end: int) -> bytes | None:
        """The bytes at the places from *start* to *end*, if they are still here."""
        first = case.place - len(case.before)
        if start < first:
            return None
        return bytes((case.before + case.data)[start - first : end - first])

    def _make(
        self,
        kind: str,
        offset: int,
        length: int,
        detail: str = "",
        *,
        case: Case | None = None,
        origin: Origin | None = None,
    ) -> Fault:
        first = max(0, (offset if case is None else min(case.until, offset)) - 8)
        returned = (
            b"" if case is None else self._stream_at(first, case.until - first) + case.returned
        )
        sent = self._stream_at(first, min(32, self.made - first))
        return Fault(
            kind, self.connection, offset, length, detail, origin, first, sent, returned[:32]
        )

    def _fault(
        self,
        kind: str,
        offset: int,
        length: int,
        detail: str = "",
        *,
        case: Case | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.report(self._make(kind, offset, length, detail, case=case, origin=origin))

    def _stream_at(self, offset: int, n: int) -> bytes:
        return Stream(self.run, self.connection).read(offset, max(0, n))


def common(a: bytes | bytearray, b: bytes | bytearray) -> int:
    """How many bytes *a* and *b* begin with alike: found by halving, since comparing bytes is a
    memcmp.
    """
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
