"""One connection to a web server: requests are written byte for byte, responses parsed by a
library, and the time of each piece of content is kept.
"""

from __future__ import annotations

import json
import select
import time
import typing
from collections import deque
from dataclasses import dataclass, field

from ...channel import FIN, Channel, reason
from ...errors import DeadlineError, Stopped
from ...net import kernel
from ...stop import Stop, milliseconds

_MOST = 64 << 20  # bytes of a response's content
_HEAD = 1 << 20  # bytes of a response's headers
_INTERIM = 100


@dataclass(slots=True)
class Response:
    """A response as it arrived. Times are of time.monotonic().

    *whole*: it ended where its framing says; else *end* is how the connection ended before.
    """

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    # When each piece of content arrived, and the length of the content by then.
    pieces: list[tuple[float, int]] = field(default_factory=list)
    interim: list[tuple[int, float]] = field(default_factory=list)  # 100, 103, and when
    headed: float = 0.0  # when the head was complete
    ended: float = 0.0
    whole: bool = False
    kept: bool = False  # the connection may carry another request
    end: str = ""

    def values(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each.lower() == name]

    def value(self, name: str) -> str:
        """All values of a header, as one."""
        return ", ".join(self.values(name))

    def report(self) -> dict[str, typing.Any] | None:
        """The content as what /report returns; None if it is anything else."""
        if self.status != 200 or not self.whole:
            return None
        try:
            found = json.loads(bytes(self.body))
        except (ValueError, RecursionError):
            return None
        return found if _is_report(found) else None


def _is_report(found: object) -> bool:
    """True if *found* has the parts of a report that are used here, each of its own type."""
    if not isinstance(found, dict) or not all(
        isinstance(found.get(name), str)
        for name in ("instance", "request_line", "method", "target")
    ):
        return False
    headers, body = found.get("headers"), found.get("body")
    arrival, announced = found.get("arrival"), found.get("announced")
    return (
        isinstance(headers, list)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in headers)
        and isinstance(body, dict)
        and isinstance(body.get("bytes"), int)
        and isinstance(arrival, dict)
        and isinstance(arrival.get("pieces"), list)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in arrival["pieces"])
        and isinstance(announced, dict)
        and all(isinstance(values, list) for values in announced.values())
        and isinstance(found.get("peer"), dict)
        and isinstance(found.get("request"), int)
        and isinstance(found.get("met"), list)
    )


class Malformed(ValueError):
    """What arrived is no HTTP."""


class Client:
    """A connection; *patience* is the longest silence in seconds, *until* the last moment for all.

    send() and receive() raise DeadlineError, Stopped; receive() Malformed, too.
    """

    def __init__(self, channel: Channel, stop: Stop, patience: float, until: float) -> None:
        self.channel, self._stop, self.patience, self._until = channel, stop, patience, until
        import httptools  # not for a check of TCP

        self._http = httptools
        self._parser = httptools.HttpResponseParser(self)
        self._response = Response()  # under way
        self._whole: deque[Response] = deque()
        self._head = 0  # bytes of headers, since the last head was complete
        self.asked = 0.0  # when the last request was written
        self.continued: float | None = None  # when a 100 came

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def send(self, data: bytes) -> None:
        """Write all of *data*, or as much as is taken before the connection ends, or an answer
        comes.
        """
        left = memoryview(data)
        while left and self.channel.failed is None and self.channel.end is None:
            left = left[self.channel.write(left) :]
            if (left or self.channel.pending) and self._wait(writing=True):
                self._read()
                if self._whole:
                    break
            self.channel.flush()
        self.asked = time.monotonic()

    def half_close(self) -> None:
        self.channel.half_close()

    def receive(self) -> Response:
        """The next response; or the beginning of one, if the connection ends before it is whole."""
        while not self._whole:
            if self.channel.end is not None:
                return self._broken()
            self._wait(writing=False)
            self._read()
        return self._whole.popleft()

    def head(self) -> Response:
        """The next response, once its head is there; its content may follow."""
        while not self._whole and not self._response.headed:
            if self.channel.end is not None:
                return self._broken()
            self._wait(writing=False)
            self._read()
        return self._whole[0] if self._whole else self._response

    def listen(self, seconds: float) -> Response | None:
        """As receive(), but None if the response is not whole within so many seconds."""
        until, patience = time.monotonic() + seconds, self.patience
        try:
            while not self._whole and self.channel.end is None:
                self.patience = until - time.monotonic()
                if self.patience <= 0:
                    return None
                self._wait(writing=False)
                self._read()
        except DeadlineError:
            return None
        finally:
            self.patience = patience
        return self.receive()

    def _read(self) -> None:
        data = self.channel.read() or b""
        try:
            if data:
                self._parser.feed_data(data)
        except self._http.HttpParserUpgrade:
            pass  # what follows is of another protocol
        except self._http.HttpParserError as error:
            raise Malformed(str(error.__context__ or error)) from None

    def _broken(self) -> Response:
        """The connection has ended: that may be how the content ends, too."""
        response, self._response = self._response, Response()
        framed = response.value("content-length") or response.value("transfer-encoding")
        response.whole = bool(response.headed) and not framed and self.channel.end == FIN
        response.ended, response.end = time.monotonic(), reason(self.channel.end)
        return response

    def _wait(self, *, writing: bool) -> bool:
        """Wait for room, or for data; True if there is data."""
        if self.channel.waiting:
            return True
        wait = min(self.patience, self._until - time.monotonic())
        if wait <= 0:
            raise DeadlineError("it was not over in time")
        poller = kernel.poll()
        poller.register(self.channel.fileno(), self.channel.mask(reading=True, writing=writing))
        poller.register(self._stop.fileno(), select.POLLIN)
        ready = dict(poller.poll(milliseconds(max(0.0, wait))))
        if self._stop.fileno() in ready:
            raise Stopped("stopped")
        if not ready:
            raise DeadlineError("nothing came in time")
        return bool(ready[self.channel.fileno()] & ~select.POLLOUT)

    # Called by httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        if self._head > _HEAD:
            raise Malformed("there is no end of the headers")
        if not self._response.headed:
            self._response.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status, now = self._parser.get_status_code(), time.monotonic()
        if len(self._response.interim) >= _INTERIM:
            raise Malformed("there is no end of interim responses")
        self._head = 0
        if status < 200 and status != 101:
            self._response.interim.append((status, now))
            self.continued = now if status == 100 else self.continued
            self._response.headers.clear()
            return
        self._response.status, self._response.headed = status, now

    def on_body(self, data: bytes) -> None:
        response = self._response
        response.body += data
        if len(response.body) > _MOST:
            raise Malformed("there is no end of the content")
        response.pieces.append((time.monotonic(), len(response.body)))

    def on_message_complete(self) -> None:
        if not self._response.headed:  # an interim one
            return
        response, self._response = self._response, Response()
        response.whole, response.ended = True, time.monotonic()
        response.kept = self._parser.should_keep_alive()
        self._whole.append(response)
