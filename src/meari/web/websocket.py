"""A WebSocket echo (RFC 6455) that keeps types and boundaries: a frame for each frame. No I/O.

websockets' sans-I/O protocol does the handshake, the frames and the compression (RFC 7692);
wire/frames.py has what it leaves to its user.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from ..wire.frames import DATA, Checked
from ..wire.protocol import Connection, Protocol
from ..wire.request import HttpError, Request
from .exchange import Exchange
from .response import Response

_ECHO = Subprotocol("echo")


class _Frames(Checked, ServerProtocol):
    """Sends each frame of data back before the next frame is looked at: a close, or a fault, that
    arrives with it does not take its place.
    """

    def __init__(self, connection: Connection, most: int) -> None:
        super().__init__(
            # A client may ask for less, and a decompressor costs 32 KiB.
            extensions=[ServerPerMessageDeflateFactory(compress_settings={"memLevel": 5})],
            select_subprotocol=lambda _, offered: _ECHO if _ECHO in offered else None,
            max_size=most + most // 32 + 64,  # on the wire incompressible data grows a little
        )
        self._connection, self._most = connection, most
        self._length = 0  # bytes of the message under way

    def recv_frame(self, frame: Frame) -> None:
        """Called by parse(). An exception closes the connection."""
        super().recv_frame(frame)
        opcode, data = frame.opcode, bytes(frame.data)
        if opcode not in DATA:
            return
        if opcode is not Opcode.CONT:
            self._length = 0
        self._length += len(data)
        if self._length > self._most:
            raise PayloadTooBig(self._length, self._most)
        if opcode is Opcode.TEXT:
            self.send_text(data, frame.fin)
        elif opcode is Opcode.BINARY:
            self.send_binary(data, frame.fin)
        else:
            self.send_continuation(data, frame.fin)
        if frame.fin:
            self._connection.received(self._length)


class WebSocketEcho(Protocol):
    """The connection after the handshake. A ping is sent after each *ping* seconds of silence."""

    def __init__(self, frames: _Frames, ping: float, first: str | None) -> None:
        self._frames, self._first = frames, first
        self.done = False
        self.within: float | None = ping or None

    def start(self) -> bytes:
        if self._first is not None:
            self._frames.send_text(self._first.encode())
        return self._output()

    def receive(self, data: bytes, /) -> bytes:
        self._frames.receive_data(data)
        self._frames.events_received()
        return self._output()

    def wake(self) -> bytes:
        self._frames.send_ping(b"meari")
        return self._output()

    def eof(self) -> bytes:
        self._frames.receive_eof()
        return self._output()

    def close(self) -> bytes:
        if not self._frames.close_expected():
            self._frames.send_close(CloseCode.GOING_AWAY)
        return self._output()

    def _output(self) -> bytes:
        self.done = self._frames.close_expected()
        if self.done:
            self.within = None
        return b"".join(self._frames.data_to_send())


class Upgrade(Exchange):
    """The handshake, whose answer is 101, or an error. A message has at most *most* bytes."""

    def __init__(
        self,
        request: Request,
        connection: Connection,
        origins: tuple[str, ...],
        most: int,
        ping: float,
        first: str | None,
    ) -> None:
        self._request, self._connection = request, connection
        self._most, self._ping, self._first = most, ping, first
        _check_origin(request, origins)

    def end(self) -> bytes:
        frames = _Frames(self._connection, self._most)
        request = self._request
        head = [f"{request.method} {request.target} HTTP/{request.version}".encode()]
        head += [name + b": " + value for name, value in request.headers]
        frames.receive_data(b"\r\n".join([*head, b"", b""]))
        events = frames.events_received()
        if not events or not isinstance(events[0], Handshake):
            raise HttpError(400, f"the handshake is malformed: {frames.handshake_exc}")
        answer = frames.accept(events[0])
        if answer.status_code != 101:
            raise HttpError(answer.status_code, bytes(answer.body or b"").decode().strip())
        frames.send_response(answer)
        frames.data_to_send()  # Conversation sends the head
        ours = ("date", "server")
        headers = [(k, v) for k, v in answer.headers.raw_items() if k.lower() not in ours]
        self.response, self.done = Response(101, headers), True
        self.successor = WebSocketEcho(frames, self._ping, self._first)
        return b""


def _check_origin(request: Request, origins: tuple[str, ...]) -> None:
    """A page of another site may connect only if its origin is one of *origins*: a browser sends
    the user's cookies along, whatever page it is (RFC 6455, 10.2). Raises HttpError, 403.
    """
    sent = request.values(b"origin")
    if not sent:  # no browser
        return
    origin = sent[0].decode("latin-1")
    same = [host.decode("latin-1").lower() for host in request.values(b"host")]
    if len(sent) > 1 or (
        origin not in origins and "*" not in origins and urlsplit(origin).netloc.lower() not in same
    ):
        raise HttpError(403, "a page of another site may not connect")
