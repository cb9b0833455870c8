"""Compares sent with received bytes; keeps sent bytes only until they have been returned."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """The first byte that differs: its *offset* and both values; *sent* is None beyond the sent
    bytes.
    """

    offset: int
    sent: int | None
    returned: int

    def __str__(self) -> str:
        if self.sent is None:
            return f"more came back than was sent: {_byte(self.returned)} at offset {self.offset:,}"
        sent, returned = _byte(self.sent), _byte(self.returned)
        return f"they differ at offset {self.offset:,}: {sent} was sent, {returned} came back"


def _byte(value: int) -> str:
    return f"0x{value:02x} ({chr(value)!r})" if 0x20 <= value < 0x7F else f"0x{value:02x}"


class Comparison:
    """Counts sent and received bytes and finds the first byte that differs."""

    def __init__(self) -> None:
        self.sent = self.returned = 0  # bytes
        self.difference: Difference | None = None
        self._expected: deque[bytes] = deque()
        self._taken = 0  # bytes of the first that have been returned

    @property
    def outstanding(self) -> int:
        """Bytes that were sent and have not been returned."""
        return max(0, self.sent - self.returned)

    @property
    def identical(self) -> bool:
        return self.difference is None and self.sent == self.returned

    def send(self, data: bytes) -> None:
        """Add *data*, which was or will be sent."""
        self.sent += len(data)
        if data and self.difference is None:
            self._expected.append(data)

    def receive(self, data: bytes) -> None:
        """Compare the received *data*."""
        start = 0
        while start < len(data) and self.difference is None:
            start += self._compare(data, start)
        self.returned += len(data)

    def _compare(self, data: bytes, start: int) -> int:
        """Compare *data* from *start* on with the first expected bytes; the number compared."""
        if not self._expected:
            self._differ(start, None, data[start])
            return 0
        first = self._expected[0]
        n = min(len(first) - self._taken, len(data) - start)
        ours, theirs = first[self._taken : self._taken + n], data[start : start + n]
        if ours != theirs:  # bytes with bytes is a memcmp; a memoryview is compared byte by byte
            i = next(i for i in range(n) if ours[i] != theirs[i])
            self._differ(start + i, ours[i], theirs[i])
            return 0
        self._taken += n
        if self._taken == len(first):
            self._expected.popleft()
            self._taken = 0
        return n

    def _differ(self, at: int, ours: int | None, theirs: int) -> None:
        self.difference = Difference(self.returned + at, ours, theirs)
        self._expected.clear()

    def __str__(self) -> str:
        counts = f"{self.sent:,} byte{'s' * (self.sent != 1)} sent, {self.returned:,} returned"
        if self.difference is not None:
            return f"{counts}: {self.difference}"
        if self.outstanding:
            return f"{counts}: the last {self.outstanding:,} never came back"
        return f"{counts}, identical"
