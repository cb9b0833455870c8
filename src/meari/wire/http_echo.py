"""A stream carried by HTTP requests to an echo, as a layer of a near end. No I/O.

Data is sent as the body of a POST, and received as the body of its response:

    send(b"hello")   ->  POST /echo HTTP/1.1 ... Content-Length: 5, hello
    feed(answer)     ->  b"hello"

Each message is a request, on a connection that is kept; or all data is one, whose body is sent in
chunks (*streamed*).
"""

from __future__ import annotations

import typing
from collections import deque
from http import HTTPStatus

import httptools

from ..address import Address
from .layer import Layer, LayerFault, Truncated

_INTERIM = 100  # interim answers before a final one
_HEAD = 65536  # bytes of an answer's head


class HttpEcho(Layer):
    """Requests to *address*, whose path is "/echo" if it has none."""

    def __init__(self, address: Address, *, streamed: bool = False) -> None:
        self._streamed = streamed
        self._begun = self._closed = False  # the request that is streamed; our direction
        host = address.authority
        framing = "Transfer-Encoding: chunked\r\n\r\n" if streamed else "Content-Length: "
        self._head = (
            f"POST {address.path or '/echo'} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: meari\r\n"
            f"Content-Type: application/octet-stream\r\n{framing}"
        ).encode("ascii")
        self._sizes: deque[int] = deque()  # of messages that are to be sent
        self._room = 0  # bytes that the body of the request under way still lacks
        self._out: list[bytes] = []
        self._data: list[bytes] = []
        self._owed = 0  # answers
        self._interim = 0  # interim answers since the last one
        self._size = 0  # bytes since a head began, or a piece of a body
        self._last = False  # the far end keeps the connection no longer
        self._parser = httptools.HttpResponseParser(self)
        self.ready, self.ended, self.within = True, False, None
        self.error: Exception | None = None
        self.fin = True

    @property
    def terms(self) -> dict[str, str | None]:
        return {"protocol": "HTTP/1.1"}

    def feed(self, wire: bytes, /) -> bytes:
        if self.error is not None or self.ended:
            return b""
        self._size += len(wire)
        try:
            self._parser.feed_data(wire)
        except httptools.HttpParserError as error:
            malformed = LayerFault(f"HTTP: the answer is malformed: {error}", "malformed")
            self.error = self.error or malformed
        if self._size > _HEAD and self.error is None:
            self.error = LayerFault("HTTP: the answer's head is too long", "malformed")
        self._settle()
        data, self._data = b"".join(self._data), []
        return data

    def eof(self) -> None:
        if self.ended or self.error is not None:
            return
        if self._owed:
            self.error = Truncated("HTTP: the connection ended before the answer did")
        else:
            self.ended = True

    def message(self, size: int, /) -> None:
        self._sizes.append(size)

    def send(self, data: bytes, /) -> None:
        if self.error is not None or self._closed or not data:
            return
        if self._streamed:
            self._begin()
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._send(data)
        self._settle()

    def _send(self, data: bytes) -> None:
        while data:
            if not self._room:
                self._room = self._sizes.popleft() if self._sizes else len(data)
                self._owed += 1
                self._out += (self._head, b"%d\r\n\r\n" % self._room)
            piece = data[: self._room]
            self._room -= len(piece)
            self._out.append(piece)
            data = data[len(piece) :]

    def close(self) -> None:
        if not self._closed and self.error is None:
            if self._streamed:
                self._begin()
                self._out.append(b"0\r\n\r\n")
            self._closed = True
            self.ended |= not self._owed
            self._settle()

    def wake(self) -> None:
        """It waits for nothing."""

    def take(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _settle(self) -> None:
        # With an answer outstanding, a proxy would take a FIN for the end of the client.
        self.fin = not self._owed

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._owed += 1
            self._out.append(self._head)

    # Called by httptools

    def on_headers_complete(self) -> None:
        self._size = 0
        code = self._parser.get_status_code()
        if code >= 300:
            phrase = HTTPStatus(code).phrase if code in _CODES else ""
            self._reject(f"HTTP: status {code} {phrase}".rstrip(), f"status {code}")
        elif code >= 200 and not self._owed:
            self._reject("HTTP: an answer came without a request", "unasked")

    def on_body(self, data: bytes) -> None:
        self._size = 0
        self._data.append(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # 100 Continue, 103 Early Hints
            self._interim += 1
            if self._interim > _INTERIM:
                self._reject("HTTP: there is no end of interim answers", "malformed")
            return
        self._interim = 0
        self._owed -= 1
        self._last |= not self._parser.should_keep_alive()
        self.ended = (self._closed and not self._owed) or self._last
        if self._last and self._owed:
            self._reject("HTTP: the far end closed with answers outstanding", "closed")

    def _reject(self, reason: str, kind: str) -> typing.NoReturn:
        self.error = LayerFault(reason, kind)
        raise self.error


_CODES = frozenset(HTTPStatus)
