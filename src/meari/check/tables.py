"""The properties of each battery, what each needs, and when it is tried."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from ..address import HTTP
from .properties import (
    alive,
    bytes,
    churn,
    close,
    concurrency,
    connect,
    descriptors,
    duplex,
    exit_code,
    half_close,
    handshake,
    hello,
    idle,
    large,
    memory,
    middle,
    neighbour,
    partial,
    pipelined,
    processor,
    repeat,
    reset,
    share,
    slow_reader,
    small,
    truncation,
    zombies,
)
from .web.properties import (
    abort,
    address,
    body,
    cache,
    control,
    expect_continue,
    headers,
    keep_alive,
    messages,
    methods,
    race,
    request,
    rewrite,
    status,
    stream,
    upgrade,
    upload,
    ws_idle,
)
from .web.properties import bytes as bytes_http
from .web.properties import (
    half_close as half_close_http,
)
from .web.properties import (
    idle as idle_http,
)

FIRST, TOGETHER, LAST, ASIDE = range(4)


@dataclass(frozen=True, slots=True)
class Property:
    """*needs*: the properties that have to hold before this one can be judged; *after*: those that
    have to be tried before.

    In any case nothing is judged if some connections are not served at all (share).
    """

    name: str
    module: ModuleType
    when: int
    needs: tuple[str, ...] = ("connect", "middle")
    after: tuple[str, ...] = ()
    # True: only for a started server; False: only for any other far end
    spawned: bool | None = None
    # "tcp": about segments or resets, which a Unix socket does not have; "tls": about the
    # handshake.
    of: str = ""
    # It needs meari's own far end of HTTP.
    meari: bool = False

    def fits(self, scheme: str) -> bool:
        """True if it can be tried over *scheme*."""
        of = {"https": "tls", "wss": "tls"}.get(scheme, scheme)
        return not self.of or self.of == of or (self.of == "tcp" and of == "tls")


PROPERTIES = (
    Property("connect", connect, FIRST, ()),
    Property("handshake", handshake, FIRST, ("connect",), of="tls"),
    Property("share", share, FIRST, ("connect",)),
    Property("partial", partial, FIRST, ("connect",)),
    Property("repeat", repeat, FIRST, ("connect", "partial")),
    Property("middle", middle, FIRST, ("connect", "partial", "repeat")),
    Property("pipelined", pipelined, FIRST),
    Property("large", large, FIRST, ("middle", "pipelined"), of="tcp"),
    Property("bytes", bytes, FIRST, ("connect", "partial", "repeat")),
    Property("small", small, FIRST, ("middle", "pipelined")),
    Property("concurrency", concurrency, FIRST),
    Property("neighbour", neighbour, FIRST, after=("concurrency",)),
    Property("duplex", duplex, TOGETHER, ("middle", "pipelined", "bytes")),
    Property(
        "half-close",
        half_close,
        TOGETHER,
        ("middle",),
        ("pipelined", "bytes", "slow-reader", "close"),
    ),
    Property("close", close, TOGETHER),
    Property("slow-reader", slow_reader, TOGETHER, ("middle", "pipelined", "bytes")),
    Property("churn", churn, TOGETHER, after=("concurrency",)),
    Property("hello", hello, LAST, ("handshake",), of="tls"),
    Property("truncation", truncation, LAST, of="tls"),
    Property("reset", reset, LAST, of="tcp"),
    Property("alive", alive, LAST, ("connect", "partial"), spawned=False),
    Property("descriptors", descriptors, LAST, spawned=True),
    Property("zombies", zombies, LAST, after=("concurrency",), spawned=True),
    Property("memory", memory, LAST, spawned=True),
    Property("processor", processor, LAST, spawned=True),
    Property("exit-code", exit_code, LAST, ("connect",), spawned=True),
    Property("idle", idle, ASIDE, after=("concurrency",)),
)

_REQUEST = ("connect", "request")
WEB = (
    Property("connect", connect, FIRST, ()),
    Property("handshake", handshake, FIRST, ("connect",), of="tls"),
    Property("request", request, FIRST, ("connect",)),
    Property("keep-alive", keep_alive, FIRST, _REQUEST),
    Property("bytes", bytes_http, TOGETHER, _REQUEST, meari=True),
    Property("body", body, TOGETHER, _REQUEST, ("bytes",), meari=True),
    Property("rewrite", rewrite, TOGETHER, _REQUEST, meari=True),
    Property("address", address, TOGETHER, _REQUEST, meari=True),
    Property("headers", headers, TOGETHER, _REQUEST, meari=True),
    # Of meari alone: a stranger might obey a PUT or a DELETE.
    Property("methods", methods, TOGETHER, _REQUEST, meari=True),
    Property("status", status, TOGETHER, _REQUEST, meari=True),
    Property("stream", stream, TOGETHER, _REQUEST, meari=True),
    Property("upload", upload, TOGETHER, _REQUEST, meari=True),
    Property("continue", expect_continue, TOGETHER, _REQUEST, meari=True),
    Property("abort", abort, TOGETHER, _REQUEST, meari=True),
    Property("cache", cache, TOGETHER, _REQUEST, meari=True),
    Property("half-close", half_close_http, TOGETHER, _REQUEST, meari=True),
    Property("hello", hello, LAST, ("handshake",), of="tls"),
    # Last: what a pool still holds of its connections would end other properties' requests.
    Property("race", race, LAST, (*_REQUEST, "keep-alive"), meari=True),
    Property("idle", idle_http, ASIDE, _REQUEST, meari=True),
)


_UPGRADE = ("connect", "request", "upgrade")
WEBSOCKET = (
    Property("connect", connect, FIRST, ()),
    Property("handshake", handshake, FIRST, ("connect",), of="tls"),
    Property("request", request, FIRST, ("connect",)),
    Property("upgrade", upgrade, FIRST, ("connect", "request")),
    Property("messages", messages, TOGETHER, _UPGRADE, meari=True),
    Property("control", control, TOGETHER, _UPGRADE, meari=True),
    Property("hello", hello, LAST, ("handshake",), of="tls"),
    Property("ws-idle", ws_idle, ASIDE, _UPGRADE, meari=True),
)


def table_of(scheme: str) -> tuple[Property, ...]:
    """The battery of *scheme*."""
    if scheme in ("ws", "wss"):
        return WEBSOCKET
    return WEB if scheme in HTTP else PROPERTIES
