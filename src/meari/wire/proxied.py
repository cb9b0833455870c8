"""A service behind proxies that send a header of the PROXY protocol. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from .protocol import Connection, Protocol, Service, Span
from .proxy_protocol import ProxyHeaderError, parse

PATIENCE = 3.0  # seconds for the header


class Proxied(Protocol):
    """Reads the header, then is the protocol that *service* makes for the announced peer."""

    def __init__(self, connection: Connection, service: Service) -> None:
        self._connection, self._service = connection, service
        self._header = b""
        self._inner: Protocol | None = None
        self.done = False
        self.error: Exception | None = None
        self.within: float | None = PATIENCE
        self.reads, self.watch = True, None

    def receive(self, data: bytes, /) -> bytes:
        if self._inner is not None:
            return self._receive(self._inner, data)
        self._header += data
        found = parse(self._header)
        if found is None:
            return b""
        announced, length = found
        connection, rest = self._connection, self._header[length:]
        connection.announced = announced
        if announced.source is not None:
            connection.via, connection.peer = connection.peer, announced.source
        inner = self._inner = self._service(connection)
        connection.connected()
        out = inner.start()
        if rest and not inner.done:
            return out + self._receive(inner, rest)
        return self._after(inner, out)

    def _receive(self, inner: Protocol, data: bytes) -> bytes:
        if inner.reflects:
            self._connection.received(len(data))
        return self._after(inner, inner.receive(data))

    def more(self) -> bytes | Span:
        if self._inner is None:
            return b""
        out = self._inner.more()
        self._after(self._inner, b"")
        return out

    def wake(self) -> bytes:
        if self._inner is None:
            raise ProxyHeaderError(f"no PROXY header within {PATIENCE:g} s")
        return self._after(self._inner, self._inner.wake())

    def ready(self) -> bytes:
        assert self._inner is not None
        return self._after(self._inner, self._inner.ready())

    def eof(self) -> bytes:
        if self._inner is None:
            raise ProxyHeaderError("the connection ended before its PROXY header did")
        return self._after(self._inner, self._inner.eof())

    def close(self) -> bytes:
        if self._inner is None:
            return b""
        return self._after(self._inner, self._inner.close())

    def _after(self, inner: Protocol, out: bytes) -> bytes:
        self.done, self.error, self.within = inner.done, inner.error, inner.within
        self.reads, self.watch = inner.reads, inner.watch
        return out


def proxied(trusted: Callable[[Connection], bool], service: Service) -> Service:
    """The service that *service* is behind proxies: a peer that is *trusted* sends a header first;
    from all others none is read.
    """

    def make(connection: Connection) -> Protocol:
        if not trusted(connection):
            return service(connection)
        connection.awaits = True
        return Proxied(connection, service)

    return make
