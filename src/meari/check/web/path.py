"""The path to an HTTP far end behind a prefix, and what is known of it so far."""

from __future__ import annotations

import time
import typing
from dataclasses import dataclass, replace
from urllib.parse import quote

from ...address import SECURE, Address
from ...channel import open_channel
from ...net import Endpoint
from ...stop import Stop
from ..path import Known, Path, Plan
from .client import Client, Response

if typing.TYPE_CHECKING:
    from ...wire.secured import ClientTls
    from .socket import WebSocket

Headers = typing.Sequence[tuple[str, str]]
_AGENT = ("User-Agent", "meari-check")


@dataclass(slots=True)
class Web(Known):
    """What is known of an HTTP far end."""

    meari: bool = False  # it is meari's: /report, /stream, ...
    # Something on the path answered or forwarded: the far end's connection is not ours.
    between: bool = False
    origin: bool = True  # a WebSocket opens with our Origin


class WebPath(Path):
    """The path to *address*, an http:// or https:// one, whose path is the prefix.

    Requests are written as they are given. The connections of *targets* carry bytes, over TLS or
    not.
    """

    known: Web

    def __init__(
        self, targets: list[Endpoint], plan: Plan, known: Web, stop: Stop, address: Address
    ) -> None:
        super().__init__(targets, plan, known, stop)
        self.address = address
        self.prefix = address.path.partition("?")[0].rstrip("/")
        if address.scheme in ("ws", "wss"):
            self.prefix = self.prefix.removesuffix("/ws")

    @property
    def patience(self) -> float:
        """Seconds to wait for a piece of an answer: a web server may be slow without a fault."""
        return max(4.0 if self.plan.quick else 10.0, super().patience)

    def open(self, most: float = 0.0) -> Client:
        """A new connection, for *most* seconds even if a property takes less.

        Raises ConnectError, LocalError, Stopped.
        """
        opened = open_channel(self.targets, self.connecting, self.stop)
        until = max(self.until, time.monotonic() + most)
        return Client(opened.channel, self.stop, self.patience, until)

    def request(
        self,
        name: str,
        method: str = "GET",
        headers: Headers = (),
        body: bytes | None = None,
        *,
        version: str = "1.1",
    ) -> bytes:
        """The request of *name*, a path below the prefix with its query, as bytes."""
        lines = [f"{method} {self.prefix}/{name} HTTP/{version}"]
        lines += [f"Host: {self.address.authority}"]
        if not any(key.lower() == "user-agent" for key, _ in headers):
            lines.append(": ".join(_AGENT))
        lines += [f"{key}: {value}" for key, value in headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")

    def get(
        self,
        name: str,
        method: str = "GET",
        headers: Headers = (),
        body: bytes | None = None,
        patience: float | None = None,
    ) -> Response:
        """The response to one request on a connection of its own. Raises as open(), send() and
        receive() do.
        """
        with self.open(patience or 0.0) as client:
            client.patience = patience or client.patience
            client.send(self.request(name, method, headers, body))
            return client.receive()

    def websocket(self, query: str = "", most: float = 0.0) -> WebSocket:
        """A new WebSocket, whose handshake is under way. As open()."""
        from .socket import WebSocket

        opened = open_channel(self.targets, self.connecting, self.stop)
        host, more = self.address.authority, f"?{query}" if query else ""
        secure = "s" if self.address.scheme in SECURE else ""
        url = f"ws{secure}://{host}{self.prefix}/ws{more}"
        origin = f"http{secure}://{host}" if self.known.origin else None
        until = max(self.until, time.monotonic() + most)
        return WebSocket(opened.channel, self.stop, url, origin, until)

    def gently(self) -> None:
        """Against a stranger: a few requests a second at most."""
        if not self.known.meari:
            self.wait(0.25)

    @property
    def spent(self) -> float:
        """Seconds since the property was begun."""
        return time.monotonic() - self.began


def endpoints(found: list[Endpoint], address: Address, tls: ClientTls | None) -> list[Endpoint]:
    """*found*, for requests that are written byte for byte: over TLS, or over nothing."""
    if address.scheme not in ("https", "wss"):
        return [replace(each, layer=None) for each in found]
    from ...tls_context import client_context
    from ...wire.secured import ClientTls

    made = tls or ClientTls(client_context())
    host = address.host or "localhost"
    return [replace(each, layer=lambda: made.layer(host, ("http/1.1",))) for each in found]


def quoted(text: str) -> str:
    return quote(text, safe="")
