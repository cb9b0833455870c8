"""A layer between the socket and the protocol: TLS; on a near end HTTP or WebSocket, or both.

No I/O: wire bytes in, plaintext out, and back.

A Layer serves either end, and any driver: Layered makes a Protocol of it for the engines, Channel
uses it on the near end. feed() returns all the plaintext that its argument completes. (A layer that
keeps some inside needs a driver that asks for it again: with edge-triggered epoll one forgotten
record hangs a connection for ever.)
"""

from __future__ import annotations

import typing
from collections.abc import Callable

from ..errors import MeariError
from .protocol import Connection, Protocol, Span


class LayerFault(MeariError, ConnectionError):
    """A protocol violation of the peer, or its refusal to serve.

    *kind* names it in a word or two, where faults are counted.
    """

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class Truncated(MeariError, ConnectionError):
    """The stream ended without the layer's own end: an attacker or a fault may have cut it."""


class Layer(typing.Protocol):
    """One end of one connection's layer.

    No call raises for what the peer did: that is `error`, and the layer's end.
    """

    ready: bool  # the handshake is over: data may flow
    ended: bool  # the peer has ended its direction properly (close_notify)
    # Why the layer is over, if that was not proper; what take() returns is still to be sent.
    error: Exception | None
    within: float | None  # seconds from the last call until wake() is due
    fin: bool = True  # a FIN follows the end of our direction

    @property
    def terms(self) -> dict[str, str | None]:
        """The negotiated parameters: of TLS "version", "cipher" and "alpn", else "protocol"."""
        return {}

    def feed(self, wire: bytes, /) -> bytes:
        """Take wire bytes; return all the plaintext that they complete."""
        ...

    def eof(self) -> None:
        """The stream beneath has ended: an error unless `ended`."""
        ...

    def reflect(self, wire: bytes, /) -> tuple[int, bytes]:
        """As send(feed(wire)), then take(): the number of bytes of plaintext, and the output."""
        data = self.feed(wire)
        self.send(data)
        return len(data), self.take()

    def message(self, size: int, /) -> None:
        """The next *size* bytes that are sent, after those announced before, are one message.

        Without this, each send() is one.
        """
        return

    def send(self, data: bytes, /) -> None:
        """Take plaintext, in any state; it is kept until the handshake is over."""
        ...

    def close(self) -> None:
        """End our direction."""
        ...

    def wake(self) -> None:
        """`within` seconds have passed."""
        ...

    def take(self) -> bytes:
        """Return the wire bytes to be sent now."""
        ...


def no_file(_: Span) -> bytes:
    """Reads no file: for a service that sends none."""
    raise TypeError("no file can be sent through this layer")


class Layered(Protocol):
    """*protocol* over *layer*, as a Protocol: an engine needs no branch for it.

    Messages of a protocol that reflects are counted here: the plaintext of one read is one message.
    *read* returns the first bytes of a Span, which no kernel can send through a layer.
    """

    __slots__ = (
        "_closed",
        "_connection",
        "_last",
        "_layer",
        "_mirror",
        "_protocol",
        "_read",
        "_span",
        "_started",
        "done",
        "error",
        "reads",
        "watch",
        "within",
    )

    def __init__(
        self,
        layer: Layer,
        protocol: Protocol,
        connection: Connection,
        read: Callable[[Span], bytes] = no_file,
    ) -> None:
        self._layer, self._protocol, self._connection = layer, protocol, connection
        self._read = read
        self._span: Span | None = None  # of the protocol's output, still to be read
        self._started = False  # the handshake is over, and the protocol has been started
        self._last = False  # the protocol has returned its last output, except for more()
        self._closed = False  # our direction of the layer is ended
        # The data is the output: the layer returns it without a copy.
        self._mirror = False
        self.done = False
        self.error: Exception | None = None
        self.within: float | None = layer.within
        self.reads, self.watch = protocol.reads, protocol.watch

    def start(self) -> bytes:
        return self._output()

    def receive(self, data: bytes, /) -> bytes:
        layer, protocol = self._layer, self._protocol
        if self._mirror:
            n, out = layer.reflect(data)
            if n:
                self._connection.meter.received(self._connection, n)
            if layer.error is None and not layer.ended:
                return out
            self._finish(protocol.eof)
            return out + self._output()
        plain = layer.feed(data)
        if not self._started and layer.ready:
            self._started = True
            layer.send(protocol.start())
            self._mirror = protocol.reflects and not protocol.done
        if plain and not protocol.done:
            if protocol.reflects:
                self._connection.received(len(plain))
            layer.send(protocol.receive(plain))
        return self._output()

    def more(self) -> bytes:
        if self._mirror and not self._last:
            return b""
        if self._started and not self._closed:
            piece = self._span or self._protocol.more()
            self._layer.send(self._take(piece) if isinstance(piece, Span) else piece)
        return self._output()

    def _take(self, span: Span) -> bytes:
        """The first bytes of *span*; the rest comes with the next more()."""
        data = self._read(span)
        left = span.count - len(data)
        self._span = Span(span.fd, span.offset + len(data), left) if left else None
        return data

    def wake(self) -> bytes:
        if self._layer.within is not None:
            self._layer.wake()
        elif self._started and not self._closed:
            self._layer.send(self._protocol.wake())
        return self._output()

    def ready(self) -> bytes:
        if not self._closed:
            self._layer.send(self._protocol.ready())
        return self._output()

    def eof(self) -> bytes:
        self._layer.eof()
        self._finish(self._protocol.eof)
        return self._output()

    def close(self) -> bytes:
        self._finish(self._protocol.close)
        return self._output()

    def _finish(self, call: Callable[[], bytes]) -> None:
        """Send what the protocol's last call returns; once."""
        if self._started and not self._last and not self._protocol.done:
            self._layer.send(call())
        self._last = True

    def _output(self) -> bytes:
        """What is to be sent now.

        With nothing left of the last output, our direction of the layer is ended.
        """
        layer, protocol = self._layer, self._protocol
        # Data and the end may come together: the protocol gets its eof() once it reads again.
        if layer.ended and protocol.reads:
            self._finish(protocol.eof)
        self._last |= self._started and protocol.done
        out = layer.take()
        if not out and self._last and not self._closed:
            self._closed = True
            layer.close()
            out = layer.take()
        self.error = layer.error or protocol.error
        self.done = self._last or layer.error is not None
        self.reads, self.watch = protocol.reads, protocol.watch
        self.within = (
            layer.within if layer.within is not None or not self._started else protocol.within
        )
        return out
