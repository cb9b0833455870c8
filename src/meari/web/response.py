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

from ..wire.http import Request

_NO_BODY = frozenset({101, 204, 304})
_STATUSES = frozenset(HTTPStatus)


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
    # Seconds of silence after it that end the connection; None: what the engine allows.
    idle: float | None = None

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
        lines = [f"HTTP/1.1 {self.status} {phrase(self.status)}"]
        lines += [f"Date: {date(int(time.time()))}", "Server: meari"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.has_body and self.framing == "length":
            lines.append(f"Content-Length: {self.length}")
        elif self.has_body and self.framing == "chunked" and version == "1.1":
            lines.append("Transfer-Encoding: chunked")
        if not keep_alive:
            lines.append("Connection: close")
        elif version == "1.0":
            lines.append("Connection: keep-alive")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


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
