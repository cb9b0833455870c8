"""One WebSocket connection of a check: messages with their types and frames, pongs, the close."""

from __future__ import annotations

import select
import time
import typing
from collections.abc import Callable
from dataclasses import dataclass

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Response as Handshake
from websockets.protocol import State
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from ...channel import Channel, reason
from ...errors import Stopped
from ...net import kernel
from ...stop import Stop, milliseconds
from ...wire.frames import DATA
from ...wire.websocket_echo import Frames
from .client import Malformed

_MANY = 10_000  # messages and pongs


@dataclass(frozen=True, slots=True)
class Message:
    """*frames*: how many it came in; *at*: when it was whole, a time of time.monotonic()."""

    text: bool
    data: bytes
    frames: int
    at: float


class WebSocket:
    """A connection to *url*, used no longer than *until*. pump() raises Stopped, Malformed."""

    def __init__(
        self, channel: Channel, stop: Stop, url: str, origin: str | None, until: float
    ) -> None:
        self.channel, self._stop, self._until = channel, stop, until
        self.frames = Frames(
            parse_uri(url),
            max_size=None,
            origin=None if origin is None else Origin(origin),
            subprotocols=[Subprotocol("meari-none"), Subprotocol("echo")],
            extensions=[ClientPerMessageDeflateFactory()],
        )
        self.status = 0  # of the handshake's response
        self.messages: list[Message] = []
        self.pongs: list[tuple[bytes, float]] = []
        self._parts: list[Frame] = []
        self.asked = 0.0  # when something was last sent
        self.frames.send_request(self.frames.connect())
        self.flush()

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    @property
    def open(self) -> bool:
        return self.frames.state is State.OPEN and self.channel.end is None

    @property
    def end(self) -> str:
        """How it ended, in words."""
        if self.frames.close_rcvd is not None:
            return f"closed with {int(self.frames.close_rcvd.code)}"
        if self.frames.handshake_exc is not None:
            return str(self.frames.handshake_exc)
        return reason(self.channel.end) if self.channel.end is not None else "silence"

    def flush(self) -> None:
        """Send what the protocol has to say: all of it, as far as the other end takes it."""
        left = memoryview(b"".join(self.frames.data_to_send()))
        until = time.monotonic() + 10
        while left and self.channel.failed is None and self.channel.end is None:
            left = left[self.channel.write(left) :]
            if left and (time.monotonic() > until or not self._wait(until, writing=True)):
                break
        self.asked = time.monotonic()

    def pump(self, done: Callable[[], bool], seconds: float) -> bool:
        """Receive until *done* returns true, the end, or so many seconds; whether it is done."""
        until = min(self._until, time.monotonic() + seconds)
        while not done() and self.channel.end is None and time.monotonic() < until:
            if len(self.messages) + len(self.pongs) > _MANY:
                raise Malformed("there is no end of messages that nobody asked for")
            if not self._wait(until, writing=False):
                return done()
            if data := self.channel.read():
                self._receive(data)
        return done()

    def echo(self, seconds: float) -> float | None:
        """The seconds of the round trip of a small message; None if it does not come back."""
        before = len(self.messages)
        self.frames.send_text(b"meari")
        self.flush()
        if not self.pump(lambda: len(self.messages) > before, seconds):
            return None
        came = self.messages[before]
        return came.at - self.asked if came.data == b"meari" else None

    def _receive(self, data: bytes) -> None:
        frames = self.frames
        frames.receive_data(data)
        now = time.monotonic()
        for event in frames.events_received():
            if isinstance(event, Handshake):
                self.status = event.status_code
            elif isinstance(event, Frame) and event.opcode is Opcode.PONG:
                self.pongs.append((bytes(event.data), now))
            elif isinstance(event, Frame) and event.opcode in DATA:
                self._parts.append(event)
                if event.fin:
                    parts, self._parts = self._parts, []
                    whole = b"".join(bytes(part.data) for part in parts)
                    text = parts[0].opcode is Opcode.TEXT
                    self.messages.append(Message(text, whole, len(parts), now))
        if not self.status and frames.handshake_exc is not None:
            response = getattr(frames.handshake_exc, "response", None)
            self.status = getattr(response, "status_code", 0)
        if out := b"".join(frames.data_to_send()):  # a pong, a close
            self.channel.write(out)

    def _wait(self, until: float, *, writing: bool) -> bool:
        """Wait for data or room; False after *until*."""
        if self.channel.waiting:
            return True
        poller = kernel.poll()
        poller.register(self.channel.fileno(), self.channel.mask(reading=True, writing=writing))
        poller.register(self._stop.fileno(), select.POLLIN)
        left = until - time.monotonic()
        ready = [fd for fd, _ in poller.poll(milliseconds(max(0.0, left)))]
        if self._stop.fileno() in ready:
            raise Stopped("stopped")
        if writing and self.channel.fileno() in ready and (data := self.channel.read()):
            self._receive(data)
        return bool(ready)
