"""HTTP/1.0 and 1.1 requests from bytes (RFC 9112). No I/O.

httptools does the parsing: llhttp, the parser of Node.js, which is strict. It rejects bare LF,
whitespace before a colon, folded headers, Content-Length beside Transfer-Encoding, lengths and
chunk sizes that are not plain numbers. Faults that it accepts are rejected here (_fault()), and
lengths are limited here.

Example: a request arrives in two segments.

    feed(b"GET / HTTP/1.1\\r\\nHo")     []
    feed(b"st: a\\r\\n\\r\\n")             [Request(...), END]

After an error nothing is parsed any more: the last item is an HttpError, whose status is to be
answered before the connection is closed. Requests before it are complete.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence

import httptools

from .request import CHUNKS, END, HttpError, Item, Request

_TARGET = 8192  # bytes of a request target
_LINE = 16384  # bytes of a header line
_HEADERS = 100
_HEAD = 65536  # bytes of the request line and all headers; of all trailers


# Cache of parsed requests without a body, by their bytes: clients repeat themselves. A Request is
# never modified.
_known: dict[bytes, Sequence[Item]] = {}
_KEPT = 256
_SMALL = 2048  # bytes


class RequestParser:
    """Parses the requests of one connection, one after the other."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._error: HttpError | None = None
        # The next request is parsed as the first of a connection would be.
        self._reusable = True
        self._begin()
        self._parser = httptools.HttpRequestParser(self)

    def _begin(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._request: Request | None = None
        self._chunk = 0  # bytes of the chunk, so far
        # Bytes since the last complete head, piece of a body or request: of a head, of trailers or
        # of what frames a chunk.
        self._size = 0
        self.started = False  # part of a request is received, and not all

    def feed(self, data: bytes) -> Sequence[Item]:
        """The items that *data* completes: Request, pieces of its body, END; or an HttpError."""
        fresh = not self.started and self._reusable
        if fresh and (known := _known.get(data)) is not None:
            return known
        items = self._items = []
        if self._error is not None:
            return items
        received = data
        self._size += len(data)
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # No other protocol is offered: what follows is the next request (RFC 9110, 7.8).
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserError as error:
                self._fail(error)
            break
        if self._error is None and self._size > _HEAD:
            self._error = HttpError(431, "the request's headers or trailers are too long")
        if self._error is not None:
            self._reusable = False
            items.append(self._error)
        elif fresh and not self.started and items[1:] == [END] and len(received) <= _SMALL:
            if len(_known) >= _KEPT:
                _known.clear()
            _known[received] = items
        return items

    def _fail(self, error: Exception) -> None:
        if isinstance(error, httptools.HttpParserCallbackError):
            if self._error is None:
                raise error  # a fault of ours
        elif isinstance(error, httptools.HttpParserInvalidMethodError):
            self._error = HttpError(501, "the method is not known")
        elif "HTTP version" in str(error):
            self._error = HttpError(505, "the version of HTTP is not known")
        else:
            self._error = HttpError(400, f"the request is malformed: {error}")

    def _reject(self, fault: HttpError) -> typing.NoReturn:
        """Stop the parser. (httptools raises an error of its own from it, whose context need not be
        this one: in the handler of another exception it is that.)
        """
        self._error = fault
        raise fault

    # Called by httptools

    def on_message_begin(self) -> None:
        self.started = True

    def on_url(self, data: bytes) -> None:
        self._target += data
        if len(self._target) > _TARGET:
            self._reject(HttpError(414, "the request target is too long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) + len(value) > _LINE:
            self._reject(HttpError(431, "a header is too long"))
        found = self._headers if self._request is None else self._request.trailers
        found.append((name, value))
        if len(found) > _HEADERS:
            self._reject(HttpError(431, "there are too many headers"))

    def on_headers_complete(self) -> None:
        parser = self._parser
        self._request = Request(
            parser.get_method().decode(),
            self._target.decode("ascii", "replace"),
            parser.get_http_version(),
            self._headers,
            parser.should_keep_alive(),
            [],
        )
        if (fault := _fault(self._request)) is not None:
            self._reject(fault)
        self._size = 0
        self._items.append(self._request)

    def on_chunk_header(self) -> None:
        assert self._request is not None
        if self._request.chunks is None:
            self._request.chunks = []
        self._chunk = 0

    def on_chunk_complete(self) -> None:
        assert self._request is not None and self._request.chunks is not None
        if self._chunk and len(self._request.chunks) < CHUNKS:
            self._request.chunks.append(self._chunk)

    def on_body(self, data: bytes) -> None:
        self._size = 0
        self._chunk += len(data)
        self._items.append(data)

    def on_message_complete(self) -> None:
        self._reusable &= self._parser.should_keep_alive()
        self._items.append(END)
        self._begin()


def _fault(request: Request) -> HttpError | None:
    """The fault of a request that llhttp accepts; None if there is none."""
    if request.version not in ("1.0", "1.1"):
        return HttpError(505, "the version of HTTP is not known")
    hosts = request.values(b"host")
    # RFC 9112, 3.2: exactly one, so that no two programs on the path take different ones.
    if len(hosts) != 1 and (hosts or request.version == "1.1"):
        return HttpError(400, "a request has one Host header")
    if hosts and not frozenset(b" \t/\\@,").isdisjoint(hosts[0]):
        return HttpError(400, "the Host header is malformed")
    codings = [coding.lower() for coding in request.values(b"transfer-encoding")]
    if codings and request.version == "1.0":  # RFC 9112, 6.1
        return HttpError(400, "HTTP/1.0 has no Transfer-Encoding")
    if codings not in ([], [b"chunked"]):
        return HttpError(501, "a transfer coding other than chunked is not known")
    if not request.target or "#" in request.target:
        return HttpError(400, "the request target is malformed")
    return None
