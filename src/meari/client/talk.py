"""The echo client (CS:APP 11.4.9, echoclient.c), with both directions at once.

The book's client writes a line and then reads one. It waits for ever when the line has no newline,
or when the far end holds part of it; and with a file both ends end up writing to a peer that does
not read. Here one poll(2) watches the input, the connection for reading, and for writing while
something is left to write. (poll, because epoll refuses regular files as input.)
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable

from ..channel import FIN, Channel, reason
from ..errors import DeadlineError
from ..net import kernel
from ..stop import milliseconds
from .comparison import Comparison

# Outstanding bytes after which the input waits: they have to be kept for the comparison.
WINDOW = 16 << 20
_REST = 10  # timeouts, for all bytes outstanding at the end of the input
_HELD = 1.0  # seconds without a byte after which the far end is considered to wait for more
_CHUNK = 65536  # bytes read at once from the input and from the connection


def talk(
    channel: Channel,
    source: int,
    show: Callable[[bytes], None],
    comparison: Comparison,
    timeout: float | None = None,
) -> None:
    """Send the input of the descriptor *source*, *show* received bytes, until the far end's end of
    file.

    At the end of *source* the connection is half-closed, and outstanding bytes are waited for.
    *comparison* is kept up to date, also if an error is raised: DeadlineError if no byte moved in
    either direction for *timeout* seconds, or the outstanding bytes take ten times as long;
    ConnectionError if the connection fails; or any exception of *show*. The connection is left
    open.
    """
    _Talk(channel, source, show, comparison, timeout).run()


class _Talk:
    def __init__(
        self,
        channel: Channel,
        source: int,
        show: Callable[[bytes], None],
        comparison: Comparison,
        timeout: float | None,
    ) -> None:
        self._channel, self._source, self._show = channel, source, show
        self._comparison = comparison
        self._timeout = timeout
        self._left: bytes | memoryview = b""  # read from the input, not written yet
        self._more = True  # the input has not ended
        self._until = math.inf  # the deadline of the outstanding bytes, once it has
        self._window = WINDOW

    def run(self) -> None:
        moved = time.monotonic()
        while True:
            wait = (
                None
                if self._timeout is None
                else min(moved + self._timeout, self._until) - time.monotonic()
            )
            if wait is not None and wait <= 0:
                late = time.monotonic() >= self._until
                raise DeadlineError(
                    f"not over {_REST * (self._timeout or 0):g} s after the end of the input"
                    if late
                    else f"no byte came or went for {self._timeout:g} s"
                )
            stuck = not self._left and self._more and self._comparison.outstanding >= self._window
            ready = self._poll(_HELD if stuck and (wait is None or wait > _HELD) else wait)
            if stuck and not ready:
                self._window += WINDOW  # the far end may hold a line that is longer than that
            if self._channel.fileno() in ready:
                # Received bytes are shown, also after writing has failed.
                ended, sent = self._receive(), self._send()
                if ended:
                    return
                moved = time.monotonic() if sent or ended is False else moved
            if self._source in ready:
                self._take()
                moved = time.monotonic()

    def _poll(self, wait: float | None) -> list[int]:
        if self._channel.waiting:
            return [self._channel.fileno()]
        poller = kernel.poll()
        poller.register(
            self._channel.fileno(), self._channel.mask(reading=True, writing=bool(self._left))
        )
        if self._more and not self._left and self._comparison.outstanding < self._window:
            poller.register(self._source, select.POLLIN)
        return [fd for fd, _ in poller.poll(milliseconds(wait))]

    def _take(self) -> None:
        """Read some input and write it to the connection."""
        try:
            data = os.read(self._source, _CHUNK)
        except BlockingIOError:  # another process that shares it made it nonblocking
            return
        self._comparison.send(data)
        self._left = data
        self._send()
        if not data:
            self._more = False
            self._until = time.monotonic() + _REST * (self._timeout or math.inf)
            self._channel.half_close()

    def _send(self) -> bool:
        """Write pending bytes; True if any were written."""
        self._channel.flush()
        if not self._left:
            return False
        sent = self._channel.write(self._left)
        # Received bytes can still be read; then the read fails too.
        if self._channel.failed is not None:
            self._left, self._more = b"", False
        self._left = memoryview(self._left)[sent:]
        return sent > 0

    def _receive(self) -> bool | None:
        """Read and show received bytes: None without any, True at end of file, else False."""
        data = self._channel.read(_CHUNK)
        if data is None:
            return None
        if not data and self._channel.end != FIN:
            raise ConnectionError(reason(self._channel.end))
        self._comparison.receive(data)
        if data:
            self._show(data)
        return not data
