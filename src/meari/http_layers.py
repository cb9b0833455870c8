"""The layers of a near end's connection to an http://, https://, ws:// or wss:// address."""

from __future__ import annotations

import typing
from dataclasses import dataclass

from .address import SECURE, Address
from .wire.layer import Layer

if typing.TYPE_CHECKING:
    from .wire.http_get import Expected
    from .wire.secured import ClientTls


@dataclass(frozen=True, slots=True)
class HttpLayers:
    """Makes the layers of one connection after another.

    *streamed*: all data is the body of one request, or each line is a WebSocket text message; else
    each piece of data is a request, or a message. With *get*, each byte is a GET request.
    """

    address: Address
    tls: ClientTls | None = None
    streamed: bool = False
    get: Expected | None = None

    def __post_init__(self) -> None:
        # A later import would be part of the first handshake's time.
        self._upper()

    def _upper(self) -> Layer:
        if self.address.scheme in ("ws", "wss"):
            from .wire.websocket_echo import WebSocketEcho

            return WebSocketEcho(self.address, lines=self.streamed)
        if self.get is not None:
            from .wire.http_get import HttpGet

            return HttpGet(self.address, self.get)
        from .wire.http_echo import HttpEcho

        return HttpEcho(self.address, streamed=self.streamed)

    def __call__(self) -> Layer:
        upper = self._upper()
        if self.address.scheme not in SECURE:
            return upper
        from .tls_context import client_context
        from .wire.secured import ClientTls
        from .wire.stacked import Stacked

        tls = self.tls or ClientTls(client_context())
        return Stacked(upper, tls.layer(self.address.host or "localhost", ("http/1.1",)))
