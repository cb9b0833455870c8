"""TLS for a whole end: a service over TLS, and how a near end verifies a far end."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .layer import Layered, no_file
from .protocol import Connection, Protocol, Service, Span
from .tls import PATIENCE, Tls


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How a near end verifies a far end: by *context*, or by the *pin* of its certificate
    (SHA-256).
    """

    context: ssl.SSLContext
    pin: bytes | None = None

    def layer(self, host: str, alpn: Sequence[str] = ()) -> Tls:
        return Tls(self.context, host=host, pin=self.pin, alpn=alpn)


def secured(
    context: ssl.SSLContext,
    service: Service,
    patience: float = PATIENCE,
    clock: Callable[[], float] | None = None,
    read: Callable[[Span], bytes] = no_file,
) -> Service:
    """The service that *service* is over TLS: the handshake runs inside the connection, and has
    *patience* seconds.

    With *read* it may send files (Layered).
    """

    def make(connection: Connection) -> Protocol:
        connection.tls = tls = Tls(context, patience=patience, clock=clock)
        return Layered(tls, service(connection), connection, read)

    return make
