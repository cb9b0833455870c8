"""The open connections of all processes of a far end, in shared memory, for its status page.

A row is written by the process that serves its connection, and read by any other. There are _ROWS
of them: with more connections open, those without a row are only counted (totals.py). A row of a
process that was killed is not shown.
"""

from __future__ import annotations

import itertools
import math
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from .events import Event, Events, Kind
from .wire.protocol import Connection

_ROWS = 1024
_TRIED = 32  # rows that are looked at to find a free one
_STEADY = 1.0  # seconds
_ROW = struct.Struct("=QIdQQ92s")  # token, process, begin, messages, bytes, the text
_TOKEN = struct.Struct("=Q")
_COUNTS = struct.Struct("=QQ")
_AT_COUNTS = struct.calcsize("=QId")
_AT_TEXT = struct.calcsize("=QIdQQ")
_ENDS = (Kind.CLOSED, Kind.FAILED, Kind.CUT)


@dataclass(frozen=True, slots=True)
class Row:
    """One open connection: its age in seconds, and what was received on it."""

    peer: str
    protocol: str
    age: float
    messages: int
    bytes: int


class Table:
    """Made before the processes that share it. A row belongs to the process that has its token."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _ROW.size * _ROWS)  # shared by fork
        self._numbers = itertools.count(1)
        self._swept = -math.inf

    def add(self, peer: str, protocol: str) -> tuple[int, int] | None:
        """Take a row: its place and its token. None if none is free."""
        pid, number = os.getpid(), next(self._numbers)
        token = pid << 32 | number & 0xFFFFFFFF
        start = hash((pid, number)) % _ROWS
        for i in range(_TRIED):
            at = (start + i) % _ROWS * _ROW.size
            if not _TOKEN.unpack_from(self._memory, at)[0]:
                break
        else:
            self._sweep()
            return None
        # Two processes may take one row at once: the later token has it.
        text = _text(peer, protocol)
        _ROW.pack_into(self._memory, at, token, pid, time.monotonic(), 0, 0, text)
        return at, token

    def _sweep(self) -> None:
        """Free the rows of processes that were killed; once a second at most."""
        now = time.monotonic()
        if now - self._swept < _STEADY:
            return
        self._swept = now
        for at in range(0, _ROW.size * _ROWS, _ROW.size):
            token, pid, *_ = _ROW.unpack_from(self._memory, at)
            if token and not _alive(pid):
                _TOKEN.pack_into(self._memory, at, 0)

    def update(self, row: tuple[int, int], messages: int, total: int) -> None:
        at, token = row
        if _TOKEN.unpack_from(self._memory, at)[0] == token:
            _COUNTS.pack_into(self._memory, at + _AT_COUNTS, messages, total)

    def rename(self, row: tuple[int, int], peer: str, protocol: str) -> None:
        at, token = row
        if _TOKEN.unpack_from(self._memory, at)[0] == token:
            text = _text(peer, protocol)
            self._memory[at + _AT_TEXT : at + _AT_TEXT + len(text)] = text

    def free(self, row: tuple[int, int]) -> None:
        at, token = row
        if _TOKEN.unpack_from(self._memory, at)[0] == token:
            _TOKEN.pack_into(self._memory, at, 0)

    def rows(self) -> list[Row]:
        """Those of processes that run, with most bytes first."""
        found, now = [], time.monotonic()
        alive: dict[int, bool] = {}
        for at in range(0, _ROW.size * _ROWS, _ROW.size):
            token, pid, began, messages, total, text = _ROW.unpack_from(self._memory, at)
            if not token:
                continue
            if pid not in alive:
                alive[pid] = _alive(pid)
            if alive[pid]:
                protocol, _, peer = text.rstrip(b"\0").decode("utf-8", "replace").partition(" ")
                found.append(Row(peer, protocol, max(0.0, now - began), messages, total))
        found.sort(key=lambda row: (-row.bytes, -row.age))
        return found


def _text(peer: str, protocol: str) -> bytes:
    return f"{protocol} {peer}".encode()[:92].ljust(92, b"\0")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class LiveEvents(Events):
    """Events that keep *table*. The counts of a row follow within a second of these events."""

    def __init__(
        self,
        hand: Callable[[Event], None] | None,
        table: Table,
        *,
        verbose: bool = False,
        second: float = 1.0,
        omit: Collection[Kind] = (),
    ) -> None:
        self._table, self._guard = table, threading.Lock()
        super().__init__(hand, verbose=verbose, second=second, omit=omit)

    def reset(self) -> None:
        super().reset()
        self._rows: dict[Connection, tuple[int, int]] = {}
        self._by_peer: dict[object, list[Connection]] = {}

    def connected(self, connection: Connection) -> None:
        row = self._table.add(*_described(connection))
        if row is not None:
            with self._guard:
                self._rows[connection] = row
                self._by_peer.setdefault(connection.peer, []).append(connection)
        super().connected(connection)

    def report(self, event: Event) -> None:
        if event.kind in _ENDS and event.count == 1:
            for peer in event.peers:
                self._forget(peer, event)
        super().report(event)

    def answered(self, connection: Connection, event: Event) -> None:
        row = self._rows.get(connection)
        if row is not None and not connection.messages:
            peer, protocol = _described(connection)
            self._table.rename(row, peer, "https" if protocol == "tls" else "http")
        super().answered(connection, event)
        if row is not None:
            self._table.update(row, connection.messages, connection.bytes)

    def _messages(self) -> Event | None:
        for connection in (*self._named, *self.fresh):
            if row := self._rows.get(connection):
                self._table.update(row, connection.messages, connection.bytes)
        return super()._messages()

    def _forget(self, peer: object, event: Event) -> None:
        """Free the row of the connection that ended. Connections of one process over a Unix socket
        have one name: then its counts tell which.
        """
        with self._guard:
            of_peer = self._by_peer.get(peer, [])
            counts = event.messages, event.bytes
            ended = next((c for c in of_peer if (c.messages, c.bytes) == counts), None)
            if ended is None:
                return
            of_peer.remove(ended)
            if not of_peer:
                del self._by_peer[peer]
            self._table.free(self._rows.pop(ended))


def _described(connection: Connection) -> tuple[str, str]:
    """The peer and the protocol, as far as known."""
    peer = connection.peer
    if peer.scheme == "unix":
        return f"{peer.host}, pid {peer.port}", "unix"
    host = f"[{peer.host}]" if peer.host and ":" in peer.host else peer.host
    return f"{host}:{peer.port}", "tcp" if connection.tls is None else "tls"
