"""talk, ping and load over HTTP and WebSocket: what comes back, and what an answer that is no echo
is called.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meari import Address, AddressError
from meari.wire.http_echo import HttpEcho
from meari.wire.layer import Layer, LayerFault, Truncated
from meari.wire.websocket_echo import WebSocketEcho

from .program import MEARI, Serving, until
from .servers import far_end

SCHEMES = ["http", "https", "ws", "wss"]
# Of TLS, one of the two is tried in each run.
TRIED = ["http", pytest.param("https", marks=pytest.mark.long), "ws", "wss"]


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """A far end's port, of each scheme."""
    options = ("-q", "--self-signed", "http://127.0.0.1:0")
    with Serving(*options, address="https://127.0.0.1:0") as server:
        server.wait_for("listening on https")
        found = [int(line.rpartition(":")[2]) for line in server.lines if "listening" in line]
        yield dict(zip(SCHEMES, [*found, *found], strict=True))


def near(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*MEARI, *words], input=given, capture_output=True, timeout=60)


def options(scheme: str) -> list[str]:
    return ["--insecure"] if scheme in ("https", "wss") else []


TEXTS = (b"", b"one\ntwo\n", b"no newline", b"\n\n", b"\xea\xb0\x80\n\xff\n")


@pytest.mark.parametrize("scheme", TRIED)
def test_what_is_talked_comes_back(scheme: str, ports: dict[str, int]) -> None:
    path = "/x/ws" if scheme.startswith("ws") else "/x/echo"
    url = f"{scheme}://localhost:{ports[scheme]}{path}"
    for data in (*TEXTS, os.urandom(1_000_000)):
        done = near("talk", "-4", url, *options(scheme), given=data)
        assert done.stdout == data and done.returncode == 0, done.stderr
        assert b"identical" in done.stderr


@pytest.mark.parametrize("scheme", TRIED)
def test_pings_and_loads_are_verified(scheme: str, ports: dict[str, int]) -> None:
    url = f"{scheme}://127.0.0.1:{ports[scheme]}"
    done = near("ping", url, *options(scheme), "-c", "3", "-i", "0.05", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and lines[-1]["returned"] == 3 and lines[-1]["lost"] == 0
    assert lines[0]["protocol"] == ("WebSocket" if "ws" in scheme else "HTTP/1.1")
    assert ("tls" in lines[0]) == (scheme in ("https", "wss"))
    for words in (
        ("-c", "8"),
        ("-s", "1-100K", "--depth", "4"),
        ("--new-connections",),
        ("--rate", "200"),
    ):
        done = near("load", url, *options(scheme), *words, "-n", "100", "--json")
        found = json.loads(done.stdout)
        assert done.returncode == 0, done.stdout
        assert found["messages"] == 100 and not found["faults"]


@pytest.mark.parametrize("scheme", ["http", "ws", "wss"])
@pytest.mark.parametrize(
    ("words", "connections", "messages"),
    [
        (("load", "-s", "300K", "-n", "12"), 1, 12),
        (("load", "-s", "100", "-n", "60", "--depth", "20", "-c", "2"), 2, 60),
        (("ping", "-s", "200000", "-c", "3", "-i", "0"), 1, 3),
    ],
    ids=["large", "many", "ping"],
)
def test_a_message_is_a_request_whatever_its_size(
    scheme: str, words: tuple[str, ...], connections: int, messages: int
) -> None:
    listened = "https" if scheme == "wss" else "http"
    secure = ["--self-signed"] if scheme == "wss" else []
    address = f"{listened}://127.0.0.1:0"
    with Serving("--json", "-v", *secure, address=address) as serving:
        done = near(*words, f"{scheme}://127.0.0.1:{serving.port}", *options(scheme))
        assert done.returncode == 0, done.stderr

        def ends() -> list[dict[str, int]]:
            serving.read()
            found = [json.loads(line) for line in serving.lines]
            # A load that has its answers closes: what was still on its way makes that a reset.
            ends = ("meari.closed", "meari.failed")
            return [event for event in found if event["event.name"] in ends]

        until(lambda: len(ends()) == connections)
        upgrades = connections if scheme.startswith("ws") else 0
        assert sum(event["meari.messages"] for event in ends()) == messages + upgrades


def answering(answer: Callable[[bytes], bytes]) -> Callable[[socket.socket, threading.Event], None]:
    """A far end that answers what it reads, whatever that is, and closes on b""."""

    def serve(sock: socket.socket, over: threading.Event) -> None:
        sock.settimeout(10)
        while data := sock.recv(1 << 20):
            out = answer(data)
            if not out:
                return
            sock.sendall(out)

    return serve


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 503 Gone\r\nContent-Length: 0\r\n\r\n", "status 503 Service Unavailable"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellx", "differ at offset 4"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhel", "the last 2 never came back"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello...", "more came back"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "the last 5 never came back"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "before the answer did"),
        (b"", "before the answer did"),
        (b"SSH-2.0-OpenSSH\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "head is too long"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 200, "no end of interim answers"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ""),
    ],
)
def test_answers_that_are_no_echo(answer: bytes, said: str) -> None:
    once = iter([answer])
    with far_end(answering(lambda data: next(once, b"") if b"hello" in data else b"")) as address:
        done = near("talk", f"http://127.0.0.1:{address.port}", given=b"hello")
    assert (done.returncode == 0) == (not said), done.stderr
    # A far end that closes with our bytes unread resets the connection.
    assert said in done.stderr.decode() or (not answer and b"reset by peer" in done.stderr)


def test_statuses_are_counted() -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    with far_end(answering(lambda data: busy)) as address:
        done = near("load", f"http://127.0.0.1:{address.port}", "-t", "0.5", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and set(found["fault_counts"]) == {"status 503"}


def test_a_server_that_keeps_no_connection_is_connected_to_again() -> None:
    """Connection: close is allowed, and no byte is missing: it is reported as closed."""

    def answer(data: bytes) -> bytes:
        body = data.partition(b"\r\n\r\n")[2]
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
            len(body),
            body,
        )

    with far_end(answering(answer)) as address:
        url = f"http://127.0.0.1:{address.port}"
        done = near("load", url, "-n", "20", "--new-connections", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["messages"] == 20


def test_an_upgrade_that_is_refused() -> None:
    with Serving("-q", "--http-only", "echo", address="http://127.0.0.1:0") as server:
        line = next(line for line in server.lines if "listening" in line)
        for command in ("talk", "ping", "load"):
            done = near(command, f"ws://127.0.0.1:{line.rpartition(':')[2]}")
            assert done.returncode == 2 and b"HTTP 404" in done.stderr, done.stderr


def feed(layer: Layer, wire: bytes, cuts: list[int]) -> bytes:
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    return b"".join(layer.feed(wire[a:b]) for a, b in itertools.pairwise(places))


@given(st.lists(st.integers(0, 300), max_size=8))
def test_answers_in_any_pieces(cuts: list[int]) -> None:
    layer = HttpEcho(Address.parse("http://x:1/a"))
    for data in (b"one", b"two", b"three"):
        layer.send(data)
    assert layer.take().count(b"POST /a HTTP/1.1\r\nHost: x:1\r\n") == 3
    wire = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
    wire += b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nt\r\n2\r\nwo\r\n0\r\n\r\n"
    wire += b"HTTP/1.1 201 OK\r\nContent-Length: 5\r\n\r\nthree"
    assert feed(layer, wire, cuts) == b"onetwothree"
    assert layer.error is None and not layer.ended
    layer.close()
    assert layer.ended and layer.fin


def test_a_websocket_that_ends_badly() -> None:
    layer = WebSocketEcho(Address.parse("ws://x"))
    layer.send(b"early")
    assert b"GET /ws HTTP/1.1\r\nHost: x\r\n" in layer.take()
    layer.eof()
    assert isinstance(layer.error, Truncated)
    refused = WebSocketEcho(Address.parse("ws://x"))
    refused.take()
    refused.feed(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(refused.error, LayerFault) and refused.error.kind == "refused"


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("http://a", Address("a", 80, "http"), "http://a:80"),
        ("https://a/x?y=1#z", Address("a", 443, "https", "/x?y=1"), "https://a:443/x?y=1"),
        ("ws://[::1]/ws", Address("::1", 80, "ws", "/ws"), "ws://[::1]:80/ws"),
        ("wss://a:8443/", Address("a", 8443, "wss", "/"), "wss://a:8443/"),
        ("http://:8080", Address(None, 8080, "http"), "http://*:8080"),
    ],
)
def test_addresses_with_paths(text: str, address: Address, shown: str) -> None:
    assert Address.parse(text) == address and str(address) == shown


@pytest.mark.parametrize(
    "text", ["http://", "http://a:", "http://a:x/", "http://u:p@a/", "http://a/가", "tcp://a:1/x"]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text)


def test_the_library_is_not_imported_for_an_echo(tmp_path: Path) -> None:
    code = "import sys, meari.cli.load; print({'websockets', 'httptools'} & set(sys.modules))"
    done = subprocess.run([MEARI[0], "-c", code], capture_output=True, text=True, timeout=20)
    assert done.stdout == "set()\n"
