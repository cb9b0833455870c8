"""GET requests as a layer of a near end: what a load of any HTTP server sends. No I/O.

Each byte that is sent is a request. It comes back once the whole response has come, if that has the
expected status and length:

    send(b"x")       ->  GET /page HTTP/1.1 ...
    feed(response)   ->  b"x"
"""

from __future__ import annotations

from dataclasses import dataclass

from ..address import Address
from .http_echo import HttpEcho
from .layer import LayerFault


@dataclass(slots=True)
class Expected:
    """The status and the length of the content of every response: those of the first."""

    status: int | None = None
    length: int = 0


class HttpGet(HttpEcho):
    """Requests to *address*, whose responses are all as *expected*."""

    def __init__(self, address: Address, expected: Expected) -> None:
        super().__init__(address)
        self._expected = expected
        self._request = (
            f"GET {address.path or '/'} HTTP/1.1\r\nHost: {address.authority}\r\n"
            "User-Agent: meari\r\nAccept: */*\r\n\r\n"
        ).encode("ascii")
        self._asked = bytearray()  # the bytes of outstanding requests
        self._length = 0  # of the response that is arriving
        self._framed = True  # it has a length, or chunks

    def message(self, size: int, /) -> None:
        """Each byte is a request, whatever message it is of."""

    def send(self, data: bytes, /) -> None:
        if self.error is None and not self._closed:
            self._owed += len(data)
            self._asked += data
            self._out.append(self._request * len(data))
            self._settle()

    def eof(self) -> None:
        if self._owed and not self._framed and self.error is None:
            text = "HTTP: the response has no length: it ends with the connection"
            self.error = LayerFault(text, "no length")
        super().eof()

    def on_message_begin(self) -> None:
        self._framed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._framed |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_body(self, data: bytes) -> None:
        self._size = 0
        self._length += len(data)

    def on_message_complete(self) -> None:
        status, expected = self._parser.get_status_code(), self._expected
        if status >= 200:
            if expected.status is None:
                expected.status, expected.length = status, self._length
            if status != expected.status:
                self._reject(f"HTTP: status {status}, not {expected.status}", f"status {status}")
            if self._length != expected.length:
                text = f"HTTP: {self._length:,} bytes of content, not {expected.length:,}"
                self._reject(text, "length")
            self._length = 0
            self._data.append(bytes(self._asked[:1]))
            del self._asked[:1]
        super().on_message_complete()
