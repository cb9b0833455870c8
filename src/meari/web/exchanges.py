"""Exchanges of the HTTP far end: echo, report, streamed, delayed and aborted responses."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import typing
import zlib
from datetime import UTC, datetime

from ..address import Address
from ..errors import MeariError
from ..stream.pattern import Stream
from ..wire.protocol import Connection
from ..wire.proxy_protocol import Announced
from ..wire.request import Request
from ..wire.tls import Tls
from .exchange import Exchange, Hangup
from .response import Response

_PIECE = 65536
_PIECES = 1000  # of a request's body, whose arrival is reported


class Echo(Exchange):
    """Returns the body while it arrives, with its type and its length if it has one."""

    def __init__(self, request: Request) -> None:
        kind = b"".join(request.values(b"content-type")[:1]) or b"application/octet-stream"
        length = request.values(b"content-length")
        chunked = bool(request.values(b"transfer-encoding"))
        self.response = Response(
            200,
            [("Content-Type", kind.decode("latin-1"))],
            framing="chunked" if chunked else "length",
            count=int(length[0]) if length else 0,
        )

    def receive(self, data: bytes, /) -> bytes:
        return data

    def end(self) -> bytes:
        self.done = True
        return b""


class Report(Exchange):
    """Returns the request as it was received, as JSON; *known* is about the connection."""

    def __init__(
        self, request: Request, connection: Connection, known: dict[str, typing.Any]
    ) -> None:
        self._request, self._connection, self._known = request, connection, known
        self._length, self._digest = 0, hashlib.sha256()
        self._pieces: list[tuple[float, int]] = []
        self._head = 0.0

    def start(self) -> bytes:
        self._head = time.monotonic() - self.began
        return b""

    def receive(self, data: bytes, /) -> bytes:
        self._length += len(data)
        self._digest.update(data)
        if len(self._pieces) < _PIECES:
            self._pieces.append((round(time.monotonic() - self.began, 6), len(data)))
        return b""

    def end(self) -> bytes:
        request, peer = self._request, self._connection.peer
        chunked = request.chunks is not None or bool(request.values(b"transfer-encoding"))
        framing = "chunked" if chunked else "none"
        if request.values(b"content-length"):
            framing = "length"
        found = {
            **self._known,
            "peer": _peer(peer),
            "proxy": _proxy(self._connection),
            "request_line": f"{request.method} {request.target} HTTP/{request.version}",
            "method": request.method,
            "target": request.target,
            "version": request.version,
            "headers": _headers(request.headers),
            "announced": {
                name: [_text(value) for value in request.values(name.encode())]
                for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via")
            },
            "body": {
                "framing": framing,
                "bytes": self._length,
                "chunks": request.chunks,
                "trailers": _headers(request.trailers),
                "sha256": self._digest.hexdigest(),
            },
            "arrival": {
                "head_seconds": round(self._head, 6),
                "pieces": self._pieces,
                "seconds": round(time.monotonic() - self.began, 6),
            },
            "tls": _tls(self._connection.tls),
        }
        body = _json(found)
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        self.response, self.done = Response(200, headers, count=len(body)), True
        return body


def _json(found: dict[str, typing.Any]) -> bytes:
    """A line for each fact, and for each header."""
    lines = []
    for key, value in found.items():
        text = json.dumps(value)
        if key == "headers" and value:
            text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        lines.append(f" {json.dumps(key)}: {text}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _text(value: bytes) -> str | dict[str, str]:
    """ASCII as it is, anything else as {"base64": ...}."""
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def _headers(headers: list[tuple[bytes, bytes]]) -> list[list[str | dict[str, str]]]:
    return [[_text(name), _text(value)] for name, value in headers]


def _peer(peer: Address) -> dict[str, object]:
    """A peer; one of a Unix socket is its user and process."""
    if peer.scheme == "unix":
        return {"uid": int((peer.host or "uid 0").split()[1]), "pid": peer.port}
    return {"address": peer.host, "port": peer.port}


def _proxy(connection: Connection) -> dict[str, typing.Any] | None:
    """The announced addresses of a PROXY header, and the proxy's own."""
    header = connection.announced
    if not isinstance(header, Announced):
        return None
    by = connection.via or connection.peer
    return {
        "address": by.host,
        "port": by.port,
        "version": header.version,
        "source": header.source and str(header.source),
        "destination": header.destination and str(header.destination),
        "values": [[kind, value.hex()] for kind, value in header.values],
    }


def _tls(layer: object) -> dict[str, str | None] | None:
    if not isinstance(layer, Tls):
        return None
    shown = layer.certificate()
    return {
        "version": layer.version,
        "cipher": layer.cipher,
        "alpn": layer.alpn,
        "sni": layer.sni,
        "client_certificate_sha256": hashlib.sha256(shown).hexdigest() if shown else None,
    }


class Pieces(Exchange):
    """A response in *pieces*, one *every* so many seconds; its head comes at once.

    *shape* is how the body ends, or "sse", server-sent events. Each piece has its number and time.
    """

    def __init__(self, pieces: int, every: float, shape: str, *, gzip: bool) -> None:
        self._pieces, self._every, self._n = pieces, every, 0
        self._due: float | None = None  # of the next piece, once the request is complete
        self._events = shape == "sse"
        self._gzip = zlib.compressobj(wbits=31) if gzip else None
        kind = "text/event-stream" if self._events else "application/x-ndjson"
        headers = [("Content-Type", kind), ("Cache-Control", "no-store")]
        if gzip:
            headers.append(("Content-Encoding", "gzip"))
        # No X-Accel-Buffering: the default buffering of a proxy is under test.
        framing: typing.Literal["length", "chunked", "close"] = "chunked"
        if shape == "length":
            framing = "length"
        elif shape == "close":
            framing = "close"
        self.response = Response(200, headers, framing=framing, count=pieces * len(self._piece()))

    def end(self) -> bytes:
        if not self._pieces:
            self.done = True
            return b"" if self._gzip is None else self._gzip.flush()
        self._due = time.monotonic() + self._every
        return self.more()

    def more(self) -> bytes:
        """Wait for the next piece."""
        if self._due is not None:
            self.reads = False
            self.within = max(0.0, self._due - time.monotonic())
        return b""

    def wake(self) -> bytes:
        assert self._due is not None
        if time.monotonic() < self._due:
            return self.more()
        self._due += self._every
        self._n += 1
        self.done = self._n == self._pieces
        self.more()
        data = self._piece()
        if self._gzip is None:
            return data
        mode = zlib.Z_FINISH if self.done else zlib.Z_SYNC_FLUSH
        return self._gzip.compress(data) + self._gzip.flush(mode)

    def _piece(self) -> bytes:
        """Every piece has the same length."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        data = f'{{"piece": {self._n:6d}, "time": "{now}"}}\n'
        return f"id: {self._n:6d}\ndata: {data}\n".encode() if self._events else data.encode()


class Keyed(Exchange):
    """The first *n* bytes of the keyed stream of a *run* and a *connection*, from the far end."""

    def __init__(self, n: int, run: int, connection: int) -> None:
        self._stream, self._sent = Stream(run, connection, 1), 0
        headers = [("Content-Type", "application/octet-stream"), ("Cache-Control", "no-store")]
        self.response = Response(200, headers, count=n)
        self._n = n

    def end(self) -> bytes:
        return self.more()

    def more(self) -> bytes:
        data = self._stream.read(self._sent, min(_PIECE, self._n - self._sent))
        self._sent += len(data)
        self.done = self._sent == self._n
        return data


class Later(Exchange):
    """*response* after so many seconds."""

    def __init__(self, seconds: float, response: Response) -> None:
        self._seconds, self._late = seconds, response

    def end(self) -> bytes:
        self.reads = False
        self.within = self._seconds
        self._due = time.monotonic() + self._seconds
        return b""

    def wake(self) -> bytes:
        if (early := self._due - time.monotonic()) > 0:
            self.within = early
            return b""
        self._late.count = len(self._late.body)
        self.response, self.done = self._late, True
        return self._late.body


class End(Exchange):
    """Ends the connection by a FIN or a reset (*how*): without an answer, or, if *after* is given,
    in the middle of one, after so many bytes of its body.
    """

    def __init__(self, how: str, after: int | None, *, at_once: bool = False) -> None:
        self._how, self._left, self._at_once = how, after or 0, at_once
        if after is not None:
            self.response = Response(200, [("Content-Type", "text/plain")], framing="chunked")

    def start(self) -> bytes:
        if self._at_once:
            self._end()
        return b""

    def end(self) -> bytes:
        return self.more() if self._left else b"" if self.response else self._end()

    def more(self) -> bytes:
        if not self._left:
            return self._end()
        data = b"x" * min(_PIECE, self._left)
        self._left -= len(data)
        return data

    def _end(self) -> typing.NoReturn:
        if self._how == "fin":
            raise Hangup
        raise MeariError("reset, as the request asked for")
