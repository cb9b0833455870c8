"""The state of a far end: a page, its numbers as they change, metrics, and health."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from ipaddress import ip_address

from ..address import Address
from ..live import Row, Table
from ..totals import Totals
from ..wire.protocol import Connection
from ..wire.request import Request
from .exchange import Exchange
from .response import Response

_SHOWN = 50  # connections
# Headers that a proxy adds, or that begin so.
_FORWARDED = (b"forwarded", b"via", b"x-forwarded-", b"x-real-ip", b"x-request-id", b"x-envoy-")
_EVERY = 1.0  # seconds from one report of the numbers to the next
_TEXT = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
# Metrics: name, help text, and key of Totals.
_COUNTERS = (
    ("connections", "Connections accepted and served.", "connections"),
    ("connections_lost", "Connections that ended in an error.", "lost"),
    ("connections_refused", "Connections that --allow or --per-source did not admit.", "refused"),
    ("connections_cut", "Connections reset at the drain limit.", "cut"),
    ("messages", "Messages received from clients.", "messages"),
    ("received_bytes", "Bytes of messages received from clients.", "bytes"),
    ("response_bytes", "Bytes of bodies of HTTP responses.", "response_bytes"),
    ("events_dropped", "Events that the log did not take: they are missing here too.", "dropped"),
)


class State:
    """*totals* and open connections (*table*) of all processes; *facts* about the far end, for the
    page; *stopping* returns True while it drains, and is set to Server.stopping by the caller.

    Addresses of peers are shown to visitors from this machine, and to all with *show_peers*.
    """

    def __init__(
        self,
        totals: Totals | None = None,
        facts: dict[str, str] | None = None,
        table: Table | None = None,
        *,
        show_peers: bool = False,
    ) -> None:
        self.totals, self.facts, self.table, self.show_peers = (
            totals,
            facts or {},
            table,
            show_peers,
        )
        self._read, self._rows = -math.inf, list[Row]()  # when, and what
        self.stopping: Callable[[], bool] | None = None
        # The addresses that are listened on; set by the caller, too.
        self.addresses: Callable[[], Sequence[Address]] | None = None
        self.began = time.monotonic()

    def numbers(self) -> dict[str, float]:
        found = self.totals.read() if self.totals is not None else {}
        return found | {"seconds": round(time.monotonic() - self.began, 3)}

    def connections(self, *, peers: bool) -> list[dict[str, object]]:
        """Those that received most bytes; with their addresses if *peers*."""
        now = time.monotonic()
        if self.table is not None and now - self._read > _EVERY / 2:
            # Many visitors cost no more than one.
            self._read, self._rows = now, self.table.rows()[:_SHOWN]
        return [
            {
                "peer": row.peer if peers else "",
                "protocol": row.protocol,
                "age": round(row.age, 1),
                "messages": row.messages,
                "bytes": row.bytes,
            }
            for row in self._rows
        ]


def is_local(request: Request, connection: Connection) -> bool:
    """True if the visitor is at this machine, as far as the request shows: no proxy's client, and
    no page of another site whose name was made to stand for this machine (DNS rebinding).

    A proxy on this machine that adds no header cannot be told from a visitor.
    """
    host = b",".join(request.values(b"host")).decode("latin-1").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return (
        connection.announced is None
        and request.version == "1.1"
        and not any(name.startswith(_FORWARDED) for name in request.names)
        and _is_loopback(connection.peer.host or "")
        and (name == "localhost" or _is_loopback(name))
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def page(state: State) -> Response:
    """The page: no script, style or picture comes from elsewhere."""
    text = resources.files("meari.web").joinpath("status.html").read_text("utf-8")
    facts = state.facts
    if state.addresses is not None:
        facts = {"addresses": ", ".join(map(str, state.addresses())), **facts}
    body = text.replace("__FACTS__", json.dumps(facts).replace("<", "\\u003c"))
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-store"),
        (
            "Content-Security-Policy",
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
            " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
            " frame-ancestors 'none'",
        ),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return Response(200, headers, body.encode("utf-8"))


class Live(Exchange):
    """The numbers, each second, as server-sent events; their head alone, with *only_head*."""

    def __init__(self, state: State, *, peers: bool = False, only_head: bool = False) -> None:
        self._state, self._asked, self._only_head = state, False, only_head
        self._peers = peers or state.show_peers
        headers = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")]
        self.response = Response(200, headers, framing="chunked")

    def end(self) -> bytes:
        self._asked, self.reads, self.done = True, False, self._only_head
        return self._event()

    def more(self) -> bytes:
        if self._asked:
            self.within = _EVERY
        return b""

    def wake(self) -> bytes:
        # A drain would wait for a page that somebody has left open.
        self.done = self._state.stopping is not None and self._state.stopping()
        return self._event()

    def _event(self) -> bytes:
        self.within = _EVERY
        found = {
            **self._state.numbers(),
            "connections_shown": self._state.connections(peers=self._peers),
        }
        return f"data: {json.dumps(found)}\n\n".encode()


def metrics(state: State) -> Response:
    """The totals in the text format of Prometheus."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

    if state.totals is None:
        return Response(503, _TEXT, b"nothing is counted here\n")
    numbers = state.totals.read()

    class Totalled(Collector):
        def collect(self) -> Iterator[Metric]:
            for name, text, key in _COUNTERS:
                yield CounterMetricFamily(f"meari_{name}", text, numbers.get(key, 0))
            requests = CounterMetricFamily(
                "meari_http_requests", "HTTP requests, by class of status.", labels=["status"]
            )
            for first in "12345":
                requests.add_metric([f"{first}xx"], numbers.get(f"responses_{first}xx", 0))
            yield requests
            yield GaugeMetricFamily(
                "meari_connections_open", "Connections open now.", numbers.get("open", 0)
            )

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Totalled())
    kind = [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")]
    return Response(200, [*kind, ("Cache-Control", "no-store")], generate_latest(registry))


def health() -> Response:
    return Response(200, _TEXT, b"ok\n")


def readiness(state: State) -> Response:
    """503 while it drains: a load balancer sends nobody here any more. 503 too if the state is
    unknown.
    """
    if state.stopping is None:
        return Response(503, _TEXT, b"unknown\n")
    if state.stopping():
        return Response(503, _TEXT, b"draining\n")
    return Response(200, _TEXT, b"ready\n")
