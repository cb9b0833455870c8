"""A stream carried by WebSocket messages (RFC 6455), as a layer of a near end. No I/O.

Each message is a binary one. Or each line is a message of text (*lines*): its newline is not
sent, and comes back with the answer.
"""

from __future__ import annotations

from collections import deque

from websockets.client import ClientProtocol
from websockets.frames import Close, CloseCode, Frame
from websockets.protocol import State
from websockets.uri import parse_uri

from ..address import Address
from .frames import DATA, Checked
from .layer import Layer, LayerFault, Truncated


class Frames(Checked, ClientProtocol):
    """The near end's."""


class WebSocketEcho(Layer):
    """Messages to *address*, whose path is "/ws" if it has none."""

    fin = False  # the close frame ends it
    frames = Frames

    def __init__(self, address: Address, *, lines: bool = False) -> None:
        self._lines = lines
        url = f"ws://{address.authority}{address.path or '/ws'}"
        self._frames = self.frames(parse_uri(url), max_size=None)
        self._frames.send_request(self._frames.connect())
        self._early: list[bytes] = []  # to be sent once the handshake is over
        self._sizes: deque[int] = deque()  # of messages that are to be sent
        self._room = 0  # bytes that the message under way still lacks
        self._line = bytearray()  # that has no newline yet
        self._sent = self._returned = 0  # messages
        self._bare = 0  # the message, if any, whose line had no newline
        self._closing = False
        self.ready, self.ended, self.within = False, False, None
        self.error: Exception | None = None

    @property
    def terms(self) -> dict[str, str | None]:
        return {"protocol": "WebSocket"}

    def feed(self, wire: bytes, /) -> bytes:
        if self.error is not None or self.ended:
            return b""
        frames = self._frames
        frames.receive_data(wire)
        data = bytearray()
        for event in frames.events_received():
            if not isinstance(event, Frame):
                self._open()
            elif event.opcode in DATA:
                data += event.data
                if event.fin:
                    self._returned += 1
                    if self._lines and self._returned != self._bare:
                        data += b"\n"
        if frames.handshake_exc is not None:
            self.error = LayerFault(f"WebSocket: {frames.handshake_exc}", "refused")
        elif frames.parser_exc is not None and frames.close_rcvd is None:
            self.error = LayerFault(f"WebSocket: {frames.parser_exc}", "malformed")
        elif frames.close_rcvd is not None:
            self._end(frames.close_rcvd)
        return bytes(data)

    def _open(self) -> None:
        if self._frames.state is State.OPEN:
            self.ready = True
            early, self._early = self._early, []
            for piece in early:
                self.send(piece)
            if self._closing:
                self._closing = False
                self.close()

    def _end(self, close: Close) -> None:
        if close.code in (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY):
            self.ended = True
        else:
            words = f"closed with {int(close.code)}"
            self.error = LayerFault(f"WebSocket: {words} {close.reason}".rstrip(), words)

    def eof(self) -> None:
        if not self.ended and self.error is None:
            self.error = Truncated("WebSocket: the connection ended without a close frame")

    def message(self, size: int, /) -> None:
        self._sizes.append(size)

    def send(self, data: bytes, /) -> None:
        if self.error is not None or self._closing:
            return
        if not self.ready:
            self._early.append(data)
        elif self._lines:
            self._line += data
            *lines, rest = self._line.split(b"\n")
            for line in lines:
                self._message(line)
            self._line = rest
        else:
            self._fragments(data)

    def _fragments(self, data: bytes) -> None:
        """A frame for each piece of a message; a message that comes whole is one frame."""
        while data:
            begins = not self._room
            if begins:
                self._room = self._sizes.popleft() if self._sizes else len(data)
                self._sent += 1
            piece, data = data[: self._room], data[self._room :]
            self._room -= len(piece)
            if begins:
                self._frames.send_binary(piece, fin=not self._room)
            else:
                self._frames.send_continuation(piece, fin=not self._room)

    def _message(self, data: bytes | bytearray) -> None:
        self._sent += 1
        if _is_text(data):
            self._frames.send_text(bytes(data))
        else:
            self._frames.send_binary(bytes(data))

    def close(self) -> None:
        if self._closing or self.error is not None or self.ended:
            return
        if not self.ready:
            self._closing = True
            return
        if self._line:
            self._bare = self._sent + 1
            self._message(self._line)
        self._closing = True
        if self._frames.state is State.OPEN:
            self._frames.send_close(CloseCode.NORMAL_CLOSURE)

    def wake(self) -> None:
        """It waits for nothing."""

    def take(self) -> bytes:
        return b"".join(self._frames.data_to_send())


def _is_text(data: bytes | bytearray) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
