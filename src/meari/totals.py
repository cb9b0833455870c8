"""Counters of all processes of a far end since its start, in shared memory.

Events of every process reach one writer (writer.py). It alone adds, and any process reads: a
number is 8 bytes, aligned, so no reader sees half of one.
"""

from __future__ import annotations

import mmap
import struct

from .events import Event, Kind

NAMES = (
    "connections",
    "ended",
    "lost",
    "refused",
    "cut",
    "messages",
    "bytes",
    "requests",
    "responses_1xx",
    "responses_2xx",
    "responses_3xx",
    "responses_4xx",
    "responses_5xx",
    "response_bytes",
    "dropped",
)
_AT = {name: 8 * i for i, name in enumerate(NAMES)}
_NUMBER = struct.Struct("=Q")


class Totals:
    """Made before the processes that share it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * len(NAMES))  # shared by fork

    def add(self, event: Event) -> None:
        """Count an event; in one process only."""
        match event.kind:
            case Kind.CONNECTED:
                self._add("connections", event.count)
            case Kind.RECEIVED:
                self._add("messages", event.messages)
                self._add("bytes", event.bytes)
            case Kind.REQUEST:
                self._add("requests", event.count)
                self._add("response_bytes", event.bytes)
                self._add(f"responses_{event.detail.rpartition(' ')[2][:1]}xx", event.count)
            case Kind.CLOSED:
                self._add("ended", event.count)
            case Kind.FAILED:
                self._add("ended", event.count)
                self._add("lost", event.count)
            case Kind.CUT:
                self._add("ended", event.count)
                self._add("cut", event.count)
            case Kind.REFUSED:
                self._add("refused", event.count)
            case Kind.DROPPED:
                self._add("dropped", event.count)

    def _add(self, name: str, n: int) -> None:
        at = _AT.get(name)
        if at is not None:
            _NUMBER.pack_into(self._memory, at, _NUMBER.unpack_from(self._memory, at)[0] + n)

    def read(self) -> dict[str, int]:
        found = {name: int(_NUMBER.unpack_from(self._memory, at)[0]) for name, at in _AT.items()}
        # A connection that failed before it was served has ended and was not counted as one.
        return found | {"open": max(0, found["connections"] - found["ended"])}

    def close(self) -> None:
        self._memory.close()
