"""One connection of an HTTP server: requests in, responses out, in order. No I/O.

Requests that arrive together are answered one after the other: the next response is made when the
one before is sent, so that a client that reads slowly costs one open file.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from ..errors import MeariError
from ..wire.http import RequestParser
from ..wire.protocol import Connection, Protocol, Span
from ..wire.request import END, HttpError, Item, Request
from .exchange import Exchange, Hangup
from .response import Response, error

# Reports a request whose response is sent: the status, bytes of its body, seconds since the
# request's first byte.
Log = Callable[[Connection, Request | None, int, int, float], None]
Answer = Callable[[Request, Connection], Response | Exchange]

REQUEST = 10.0  # seconds from the first byte of a request to the last of its head
RATE = 500  # bytes a second at which its body arrives at least, on average
BODY = 1 << 20  # bytes of a request's body, at most
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Conversation(Protocol):
    """Answers each request with *answer*, and reports it to *log*.

    A body has at most *body* bytes, and *rate* bytes a second (0: any time).
    """

    __slots__ = (
        "_answer",
        "_began",
        "_body",
        "_complete",
        "_connection",
        "_due",
        "_exchange",
        "_idle",
        "_items",
        "_last",
        "_limit",
        "_log",
        "_own",
        "_parser",
        "_paused",
        "_rate",
        "_report",
        "_request",
        "_response",
        "_sending",
        "_sent",
        "_since",
        "_size",
        "_successor",
        "done",
        "error",
        "reads",
        "watch",
        "within",
    )

    def __init__(
        self,
        connection: Connection,
        answer: Answer,
        log: Log,
        *,
        body: int = BODY,
        rate: float = RATE,
    ) -> None:
        self._connection, self._answer, self._log = connection, answer, log
        self._limit, self._rate = body, rate
        self._parser = RequestParser()
        self._items: deque[Item] = deque()
        self._request: Request | None = None  # that is being answered
        self._body = 0  # bytes of its body
        self._complete = False  # its END is received
        self._response: Response | None = None  # its answer, sent at its END
        self._successor: Protocol | None = None  # has the connection, after an upgrade
        self._exchange: Exchange | None = None  # or this makes its answer
        self._due = math.inf  # when the exchange is woken
        self._own = False  # the next wake() is the exchange's
        self._size = -1  # bytes of the exchange's response that are sent; -1: not even its head
        self._sending: Response | None = None  # whose file is still to be sent
        self._sent: Response | None = None  # whose file is being sent
        # To be reported once the response is sent: the request, the status, bytes, the begin.
        self._report: tuple[Request | None, int, int, float] | None = None
        self._last = False  # nothing follows the response that is being sent
        self._began = time.monotonic()  # of the request, or of the silence before it
        self._idle: float | None = None  # seconds of silence that end it
        self._since = self._began  # from when its time counts: that in which it was not read is out
        self._paused: float | None = None  # since when it is not read
        self.done, self.reads, self.watch = False, True, None
        self.error: Exception | None = None
        self.within: float | None = REQUEST  # a browser may connect ahead of time

    def receive(self, data: bytes, /) -> bytes:
        if self._successor is not None:
            return self._hand_over(self._successor, self._successor.receive(data))
        if self._last and self._exchange is None:  # bytes behind the last request are discarded
            return b""
        if not self._parser.started:
            self._began = self._since = time.monotonic()
        items = self._parser.feed(data)
        if len(items) == 2 and items[1] is END and not self._items and self._exchange is None:
            request = items[0]
            if isinstance(request, Request):
                return self._receive_one(request)
        self._items += items
        return self._next()

    def _receive_one(self, request: Request) -> bytes:
        """The usual case, by a short way: one request without a body."""
        out = self._begin(request)
        if self._response is not None:
            self._complete = True
            return self._respond(self._response)
        if self._exchange is None:
            return out
        self._items.append(END)
        return out or self._next()

    def more(self) -> bytes | Span:
        if self._successor is not None:
            self._say()
            return self._hand_over(self._successor, self._successor.more())
        response = self._sending
        if response is not None and response.file is not None:
            self._sending = None
            self._sent = response  # its file stays open until it is sent
            return Span(response.file.fd, response.offset, response.count)
        self._sent = None
        if self._exchange is None:
            self._say()
        out = self._next()
        if out or self._exchange is None:
            return out
        return self._ask(self._exchange.more) or self._next()

    def ready(self) -> bytes:
        if self._exchange is None:
            return self._next()
        return self._ask(self._exchange.ready) or self._next()

    def wake(self) -> bytes:
        """The request is not complete in time; or the first has not begun; or the exchange is to be
        woken.
        """
        if self._successor is not None:
            return self._hand_over(self._successor, self._successor.wake())
        if self._exchange is not None and self._own:
            return self._ask(self._exchange.wake) or self._next()
        if self._exchange is None and not self._parser.started:
            self._last = self.done = True
            self.within = None
            return b""
        return self._fail(HttpError(408, "the request was not complete in time"))

    def eof(self) -> bytes:
        if self._successor is not None:
            return self._hand_over(self._successor, self._successor.eof())
        self._last, self._exchange = True, None
        return b""

    def close(self) -> bytes:
        if self._successor is not None:
            return self._hand_over(self._successor, self._successor.close())
        return self.eof()

    def _hand_over(self, successor: Protocol, out: bytes | Span) -> bytes:
        """The output of the protocol that has the connection now."""
        assert isinstance(out, bytes)
        self.done, self.error, self.within = successor.done, successor.error, successor.within
        return out

    def _next(self) -> bytes:
        """Return the next output for the items received so far; a body may follow by more()."""
        while self._items and (self._exchange is not None or not self._last):
            if self._exchange is not None and (self._complete or not self._exchange.reads):
                break
            if out := self._take(self._items.popleft()):
                return out
        self._wait()
        return b""

    def _take(self, item: Item) -> bytes:
        """The output that follows from *item*."""
        exchange, request = self._exchange, self._request
        if isinstance(item, Request):
            return self._begin(item)
        if isinstance(item, HttpError):
            return self._fail(item)
        if isinstance(item, bytes):
            self._body += len(item)
            if self._body > self._limit:
                return self._fail(HttpError(413, f"a body has at most {self._limit:,} bytes"))
            return b"" if exchange is None else self._ask(exchange.receive, item)
        self._complete = True
        if exchange is not None:
            return self._ask(exchange.end)
        assert request is not None and self._response is not None
        return self._respond(self._response)

    def _begin(self, request: Request) -> bytes:
        """A head has arrived."""
        self._request, self._body, self._complete = request, 0, False
        length = request.values(b"content-length")
        if length and int(length[0]) > self._limit:
            return self._fail(HttpError(413, f"a body has at most {self._limit:,} bytes"))
        answer = self._answer(request, self._connection)
        # The client waits for this before it sends the body (RFC 9110, 10.1.1).
        expects = request.version == "1.1" and b"100-continue" in request.values(b"expect")
        if isinstance(answer, Response):
            self._response = answer
            if not expects:
                return b""
            self._last = True
            return self._respond(answer)
        self._exchange, self._size, answer.began = answer, -1, self._began
        out = self._ask(answer.start)
        return _CONTINUE + out if expects and self._exchange is answer else out

    def _ask(self, call: Callable[..., bytes], *given: bytes) -> bytes:
        """The output that a call of the exchange makes."""
        exchange, request = self._exchange, self._request
        assert exchange is not None and request is not None
        self._due = math.inf
        try:
            body = call(*given)
        except Hangup:
            self._exchange, self._last, self.done, self.within = None, True, True, None
            return b""
        except Exception as fault:
            if isinstance(fault, HttpError) and self._size < 0:
                return self._fail(fault)
            if exchange.response is not None:
                self._done(exchange.response.status, self._size)
                self._say()
            raise
        response = exchange.response
        if response is None:
            return b""
        out = b""
        chunked = response.framing == "chunked" and request.version == "1.1"
        if self._size < 0:
            self._last |= not request.keep_alive or (response.framing != "length" and not chunked)
            out = response.head(keep_alive=not self._last, version=request.version)
            self._size = 0
        if request.method != "HEAD" and response.has_body:
            self._size += len(body)
            out += b"%x\r\n%b\r\n" % (len(body), body) if chunked and body else body
            out += b"0\r\n\r\n" if chunked and exchange.done else b""
        if exchange.successor is not None:
            self._successor = exchange.successor
            if self._items:  # a client has to wait for this answer (RFC 6455, 4.1)
                raise MeariError("data before the end of the WebSocket handshake")
            out += self._successor.start()
            self._done(response.status, 0)
            self._hand_over(self._successor, out)
        elif exchange.done:
            # Where the next request begins is not known yet.
            self._last |= not self._complete
            self._done(response.status, self._size)
            if not out:
                self._say()
        return out

    def _done(self, status: int, sent: int) -> None:
        """The response is made; it is reported once it is sent."""
        self._report = self._request, status, max(0, sent), self._began
        self._request = self._response = self._exchange = None
        self._began = self._since = time.monotonic()
        self.within, self.reads, self.watch, self._paused = None, True, None, None

    def _say(self) -> None:
        if self._report is not None:
            request, status, sent, began = self._report
            self._report = None
            self._log(self._connection, request, status, sent, time.monotonic() - began)

    def _fail(self, fault: HttpError) -> bytes:
        """Answer a request that is not served; where the next one begins is not known.

        Raises *fault* if part of another response is sent.
        """
        exchange, self._last = self._exchange, True
        if exchange is not None and exchange.response is not None:
            self._done(exchange.response.status, self._size)
            self._say()
            raise fault
        return self._respond(error(fault.status, str(fault), self._request))

    def _respond(self, response: Response) -> bytes:
        request = self._request
        self._last |= request is None or not request.keep_alive
        version = "1.1" if request is None else request.version
        out = response.head(keep_alive=not self._last, version=version)
        bodiless = request is not None and request.method == "HEAD"
        if not bodiless and response.file is not None and response.count:
            self._sending = response
        elif not bodiless:
            out += response.body
        self._idle = response.idle
        self._done(response.status, 0 if bodiless else response.length)
        return out

    def _wait(self) -> None:
        """Set the deadline and the descriptor to wait for, with nothing to send."""
        exchange = self._exchange
        if exchange is None:
            self.done |= self._last
            # Between two requests the idle limit of the engine holds.
            self.within = self._left() if self._parser.started else self._idle
            return
        now = time.monotonic()
        if exchange.within is None:
            self._due = math.inf
        elif self._due == math.inf:
            self._due = now + exchange.within
        self.watch, self.reads = exchange.watch, exchange.reads and not self._complete
        if self.reads and self._paused is not None:
            self._since, self._paused = self._since + now - self._paused, None
        elif not self.reads and self._paused is None:
            self._paused = now
        late, due = self._left() if self.reads else math.inf, max(0.0, self._due - now)
        self._own = due <= late
        self.within = min(late, due)

    def _left(self) -> float:
        """Seconds until the request has to be complete."""
        patience = REQUEST
        if self._request is not None:
            patience += self._body / self._rate if self._rate else math.inf
        return max(0.0, self._since + patience - time.monotonic())
