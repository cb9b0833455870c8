"""A reverse proxy of HTTP/1.1 for tests: correct, or with the faults that it is given by name.

A thread for each client. It connects to the far end for each request, unless "reuse".
"""

from __future__ import annotations

import contextlib
import posixpath
import select
import socket
import threading
import time
import typing
from collections.abc import Iterator
from urllib.parse import unquote

FAULTS = {
    "buffer": "holds a response until it is over",
    "buffer-sse": "holds a response without a length until it is over",
    "cache": "keeps responses, whatever they say",
    "clean-abort": "ends a response properly that the far end broke off",
    "close": "ends the connection after each response",
    "error-pages": "replaces the content of errors",
    "flip": "alters a byte of a body",
    "forged": "passes a client's X-Forwarded-For on",
    "half-close": "takes the client's FIN for its departure",
    "idle": "answers 504 after 2 s of silence",
    "limit": "refuses bodies over 1 MiB",
    "methods": "refuses PATCH",
    "small-headers": "refuses headers over 6 KiB",
    "no-address": "does not say whose request it is",
    "no-continue": "does not answer an expectation",
    "no-pipelining": "forgets what came behind a request",
    "normalise": "decodes and joins the path",
    "reframe": "gives a chunked body a length",
    "reuse": "reuses the connection to the far end, and sends GET again if that ends",
    "reuse-502": "the same, and answers 502 if that ends",
    "reuse-repeat": "the same, and sends POST again, too",
    "underscore": "drops headers with an underscore",
    "ws-compression": "drops Sec-WebSocket-Extensions",
    "ws-idle": "ends a WebSocket after 2 s without a byte",
    "ws-pings": "answers no ping, since it looks into frames",
    "ws-refuse": "takes the handshake for an ordinary request",
    "ws-subprotocol": "drops Sec-WebSocket-Protocol",
    "upload": "holds a request until it is whole",
}
_PATIENCE = 30.0


class Ended(Exception):
    """The other end has closed."""


class Stream:
    """A socket, read piece by piece."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.kept = sock, b""
        sock.settimeout(_PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def more(self) -> bytes:
        data = self.kept or self.sock.recv(65536)
        self.kept = b""
        if not data:
            raise Ended
        return data

    def head(self) -> tuple[list[str], list[tuple[str, str]]]:
        """The words of the first line, and the headers."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.more()
        head, _, self.kept = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        return first.split(" ", 2), [(name, value.strip()) for name, _, value in pairs]

    def body(self, headers: list[tuple[str, str]], *, to_end: bool = False) -> Iterator[bytes]:
        """The content, without its framing, as it arrives."""
        known = {name.lower(): value for name, value in headers}
        if "transfer-encoding" in known:
            yield from self._chunks()
        elif "content-length" in known:
            left = int(known["content-length"])
            while left:
                data = self.more()
                data, self.kept = data[:left], data[left:]
                left -= len(data)
                yield data
        elif to_end:
            with contextlib.suppress(Ended):
                while True:
                    yield self.more()

    def _line(self) -> bytes:
        data = b""
        while b"\r\n" not in data:
            data += self.more()
        line, _, self.kept = data.partition(b"\r\n")
        return line

    def _chunks(self) -> Iterator[bytes]:
        while left := int(self._line().split(b";")[0], 16):
            while left:
                data = self.more()
                data, self.kept = data[:left], data[left:]
                left -= len(data)
                yield data
            self._line()
        while self._line():
            pass


class ReverseProxy:
    """Listens on *port*, and forwards to *far* on this machine."""

    def __init__(self, far: int, *faults: str) -> None:
        assert set(faults) <= set(FAULTS), faults
        self.far, self.faults = far, set(faults)
        self.announced = ""  # instead of the client's address
        self._stored: dict[str, bytes] = {}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = int(self.listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> typing.Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, peer = self.listener.accept()
                threading.Thread(target=self._serve, args=(sock, peer[0]), daemon=True).start()

    def _serve(self, sock: socket.socket, peer: str) -> None:
        client = Stream(sock)
        upstream: Stream | None = None
        kept = True
        with contextlib.ExitStack() as opened, contextlib.suppress(OSError, Ended, ValueError):
            opened.enter_context(sock)
            while kept:
                words, headers = client.head()
                kept, upstream = self._exchange(client, peer, words, headers, upstream, opened)

    def _exchange(
        self,
        client: Stream,
        peer: str,
        words: list[str],
        headers: list[tuple[str, str]],
        upstream: Stream | None,
        opened: contextlib.ExitStack,
    ) -> tuple[bool, Stream | None]:
        """Forward one request and its response: whether the client's connection is kept, and the
        far end's, if that is.
        """
        faults = self.faults
        known = {name.lower(): value for name, value in headers}
        if "expect" in known:
            headers = [(n, v) for n, v in headers if n.lower() != "expect"]
            if "no-continue" not in faults:
                client.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if known.get("upgrade", "").lower() == "websocket" and "ws-refuse" not in faults:
            self._tunnel(client, words, headers, opened)
            return False, upstream
        if "limit" in faults and int(known.get("content-length", "0")) > 1 << 20:
            self._answer(client, 413, b"too large\n")
            return False, upstream
        if "small-headers" in faults and sum(len(n) + len(v) for n, v in headers) > 6 << 10:
            self._answer(client, 431, b"")
            return False, upstream
        stored = self._stored.get(words[1]) if "cache" in faults else None
        if stored is not None:
            client.sock.sendall(stored)
            return True, upstream
        if "methods" in faults and words[0] == "PATCH":
            self._answer(client, 405, b"")
            return False, upstream
        words = [words[0], self._target(words[1]), "HTTP/1.1"]
        head = self._head(words, headers, peer, reused=bool(faults & _REUSE))
        reused = upstream is not None
        body: list[bytes] = []
        while True:
            if upstream is None:
                sock = socket.create_connection(("127.0.0.1", self.far), 10)
                upstream = Stream(opened.enter_context(sock))
            try:
                self._send(upstream, client, head, headers, body, again=bool(body) and not reused)
                if "half-close" in faults and self._left(client, upstream):
                    return False, None
                status, answered = self._wait(upstream, client)
                break
            except (Ended, OSError):
                upstream.sock.close()
                repeat = words[0] == "GET" or "reuse-repeat" in faults
                if not reused or "reuse-502" in faults or not repeat:
                    self._answer(client, 502, b"")
                    return False, None
                upstream, reused = None, False
        if status is None:
            upstream.sock.close()
            return False, None
        if "cache" in faults and "cache=" in words[1]:
            content = b"".join(upstream.body(answered))
            start = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            self._stored[words[1]] = start + content
            client.sock.sendall(start + content)
            upstream.sock.close()
            return True, None
        kept = self._pass(client, upstream, status, answered, words[0])
        if not faults & _REUSE or not kept:
            upstream.sock.close()
            upstream = None
        if "no-pipelining" in faults:
            client.kept = b""
        return kept and "close" not in faults, upstream

    def _tunnel(
        self,
        client: Stream,
        words: list[str],
        headers: list[tuple[str, str]],
        opened: contextlib.ExitStack,
    ) -> None:
        """Pass the handshake on, and then every byte."""
        faults = self.faults
        dropped = {"ws-compression": "sec-websocket-extensions"}
        dropped |= {"ws-subprotocol": "sec-websocket-protocol"}
        names = {name for fault, name in dropped.items() if fault in faults}
        lines = [" ".join(words), *(f"{n}: {v}" for n, v in headers if n.lower() not in names)]
        far = opened.enter_context(socket.create_connection(("127.0.0.1", self.far), 10))
        far.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + client.kept)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        other = {client.sock: far, far: client.sock}
        while ready := select.select(list(other), [], [], 2.0 if "ws-idle" in faults else 30)[0]:
            for sock in ready:
                data = sock.recv(65536)
                if not data:
                    return
                # A ping from the client is short, and comes alone here.
                if not ("ws-pings" in faults and sock is client.sock and data[0] == 0x89):
                    other[sock].sendall(data)

    def _target(self, target: str) -> str:
        if "normalise" not in self.faults:
            return target
        path, question, query = target.partition("?")
        return posixpath.normpath(unquote(path).replace("//", "/")) + question + query

    def _head(
        self, words: list[str], headers: list[tuple[str, str]], peer: str, *, reused: bool
    ) -> bytes:
        sent = [(n, v) for n, v in headers if n.lower() not in ("connection", "keep-alive")]
        if "underscore" in self.faults:
            sent = [(n, v) for n, v in sent if "_" not in n]
        if "forged" not in self.faults:
            sent = [(n, v) for n, v in sent if n.lower() not in ("x-forwarded-for", "forwarded")]
        if "no-address" not in self.faults and not (
            "forged" in self.faults and any(n.lower() == "x-forwarded-for" for n, _ in sent)
        ):
            sent.append(("X-Forwarded-For", self.announced or peer))
        if "reframe" in self.faults or "upload" in self.faults:
            sent = [(n, v) for n, v in sent if n.lower() != "transfer-encoding"]
        sent.append(("Via", "1.1 middle"))
        sent += [] if reused else [("Connection", "close")]
        return "\r\n".join([" ".join(words), *(f"{n}: {v}" for n, v in sent)]).encode("latin-1")

    def _send(
        self,
        upstream: Stream,
        client: Stream,
        head: bytes,
        headers: list[tuple[str, str]],
        body: list[bytes],
        *,
        again: bool,
    ) -> None:
        """Send the request; its content, which was kept in *body*, *again*."""
        chunked = any(n.lower() == "transfer-encoding" for n, _ in headers)
        whole = bool(self.faults & {"reframe", "upload"})
        pieces = iter(list(body)) if again or body else client.body(headers)
        if whole:
            body[:] = list(pieces)
            if "flip" in self.faults:
                body[:] = [_flipped(piece) for piece in body]
            length = b"\r\nContent-Length: %d" % sum(map(len, body)) if chunked else b""
            upstream.sock.sendall(head + length + b"\r\n\r\n" + b"".join(body))
            return
        upstream.sock.sendall(head + b"\r\n\r\n")
        fresh = not body
        for piece in pieces:
            if fresh and len(body) < 100:
                body.append(piece)
            sent = _flipped(piece) if "flip" in self.faults else piece
            upstream.sock.sendall(b"%x\r\n%b\r\n" % (len(sent), sent) if chunked else sent)
        if chunked:
            upstream.sock.sendall(b"0\r\n\r\n")

    def _left(self, client: Stream, upstream: Stream) -> bool:
        """True if the client's FIN comes before the response does."""
        while not client.kept:
            ready, _, _ = select.select([client.sock, upstream.sock], [], [], _PATIENCE)
            if upstream.sock in ready or not ready:
                return False
            if not client.sock.recv(1, socket.MSG_PEEK):
                upstream.sock.close()
                return True
            return False
        return False

    def _wait(
        self, upstream: Stream, client: Stream
    ) -> tuple[list[str] | None, list[tuple[str, str]]]:
        """The head of the response; None if it took too long."""
        if "idle" in self.faults and not select.select([upstream.sock], [], [], 2.0)[0]:
            self._answer(client, 504, b"")
            return None, []
        return upstream.head()

    def _pass(
        self,
        client: Stream,
        upstream: Stream,
        status: list[str],
        headers: list[tuple[str, str]],
        method: str,
    ) -> bool:
        """Pass the response on; whether both connections may be used again."""
        known = {name.lower(): value for name, value in headers}
        chunked = "transfer-encoding" in known
        to_end = not chunked and "content-length" not in known
        code = int(status[1])
        empty = code in (204, 304) or method == "HEAD"
        pieces = iter(()) if empty else upstream.body(headers, to_end=to_end)
        if "error-pages" in self.faults and code >= 500:
            list(pieces)
            self._answer(client, code, b"<h1>Sorry</h1>")
            return False
        if "buffer" in self.faults or ("buffer-sse" in self.faults and (chunked or to_end)):
            pieces = iter(list(pieces))
        kept = not (to_end and not empty)
        sent = [(n, v) for n, v in headers if n.lower() not in ("connection", "keep-alive")]
        if not kept or "close" in self.faults:
            sent.append(("Connection", "close"))
        lines = ["HTTP/1.1 " + " ".join(status[1:]), *(f"{n}: {v}" for n, v in sent)]
        client.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        abrupt = (Ended, OSError) if "clean-abort" in self.faults else ()
        with contextlib.suppress(*abrupt):
            for piece in pieces:
                client.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked and not empty:
            client.sock.sendall(b"0\r\n\r\n")
        return kept

    def _answer(self, client: Stream, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        client.sock.sendall(head.encode() + body)
        # What the client still sends would make a reset of our end, which it would see instead.
        with contextlib.suppress(OSError):
            client.sock.shutdown(socket.SHUT_WR)
            until = time.monotonic() + 2
            while client.sock.recv(65536) and time.monotonic() < until:
                pass


_REUSE = {"reuse", "reuse-502", "reuse-repeat"}


def _flipped(piece: bytes) -> bytes:
    return piece[:-1] + bytes([piece[-1] ^ 1])
