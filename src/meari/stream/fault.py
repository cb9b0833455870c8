"""A fault of a connection; a case, a region of received bytes that is not classified yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from .pattern import Origin

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
# Received bytes before a place, kept to find the earliest explanation.
BEFORE = 64


@dataclass(slots=True)
class Fault:
    """A region of a connection that differs: *length* bytes at *offset* of what was sent.

    For inserted bytes, *offset* is that of the byte before which they stand; for duplicated or
    reordered bytes, that of the first of them. *sent* and *returned* are bytes around the place,
    from *shown* on. *origin* is that of foreign and replayed bytes.
    """

    kind: str
    connection: int
    offset: int
    length: int
    detail: str = ""
    origin: Origin | None = None
    shown: int = 0
    sent: bytes = b""
    returned: bytes = b""

    def __str__(self) -> str:
        length = f"{self.length:,} byte{'s' * (self.length != 1)}"
        where = f"connection {self.connection} at {self.offset:,}: {length} {self.kind}"
        return f"{where}, {self.detail}" if self.detail else where


@dataclass(slots=True)
class Stretch:
    """Bytes of a case that name their origin: *length* of them from *place* on."""

    place: int
    length: int
    origin: Origin


@dataclass(slots=True)
class Case:
    """The bytes received since the first that was not expected."""

    # The place of that byte: "ours until".
    until: int
    # The last bytes received before `place`.
    before: bytes
    # The place of the first byte of `data`.
    place: int
    # Received, and not yet accounted for.
    data: bytearray = field(default_factory=bytearray)
    # Bytes of data that were searched for an origin, without success.
    searched: int = 0
    stretches: list[Stretch] = field(default_factory=list)
    # The origin of the next byte, while a stretch is followed.
    following: Origin | None = None
    # The offset at which that stretch ends, if it is of this connection.
    limit: int = 0
    # The fault, if the stretch reaches the limit.
    fault: Fault | None = None
    # The first bytes received since `until`.
    returned: bytes = b""
    # The place before which everything is classified.
    reported: int = 0

    def skip(self, n: int) -> None:
        """Account for the first *n* bytes of data."""
        self.before = (self.before + self.data[:n])[-BEFORE:]
        del self.data[:n]
        self.place += n
        self.searched = max(0, self.searched - n)


def common(a: bytes | bytearray, b: bytes | bytearray) -> int:
    """The length of the common prefix; by halving, since a comparison of bytes is a memcmp."""
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
