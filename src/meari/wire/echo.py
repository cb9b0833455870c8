"""The two echoes: RFC 862's returns bytes as they arrive, CS:APP's returns lines."""

from __future__ import annotations

from .protocol import Connection, Protocol


class _Echo(Protocol):
    """What the two share: the connection on which messages are counted."""

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection


class StreamEcho(_Echo):
    """Received bytes are returned at once (RFC 862); one read is one message."""

    __slots__ = ()
    reflects = True

    def receive(self, data: bytes, /) -> bytes:
        return data


class LineEcho(_Echo):
    """Lines are returned one by one (CS:APP 11.4.9); each is a message, also of five at once.

    A line over *limit* bytes, its newline included, is returned in pieces of *limit*. An incomplete
    line is held, at most *limit* - 1 bytes, and returned at the end of file.
    """

    __slots__ = ("_held", "_limit")
    reflects = False

    def __init__(self, connection: Connection, limit: int = 8192) -> None:
        super().__init__(connection)
        self._limit = limit
        self._held = b""

    def receive(self, data: bytes, /) -> bytes:
        data = self._held + data
        start = 0
        while len(data) > start:
            newline = data.find(b"\n", start, start + self._limit)
            end = newline + 1 if newline >= 0 else start + self._limit
            if end > len(data):
                break  # neither a newline nor a full piece
            self.connection.received(end - start)
            start = end
        self._held = data[start:]
        return data[:start]

    def eof(self) -> bytes:
        held, self._held = self._held, b""
        if held:
            self.connection.received(len(held))
        return held
