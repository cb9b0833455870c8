"""One connection of an HTTP server: requests in, responses out, in order. No I/O.

Requests that arrive together are answered one after the other: the next response is made when the
one before is sent, so that a client that reads slowly costs one open file.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ..wire.http import HttpError, Item, Request, RequestParser
from ..wire.protocol import Connection, Protocol, Span
from .response import Response, error

# Reports a request whose response is sent: the status, bytes of its body, seconds since the
# request's first byte.
Log = Callable[[Connection, Request | None, int, int, float], None]

REQUEST = 10.0  # seconds from the first byte of a request to its last
BODY = 1 << 20  # bytes of a request's body, at most


class Conversation(Protocol):
    """Answers each request with *answer*, and reports it to *log*."""

    __slots__ = (
        "_answer",
        "_began",
        "_body",
        "_connection",
        "_items",
        "_last",
        "_log",
        "_parser",
        "_report",
        "_request",
        "_sending",
        "_sent",
        "done",
        "within",
    )

    def __init__(
        self, connection: Connection, answer: Callable[[Request], Response], log: Log
    ) -> None:
        self._connection, self._answer, self._log = connection, answer, log
        self._parser = RequestParser()
        self._items: deque[Item] = deque()
        self._request: Request | None = None  # whose END is still to come
        self._body = 0  # bytes of its body
        self._sending: Response | None = None  # whose file is still to be sent
        self._sent: Response | None = None  # whose file is being sent
        # To be reported once the response is sent: the request, the status, bytes, the begin.
        self._report: tuple[Request | None, int, int, float] | None = None
        self._last = False  # nothing follows the response that is being sent
        self._began = time.monotonic()  # of the request, or of the silence before it
        self.done = False
        self.within: float | None = REQUEST  # a browser may connect ahead of time

    def receive(self, data: bytes, /) -> bytes:
        if self._last:  # bytes behind the last request are discarded
            return b""
        if not self._parser.started:
            self._began = time.monotonic()
        self._items += self._parser.feed(data)
        return self._next()

    def more(self) -> bytes | Span:
        response = self._sending
        if response is not None and response.file is not None:
            self._sending = None
            self._sent = response  # its file stays open until it is sent
            return Span(response.file.fd, response.offset, response.count)
        self._sent = None
        if self._report is not None:
            request, status, sent, began = self._report
            self._report = None
            self._log(self._connection, request, status, sent, time.monotonic() - began)
        return self._next()

    def wake(self) -> bytes:
        """The request is not complete in time; or the first has not begun."""
        self.within = None
        self._last = True
        if not self._parser.started:
            self.done = True
            return b""
        return self._respond(error(408, "the request was not complete in time", None))

    def eof(self) -> bytes:
        self._last = True
        return b""

    def close(self) -> bytes:
        return self.eof()

    def _next(self) -> bytes:
        """The next response, as far as its request is complete; its body may follow by more()."""
        while self._items and not self._last:
            item = self._items.popleft()
            if isinstance(item, Request):
                self._request, self._body = item, 0
            elif isinstance(item, HttpError):
                return self._fail(item)
            elif isinstance(item, bytes):
                self._body += len(item)
                if self._body > BODY:
                    return self._fail(HttpError(413, f"a body has at most {BODY:,} bytes"))
            elif self._request is not None:
                return self._respond(self._answer(self._request))
        self.done |= self._last
        # Between two requests the idle limit of the engine holds.
        late = self._began + REQUEST - time.monotonic()
        self.within = max(0.0, late) if self._parser.started else None
        return b""

    def _fail(self, fault: HttpError) -> bytes:
        """Answer a request that is not served; where the next one begins is not known."""
        self._last = True
        return self._respond(error(fault.status, str(fault), self._request))

    def _respond(self, response: Response) -> bytes:
        request, self._request = self._request, None
        self._last |= request is None or not request.keep_alive
        version = "1.1" if request is None else request.version
        out = response.head(keep_alive=not self._last, version=version)
        bodiless = request is not None and request.method == "HEAD"
        if not bodiless and response.file is not None and response.count:
            self._sending = response
        elif not bodiless:
            out += response.body
        self.within = None
        sent = 0 if bodiless else response.length
        self._report = request, response.status, sent, self._began
        self._began = time.monotonic()
        return out
