"""The fault classifier: what a path did to a keyed stream, by kind and place.

Every block of the keyed stream names its origin: the run, the connection, the direction and the
offset, encrypted (pattern.py). So any 16 aligned bytes of it, wherever they are found, tell where
they were sent. The classifier uses this only after the first difference: before that, received
bytes are compared with the sent ones, which costs a memcmp.

At the first byte that differs a *case* opens. Three numbers classify it:

    ours until   the place where received bytes stop to be the expected ones
    ours from    the place from which they are bytes of this stream again, found by decryption
    shift        place minus offset from there on: bytes too many (positive), too few (negative)

A place counts received bytes, an offset counts sent bytes; before the case they are equal.

    shift = 0    the bytes between were altered where they lie: flipped
    shift < 0    bytes are missing: dropped; or reordered, if they arrive later
    shift > 0    there are bytes too many: inserted, or duplicated, if they were received before

A stretch in between may name an origin of its own: another connection is foreign, another run or an
earlier offset is replayed. It is followed to its end, however long it is.

Worked example. Sent are 128 bytes; the path loses bytes 40 to 55. Received are 112 bytes.

    place     0 ........ 40 ............................ 112
    received  [0 .. 39]  [56 .. 127]

The bytes up to place 40 are the expected ones; the next one differs: ours until = 40. The bytes
from place 40 on are searched for a block that decrypts to an origin of this run. The first one
begins at place 48 and names offset 64; the 8 bytes before it match offset 56 on, so ours from = 40,
offset 56. shift = 40 - 56 = -16: 16 bytes were dropped at offset 40. The fault is not reported yet:
if bytes 40 to 55 arrive within the next 64 KiB, they were reordered. The case closes, and byte 56
is expected next.

Several offsets may explain the same bytes: bytes just before "ours until" may match both the
expected stream and what replaced it. The earliest explanation is reported, so the last BEFORE bytes
before a place are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from . import pattern
from .fault import BEFORE, KINDS, Case, Fault, Stretch, common
from .pattern import Origin, Stream

__all__ = ["KINDS", "Fault", "FaultClassifier", "common"]

# Bytes without an origin that are kept; beyond that only their number is.
_UNNAMED = 1 << 16
# Holes, and bytes after them, within which missing bytes may arrive: then they were reordered.
_OPEN = 64
_SETTLED = 1 << 16
# Consecutive stretches with origins of their own that are kept until the case can be classified.
_STRETCHES = 64
# Bytes that may match by chance where two explanations meet.
_CHANCE = 16


class FaultClassifier:
    """Classifies the faults of one connection, and reports each to *report*.

    The caller compares received bytes with expected ones. At a difference it calls open(), and
    gives all further bytes to take() until that returns some: the case is closed.
    """

    def __init__(self, run: int, connection: int, report: Callable[[Fault], None]) -> None:
        self.run, self.connection, self.report = run, connection, report
        # The offset up to which bytes were sent.
        self.made = 0
        self.case: Case | None = None
        # The next expected offset, once a case is closed.
        self.resumed = 0
        # Dropped bytes, each with the latest offset that explains the same bytes.
        self._holes: deque[tuple[Fault, int]] = deque()

    def open(self, until: int) -> None:
        """Open a case: received bytes differ from the offset *until* on."""
        self.case = Case(until, self._stream_at(max(0, until - BEFORE), min(until, BEFORE)), until)

    def take(self, data: bytes) -> bytes:
        """Examine *data*; the rest of it once the case is closed.

        The rest continues at the offset `resumed`.
        """
        case = self.case
        assert case is not None
        case.data += data
        if len(case.returned) < 32:
            case.returned += data[:32]
        return self._examine(case)

    def conclude(self) -> bytes:
        """The stream has ended: classify the open case as well as possible. Returns as take()."""
        case = self.case
        assert case is not None
        self._conclude(case)
        self.case = None
        return bytes(case.data)

    def settle(self, front: int | None = None) -> None:
        """Report dropped bytes that can no longer arrive, as far before *front*; None: all."""
        while self._holes and (
            front is None or len(self._holes) > _OPEN or front - self._holes[0][0].offset > _SETTLED
        ):
            self.report(self._holes.popleft()[0])

    def lost(self, kind: str, front: int) -> None:
        """Nothing was received from *front* on: report it as *kind*."""
        self._fault(kind, front, self.made - front)

    @property
    def progress(self) -> int | None:
        """The offset up to which the far end has answered, each received byte counted as one.

        None: no further than before the case.
        """
        case = self.case
        if case is None or case.fault is not None:
            return None
        return min(self.made, case.place + len(case.data))

    def _examine(self, case: Case) -> bytes:
        """Account for the data of *case* as far as possible; the rest once it is closed."""
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
                    case.skip(len(data) - BEFORE)
                return b""
            place, origin = found
            back = self._extended(case, place, origin)
            if self._ours(origin):
                self._return(case, place - back, origin.moved(-back))
                if self.case is None:
                    return bytes(case.data)
            else:
                case.skip(max(0, place - back))
                case.following = origin.moved(-min(back, place))
                start = case.place - max(0, back - place)
                if len(case.stretches) == _STRETCHES:
                    self._named(case, case.until, 0)
                    case.stretches, case.reported = [], start
                case.stretches.append(Stretch(start, case.place - start, origin.moved(-back)))
        return b""

    def _ours(self, origin: Origin) -> bool:
        """True if the bytes are of this connection, and were sent already."""
        of = (origin.run, origin.connection, origin.direction)
        return of == (self.run, self.connection, 0) and origin.offset < self.made

    def _extended(self, case: Case, place: int, origin: Origin) -> int:
        """How many bytes before *place* match as well, across the beginning of the case."""
        received = (case.before + case.data[max(0, place - BEFORE) : place])[-BEFORE:]
        n = min(len(received), origin.offset)
        stream = Stream(origin.run, origin.connection, origin.direction).read(origin.offset - n, n)
        fit = 0
        while fit < n and stream[-1 - fit] == received[-1 - fit]:
            fit += 1
        return fit

    def _follow(self, case: Case) -> None:
        """Account for the bytes that continue the followed stretch."""
        origin = case.following
        assert origin is not None
        data = bytes(case.data[: case.limit - origin.offset] if case.limit else case.data)
        stream = Stream(origin.run, origin.connection, origin.direction)
        n = common(data, stream.read(origin.offset, len(data)))
        case.skip(n)
        if case.stretches:
            case.stretches[-1].length += n
        case.following = origin.moved(n)
        if case.limit and case.following.offset >= case.limit:
            self._close(case, case.fault)
        elif n < len(data):
            case.following, case.limit, case.fault = None, 0, None

    def _return(self, case: Case, at: int, origin: Origin) -> None:
        """From *at* in the data on the bytes are ours, and begin with *origin*.

        *at* is negative if they begin before the case.
        """
        start = case.place + at
        shift = start - origin.offset
        extra = start > case.until
        if shift > 0 and (not extra or case.until - origin.offset > _CHANCE):
            if at > 0:
                case.skip(at)
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
        case.skip(max(0, at))
        self._resume(case, origin.offset + max(0, -at))

    def _jump_back(self, case: Case, start: int, shift: int) -> None:
        """Follow bytes that were received before, or that were missing and arrive late."""
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
        case.stretches.append(Stretch(case.place, 0, origin))
        case.following = origin

    def _close(self, case: Case, fault: Fault | None) -> None:
        """The followed stretch reached its limit: report its fault, and close the case."""
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
        """Report the places from *start* to *end* as altered."""
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
        received = self._received(case, start, end)
        if received is None:
            self._fault("flipped", start, end - start, "some bits of them", case=case)
            return
        sent = self._stream_at(start, end - start)
        changed = [x ^ y for x, y in zip(sent, received, strict=True)]
        detail = f"{sum(x.bit_count() for x in changed)} bits"
        if len(changed) == 1:
            bits = ", ".join(str(i) for i in range(8) if changed[0] >> i & 1)
            detail = f"bit {bits}: 0x{sent[0]:02x} came back as 0x{received[0]:02x}"
        self._fault("flipped", start, end - start, detail, case=case)

    def _put_in(self, case: Case, start: int, shift: int) -> None:
        """Report *shift* inserted bytes; ours continue at the place *start*."""
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
        """Report every stretch as a fault at *offset*, and the bytes between as inserted."""
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
        self, case: Case, stretch: Stretch, offset: int, length: int, moved: int = 0
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
        """Classify a case at the end of the stream."""
        if case.following is None and case.data:
            tail = self.made
            n = min(BEFORE, tail, len(case.before) + len(case.data))
            received, expected = (case.before + case.data)[-n:], self._stream_at(tail - n, n)
            fit = 0
            while fit < n and received[-1 - fit] == expected[-1 - fit]:
                fit += 1
            end = case.place + len(case.data)
            # The last bytes sent are the last received: few of them may be chance, unless nothing
            # else is left to explain (all that came, all that is missing, or none too many).
            whole = fit == len(case.data) or fit >= tail - case.until > 0 or end == tail
            if fit >= 4 or (fit and whole):
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

    def _received(self, case: Case, start: int, end: int) -> bytes | None:
        """The bytes at the places from *start* to *end*, if they are still kept."""
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
