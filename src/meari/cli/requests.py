"""The log event of an HTTP request."""

from __future__ import annotations

from ..events import Event, Events, Kind
from ..wire.protocol import Connection
from ..wire.request import Request

_SHOWN = 400  # characters of a request line


def log_request(
    events: Events,
    connection: Connection,
    request: Request | None,
    status: int,
    sent: int,
    seconds: float,
) -> None:
    """Report one request, once its response is sent."""
    from ..web.response import line

    shown = "-" if request is None else line(request)
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}..."
    peers, detail = (connection.peer,), f'"{shown}" {status}'
    event = Event(Kind.REQUEST, peers, bytes=sent, seconds=seconds, detail=detail)
    events.answered(connection, event)


def count_request(
    connection: Connection, request: Request | None, status: int, sent: int, seconds: float
) -> None:
    """Count it, where no request is logged."""
    connection.messages += 1
    connection.bytes += sent
