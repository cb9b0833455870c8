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

    def json(self) -> dict[str, typing.Any] | None:
        """The content as a JSON object; None if it is none."""
        try:
            found = json.loads(bytes(self.body))
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


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
            raise Malformed(str(error)) from None

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
        if not self._response.headed:
            self._response.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status, now = self._parser.get_status_code(), time.monotonic()
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
