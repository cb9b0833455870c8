"""The HTTP far end: the path of a request selects the endpoint.

The last part of the path is the name, whatever comes before it, so that it works behind any prefix
(an ingress, for example); /bytes/N and three more have a value behind the name.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import unquote

from ..errors import UsageError
from ..wire.protocol import Connection, Protocol
from ..wire.request import HttpError, Request
from .conversation import Conversation, Log
from .exchange import Exchange
from .exchanges import Echo, End, Keyed, Later, Pieces, Report
from .query import Query, number, seconds
from .response import Response, error
from .status import Live, State, health, is_local, metrics, page, readiness

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# Headers that a request may not set: message framing and connection management.
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive", "upgrade"})
_MOST_PIECES = 100_000
_MARK, _MARKS = 40, 100  # characters of a mark, and how many are kept
_STATUSES = (200, 599)
_EMPTY = frozenset({204, 205, 304})  # whose responses have no content
_TEXT = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Upper limits of request parameters."""

    seconds: float = 3600.0
    bytes: int = 1 << 30
    # The names that are served; empty: all.
    only: Collection[str] = ()
    # Other sites whose pages may use the WebSocket; "*": all.
    origins: tuple[str, ...] = ()
    # Of a WebSocket message, inflated.
    message: int = 1 << 20

    def __post_init__(self) -> None:
        unknown = [name for name in self.only if name not in (*_PLAIN, *_WITH_VALUE)]
        if unknown:
            raise UsageError(
                f"the HTTP far end has no {unknown[0]!r}; it has"
                f" {', '.join(sorted((*_PLAIN, *_WITH_VALUE)))}"
            )


@dataclass(slots=True)
class Session:
    """One connection: which it is, and how many requests it has carried."""

    bounds: Bounds
    instance: str
    number: int
    state: State
    # Marks of /once whose connections have met the next request, in this process.
    met: deque[str]
    requests: int = 0
    # How the next request ends the connection, "fin" or "rst", and the mark.
    once: tuple[str, str] | None = None

    def answer(self, request: Request, connection: Connection) -> Response | Exchange:
        self.requests += 1
        if self.once is not None:
            how, mark = self.once
            self.met.append(mark)
            return End(how, None, at_once=True)
        path, _, text = request.target.partition("?")
        parts = [unquote(part) for part in path.split("/")]
        try:
            query = Query(text)
            parts[-1] = parts[-1] or "status"
            if (plain := _PLAIN.get(parts[-1])) is not None and self._serves(parts[-1]):
                answer = plain(self, request, connection, query)
            elif len(parts) > 2 and parts[-2] in _WITH_VALUE and self._serves(parts[-2]):
                answer = _WITH_VALUE[parts[-2]](self, parts[-1], query)
            else:
                return error(404, "this far end has nothing of that name", request)
            query.done()
        except HttpError as fault:
            return error(fault.status, str(fault), request)
        return answer

    def _serves(self, name: str) -> bool:
        return not self.bounds.only or name in self.bounds.only


def _echo(session: Session, request: Request, connection: Connection, query: Query) -> Exchange:
    return Echo(request)


def _report(session: Session, request: Request, connection: Connection, query: Query) -> Exchange:
    query.clear()  # reported with the target
    known = {
        "instance": session.instance,
        "process": os.getpid(),
        "connection": session.number,
        "request": session.requests,
        "met": list(session.met),
    }
    return Report(request, connection, known)


def _stream(session: Session, request: Request, connection: Connection, query: Query) -> Exchange:
    pieces = query.number("pieces", 5, _MOST_PIECES)
    every = query.seconds("every", 0.2, session.bounds.seconds)
    shape = query.word("as", ("chunked", "sse", "length", "close"))
    gzip = query.word("gzip", ("0", "1")) == "1"
    if pieces * every > session.bounds.seconds:
        raise HttpError(400, f"the whole stream takes at most {session.bounds.seconds:,g} s")
    if gzip and shape == "length":
        raise HttpError(400, "the length of a compressed stream is not known before its end")
    return Pieces(pieces, every, shape, gzip=gzip)


def _headers(session: Session, request: Request, connection: Connection, query: Query) -> Response:
    """Each parameter is a header of the response."""
    for name, value in query.pairs:
        if not _HEADER.fullmatch(name) or not _VALUE.fullmatch(value):
            raise HttpError(400, f"{name!r} with this value is no header")
        if name.lower() in _FRAMING:
            raise HttpError(400, f"{name} is not for a request to choose")
    found = list(query.pairs)
    query.clear()
    return Response(200, [*found, *_TEXT], b"".join(f"{n}: {v}\n".encode() for n, v in found))


def _close(session: Session, request: Request, connection: Connection, query: Query) -> Exchange:
    how = query.word("how", ("fin", "rst"))
    after = query.text("after")
    return End(how, None if after is None else number("after", after, session.bounds.bytes))


def _once(session: Session, request: Request, connection: Connection, query: Query) -> Response:
    how, mark = query.word("how", ("fin", "rst")), query.text("mark") or ""
    session.once = how, mark[:_MARK]
    text = f"the next request on this connection ends it ({how})\n"
    return Response(200, _TEXT, text.encode())


def _ws(session: Session, request: Request, connection: Connection, query: Query) -> Exchange:
    from .websocket import Upgrade

    ping, first = query.seconds("ping", 0.0, session.bounds.seconds), query.text("first")
    bounds = session.bounds
    return Upgrade(request, connection, bounds.origins, bounds.message, ping, first)


def _bytes(session: Session, value: str, query: Query) -> Exchange:
    run, connection = (query.number(name, 0, 0xFFFFFFFF) for name in ("run", "connection"))
    return Keyed(number("the number of bytes", value, session.bounds.bytes), run, connection)


def _status(session: Session, value: str, query: Query) -> Response:
    status = number("a status", value, _STATUSES[1])
    if status < _STATUSES[0]:
        raise HttpError(400, f"a final status is from {_STATUSES[0]} to {_STATUSES[1]}")
    return Response(status, _TEXT, b"" if status in _EMPTY else f"{status}\n".encode())


def _delay(session: Session, value: str, query: Query) -> Exchange:
    late = seconds("the delay", value, session.bounds.seconds)
    return Later(late, Response(200, _TEXT, f"after {late:g} s\n".encode()))


def _idle(session: Session, value: str, query: Query) -> Response:
    idle = seconds("the idle time", value, session.bounds.seconds)
    text = f"this connection ends after {idle:g} s of silence\n"
    return Response(200, _TEXT, text.encode(), idle=idle)


def _status_page(
    session: Session, request: Request, connection: Connection, query: Query
) -> Response:
    """The page for a browser, else the names."""
    accepted = b",".join(request.values(b"accept"))
    if b"text/html" in accepted:
        return page(session.state)
    return Response(200, [*_TEXT, ("Vary", "Accept")], _help().encode())


def _live(session: Session, request: Request, connection: Connection, query: Query) -> Exchange:
    only_head = request.method == "HEAD"
    return Live(session.state, peers=is_local(request, connection), only_head=only_head)


def _metrics(session: Session, request: Request, connection: Connection, query: Query) -> Response:
    return metrics(session.state)


def _healthz(session: Session, request: Request, connection: Connection, query: Query) -> Response:
    return health()


def _readyz(session: Session, request: Request, connection: Connection, query: Query) -> Response:
    return readiness(session.state)


# Endpoints beside an echo without HTTP (--http).
STATUS = ("healthz", "live", "metrics", "readyz", "status", "ws")
_PLAIN: dict[str, Callable[[Session, Request, Connection, Query], Response | Exchange]] = {
    "close": _close,
    "echo": _echo,
    "headers": _headers,
    "healthz": _healthz,
    "live": _live,
    "metrics": _metrics,
    "once": _once,
    "readyz": _readyz,
    "report": _report,
    "status": _status_page,
    "stream": _stream,
    "ws": _ws,
}
_WITH_VALUE: dict[str, Callable[[Session, str, Query], Response | Exchange]] = {
    "bytes": _bytes,
    "delay": _delay,
    "idle": _idle,
    "status": _status,
}


def _help() -> str:
    return """meari: an HTTP far end. Any prefix may stand before a name. A browser gets a page.

/echo                                   returns the body while it arrives
/report                                 the request as it was received, as JSON
/stream?pieces=5&every=200ms&as=sse     pieces in time; as: chunked, sse, length, close; gzip=1
/bytes/N                                N bytes of the keyed stream
/status/CODE  /delay/SECONDS            an answer with that status; after that time
/headers?Name=value                     an answer with these headers
/ws?ping=SECONDS&first=TEXT             a WebSocket that echoes
/close?how=fin|rst&after=N              ends the connection, without an answer or after N bytes
/idle/SECONDS                           the connection ends after that much silence
/once?how=fin|rst                       the next request on the connection ends it
/metrics  /healthz  /readyz             for Prometheus and for an orchestrator
"""


class FarEnd:
    """The service of http:// addresses."""

    def __init__(self, log: Log, bounds: Bounds | None = None, state: State | None = None) -> None:
        self._log, self._bounds = log, bounds or Bounds()
        self.state = state or State()
        self._instance = os.urandom(4).hex()
        self._numbers = itertools.count(1)
        self._met: deque[str] = deque(maxlen=_MARKS)
        if not self._bounds.only or "ws" in self._bounds.only:
            # Now, since it takes long: not while a client waits, and not for an echo without HTTP.
            from . import websocket  # noqa: F401

    def __call__(self, connection: Connection) -> Protocol:
        number = next(self._numbers)
        session = Session(self._bounds, self._instance, number, self.state, self._met)
        limit = self._bounds.bytes
        return Conversation(connection, session.answer, self._log, body=limit, rate=0)
