"""What proxies make of HTTP and WebSocket, as the far end's report shows it. docs/paths.md has the
table.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
import typing
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from meari.stream.pattern import Stream

from .http_proxies import PROXIES
from .program import Serving

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]
LINE = "GET /a//b/../report?q=%41%2f&q HTTP/1.1"
STREAMED = {"upload, length": ("length", True), "upload, chunked": ("chunked", True)}
HELD = {"upload, length": ("length", False), "upload, chunked": ("length", False)}
EXPECTED: dict[str, dict[str, typing.Any]] = {
    "nginx": {
        "line": LINE.replace("1.1", "1.0"),
        "headers": ["X-A: 1", "x-a: 2"],
        "host": False,
        "added": [],
        **HELD,
        "stream": [],
        "websocket": "status 505",
    },
    "nginx, upgrade": {
        "line": LINE,
        "headers": ["X-A: 1", "x-a: 2"],
        "host": False,
        "added": [],
        **HELD,
        "stream": ["sse", "chunked"],
        "websocket": "echo, 1 extension",
    },
    "haproxy": {
        "line": LINE,
        "headers": ["x-a: 1", "x-a: 2", "x_b: 3"],
        "host": True,
        "added": [],
        **STREAMED,
        "stream": ["sse", "chunked", "length"],
        "websocket": "echo, 1 extension",
    },
    "caddy": {
        "line": LINE,
        "headers": ["X-A: 1", "X-A: 2"],
        "host": True,
        "added": [
            "accept-encoding",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
        ],
        **STREAMED,
        "stream": ["sse", "chunked"],
        "websocket": "echo, 1 extension",
    },
    "envoy": {
        "line": LINE,
        "headers": ["x-a: 1", "x-a: 2", "x_b: 3"],
        "host": True,
        "added": ["x-envoy-expected-rq-timeout-ms", "x-forwarded-proto", "x-request-id"],
        **STREAMED,
        "stream": ["sse", "chunked", "length"],
        "websocket": "echo, 1 extension",
    },
}
REQUEST = (
    b"GET /a//b/../report?q=%41%2f&q HTTP/1.1\r\nhOST: site.example\r\nX-A: 1\r\nx-a: 2\r\n"
    b"X_B: 3\r\nConnection: close\r\n\r\n"
)


def asked(port: int, request: bytes) -> tuple[int, bytes]:
    """The status and the body of the answer to one request."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(request)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, answer.read()


def seen(port: int) -> dict[str, typing.Any]:
    """What the proxy at *port* does."""
    status, body = asked(port, REQUEST)
    assert status == 200, body
    report = json.loads(body)
    headers = report["headers"]
    known = {"host", "x-a", "x_b", "connection"}
    found: dict[str, typing.Any] = {
        "line": report["request_line"],
        "headers": [f"{n}: {value}" for n, value in headers if n.lower() in ("x-a", "x_b")],
        "host": "site.example" in [value for name, value in headers if name.lower() == "host"],
        "added": sorted({name.lower() for name, _ in headers} - known),
    }
    found |= {f"upload, {name}": upload(port, name) for name in ("length", "chunked")}
    found["stream"] = [name for name in ("sse", "chunked", "length") if stream(port, name)]
    found["websocket"] = websocket(port)
    return found


def upload(port: int, framing: str) -> tuple[str, bool]:
    """How the far end saw the body framed; and whether its first half came before its second was
    sent. All bytes have to come back from /echo.
    """
    body = Stream(1, 1).read(0, 900_000)
    head = b"POST /%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    start = head + (length if framing == "length" else b"Transfer-Encoding: chunked\r\n\r\n")
    halves = [body[:450_000], body[450_000:]]
    if framing == "chunked":
        halves = [b"%x\r\n%b\r\n" % (len(half), half) for half in halves]
        halves[1] += b"0\r\n\r\n"
    status, found = asked(port, start % b"echo" + halves[0] + halves[1])
    assert status == 200 and found == body
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(start % b"report" + halves[0])
        time.sleep(1.0)
        client.sendall(halves[1])
        answer = http.client.HTTPResponse(client)
        answer.begin()
        report = json.loads(answer.read())
    arrival = report["arrival"]["pieces"]
    return report["body"]["framing"], arrival[-1][0] - arrival[0][0] > 0.5


def stream(port: int, shape: str) -> bool:
    """True if the pieces of a response come one by one."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        target = f"/stream?pieces=4&every=300ms&as={shape}"
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        times, found = [], b""
        while data := client.recv(65536):
            found += data
            times += [time.monotonic()] * data.count(b'"piece"')
    assert found.count(b'"piece"') == 4
    return times[-1] - times[0] > 0.5


def websocket(port: int) -> str:
    """What comes of a WebSocket."""
    try:
        with connect(f"ws://127.0.0.1:{port}/x/ws", subprotocols=["echo"], max_size=None) as client:  # type: ignore[list-item]
            for message in ("가나다", bytes(100_000), "x" * 1_000_000):
                client.send(message)
                assert client.recv(20) == message
            return f"{client.subprotocol}, {len(client.protocol.extensions)} extension"
    except InvalidStatus as refused:
        return f"status {refused.response.status_code}"


@pytest.mark.parametrize("name", PROXIES)
def test_what_a_proxy_does(name: str, tmp_path: Path) -> None:
    with Serving("-q", address="http://127.0.0.1:0") as server:
        line = next(line for line in server.lines if "listening on" in line)
        with PROXIES[name](int(line.rpartition(":")[2]), tmp_path) as port:
            found = seen(port)
    assert found == EXPECTED[name]
