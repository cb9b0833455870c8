"""A response as a value, and the page of an error (RFC 9110, RFC 9112)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from html import escape
from http import HTTPStatus
from typing import Literal

from ..wire.request import Request

_NO_BODY = frozenset({101, 204, 304})
_STATUSES = frozenset(HTTPStatus)
_now = (0, b"")


class File:
    """A descriptor of a file, closed with its last reference: also if the connection is reset."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


@dataclass(slots=True)
class Response:
    """*body* are bytes, or (*file*, *offset*, *count*) a part of a file. Of an Exchange it is only
    a head: the body has *count* bytes, or ends as *framing* says.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    file: File | None = None
    offset: int = 0
    count: int = 0
    framing: Literal["length", "chunked", "close"] = "length"
    # Idle limit of the connection after it, in seconds; None: the engine's limit.
    idle: float | None = None
    # The lines before and behind the date, once they are made: a response may be sent many times.
    _lines: tuple[bytes, bytes] | None = None

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) or self.count

    @property
    def has_body(self) -> bool:
        """False for a status that has none."""
        return self.status not in _NO_BODY

    def head(self, *, keep_alive: bool, version: str) -> bytes:
        """The status line and the headers, for a request of *version*."""
        first, rest = self._lines = self._lines or self._make_lines()
        out = b"%b%b%b" % (first, now(), rest)
        if self.framing == "chunked" and self.has_body and version == "1.1":
            out += b"Transfer-Encoding: chunked\r\n"
        if not keep_alive:
            out += b"Connection: close\r\n"
        elif version == "1.0":
            out += b"Connection: keep-alive\r\n"
        return out + b"\r\n"

    def _make_lines(self) -> tuple[bytes, bytes]:
        lines = ["", "Server: meari", *(f"{name}: {value}" for name, value in self.headers)]
        if self.has_body and self.framing == "length":
            lines.append(f"Content-Length: {self.length}")
        first = f"HTTP/1.1 {self.status} {phrase(self.status)}\r\nDate: "
        return first.encode(), "\r\n".join([*lines, ""]).encode("latin-1")


def error(status: int, reason: str, request: Request | None, *more: tuple[str, str]) -> Response:
    """An error page with the reason and the request; *more* are headers."""
    title = f"{status} {phrase(status)}"
    shown = "" if request is None else f"<p><code>{escape(line(request))}</code></p>"
    body = (
        f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<h1>{title}</h1><p>{escape(reason)}</p>{shown}</html>\n"
    )
    headers = [("Content-Type", "text/html; charset=utf-8"), *more]
    return Response(status, headers, body.encode("utf-8"))


def now() -> bytes:
    """The present time as HTTP has it; made once a second."""
    global _now
    at = int(time.time())
    if _now[0] != at:
        _now = at, date(at).encode()
    return _now[1]


@lru_cache(maxsize=4096)
def date(at: int) -> str:
    """A time of time.time() as HTTP has it (RFC 9110, 5.6.7)."""
    return formatdate(at, usegmt=True)


def phrase(status: int) -> str:
    """The reason phrase of a status; "" for one without."""
    return HTTPStatus(status).phrase if status in _STATUSES else ""


def line(request: Request) -> str:
    """The request line as it was received."""
    return f"{request.method} {request.target} HTTP/{request.version}"
