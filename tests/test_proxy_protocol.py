"""The PROXY protocol, version 1 and 2: every split and fault, on every engine, behind HAProxy."""

from __future__ import annotations

import contextlib
import functools
import http.client
import ipaddress
import itertools
import json
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meari import Address, Events, Server
from meari.events import Event, Kind
from meari.wire import proxied
from meari.wire.allow import allowing, parse_network
from meari.wire.echo import StreamEcho
from meari.wire.protocol import Connection
from meari.wire.proxied import Proxied
from meari.wire.proxy_protocol import (
    SIGNATURE,
    Announced,
    ProxyHeaderError,
    crc32c,
    parse,
)

from .middleboxes import need
from .program import MEARI, Serving, until
from .test_tiny import CONCURRENT, ENGINES

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"


def v2(
    source: str = "192.0.2.1",
    destination: str = "198.51.100.2",
    *,
    command: int = 0x21,
    values: bytes = b"",
) -> bytes:
    ends = [ipaddress.ip_address(host).packed for host in (source, destination)]
    body = ends[0] + ends[1] + struct.pack("!HH", 56324, 443) + values
    family = 0x11 if len(ends[0]) == 4 else 0x21
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def test_the_headers_of_the_specification() -> None:
    assert parse(V1 + b"rest") == (
        Announced(1, Address("192.0.2.1", 56324), Address("198.51.100.2", 443)),
        len(V1),
    )
    six = b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"
    assert parse(six) == (Announced(1, Address("2001:db8::1", 1), Address("::1", 65535)), len(six))
    assert parse(b"PROXY UNKNOWN\r\n") == (Announced(1), 15)
    assert parse(b"PROXY UNKNOWN ff:ff 1 2 3\r\n") == (Announced(1), 27)
    found = parse(v2() + b"rest")
    assert found == (Announced(2, Address("192.0.2.1", 56324), Address("198.51.100.2", 443)), 28)
    found = parse(v2("2001:db8::1", "::1", values=b"\x01\0\2h2"))
    assert found is not None and found[0].source == Address("2001:db8::1", 56324)
    assert found[0].values == ((1, b"h2"),)
    local = parse(v2(command=0x20))
    assert local == (Announced(2), 28)
    assert parse(SIGNATURE + b"\x20\0\0\0") == (Announced(2), 16)


def test_the_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    bare = v2(values=b"\3\0\4\0\0\0\0")
    sound = bare[:-4] + crc32c(bare).to_bytes(4, "big")
    found = parse(sound)
    assert found is not None and found[0].source is not None
    with pytest.raises(ProxyHeaderError, match="checksum"):
        parse(bare)
    with pytest.raises(ProxyHeaderError, match="checksum"):
        parse(sound[:17] + bytes([sound[17] ^ 1]) + sound[18:])


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXI ",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
        b"PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.2 56324 443\r\n",
        b"PROXY TCP4 ::1 ::1 56324 443\r\n",
        b"PROXY TCP6 fe80::1%eth0\n ::1 56324 443\r\n",
        b"PROXY TCP6 192.0.2.1 ::1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 0443 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 \xb2 443\r\n",
        b"PROXY tcp4 192.0.2.1 198.51.100.2 1 443\r\n",
        b"PROXY " + b"x" * 101,
        SIGNATURE + b"\x11\x11\0\0",
        SIGNATURE + b"\x22\x11\0\0",
        SIGNATURE + b"\x21\x11\0\x0b" + bytes(11),
        SIGNATURE + b"\x21\x21\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\xff\xff",
        v2(values=b"\1\0"),
        v2(values=b"\1\0\5abc"),
    ],
)
def test_what_is_no_header(header: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        assert parse(header) is None


@given(st.sampled_from([V1, v2(), v2("::1", "::2", values=b"\1\0\1x")]), st.integers(0, 200))
def test_every_beginning_of_a_header_asks_for_more(header: bytes, at: int) -> None:
    if at < len(header):
        assert parse(header[:at]) is None
    else:
        found = parse(header)
        assert found is not None and found[1] == len(header)


@given(st.binary(max_size=300))
def test_no_bytes_do_harm(data: bytes) -> None:
    for prefix in (b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"):
        with contextlib.suppress(ProxyHeaderError):
            parse(prefix + data)


@contextlib.contextmanager
def serving(
    engine: str, *proxies: str, allow: tuple[str, ...] = ()
) -> Iterator[tuple[Server, list[Event]]]:
    said: list[Event] = []
    networks = [parse_network(text) for text in allow]
    service = allowing(networks, StreamEcho) if allow else StreamEcho
    with Server(
        "127.0.0.1:0", engine=engine, service=service, events=Events(said.append), proxies=proxies
    ) as server:
        yield server, said


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.addresses[0].port), 20)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("header", [V1, v2()], ids=["v1", "v2"])
def test_the_header_is_taken_away_on_every_engine(engine: str, header: bytes) -> None:
    with serving(engine, "127.0.0.0/8") as (server, _):
        with connect(server) as client:
            client.sendall(header + b"at once")
            assert client.recv(100) == b"at once"
            client.sendall(b"later")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b"later"
            assert client.recv(100) == b""
        with connect(server) as client:
            for byte in header + b"z":
                client.sendall(bytes([byte]))
            assert client.recv(100) == b"z"
    with serving(engine, "192.0.2.0/24") as (server, _), connect(server) as client:
        client.sendall(header)  # from elsewhere it is only bytes
        found = b""
        while len(found) < len(header):
            found += client.recv(100)
        assert found == header


def test_the_log_has_both_addresses() -> None:
    with serving("event", "127.0.0.1") as (server, said):
        with connect(server) as client:
            client.sendall(V1 + b"hello")
            client.recv(100)
            port = client.getsockname()[1]
        until(lambda: any(event.kind is Kind.CLOSED for event in said))
    announced = Address("192.0.2.1", 56324)
    (event,) = [event for event in said if event.kind is Kind.CONNECTED]
    assert event.peers == (announced,) and event.detail == f"via tcp://127.0.0.1:{port}"
    (event,) = [event for event in said if event.kind is Kind.CLOSED]
    assert event.peers == (announced,) and event.messages == 1 and event.bytes == 5


def ended(said: list[Event], reason: str) -> bool:
    return said[-1].detail == reason and said[-1].kind is Kind.FAILED


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_malformed_or_late_header_ends_the_connection(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxied, "PATIENCE", 0.5)
    with serving(engine, "127.0.0.1") as (server, said):
        for sent, reason in (
            (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header came first"),
            (V1[:10], "no PROXY header within 0.5 s"),
            (b"", "no PROXY header within 0.5 s"),
        ):
            with connect(server) as client:
                client.sendall(sent)
                began = time.monotonic()
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(100) == b""
                assert time.monotonic() - began < 10
            if engine != "process":  # whose events are its processes'
                until(lambda: said)
                until(functools.partial(ended, said, reason))
        with connect(server) as client:
            client.sendall(V1 + b"x")
            assert client.recv(1) == b"x"


@pytest.mark.parametrize("engine", ["event", "thread"])
def test_admission_is_by_the_announced_address(engine: str) -> None:
    with serving(engine, "127.0.0.1", allow=("192.0.2.0/24",)) as (server, said):
        with connect(server) as client:
            client.sendall(V1 + b"x")
            assert client.recv(1) == b"x"
        with connect(server) as client:
            client.sendall(V1.replace(b"192.0.2.1", b"203.0.113.1"))
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        until(lambda: any(event.kind is Kind.REFUSED for event in said))
        (event,) = [event for event in said if event.kind is Kind.REFUSED]
        assert event.peers == (Address("203.0.113.1", 56324),)


def test_local_keeps_the_real_address() -> None:
    with serving("event", "127.0.0.1") as (server, said):
        with connect(server) as client:
            client.sendall(v2(command=0x20) + b"x")
            assert client.recv(1) == b"x"
            port = client.getsockname()[1]
        until(lambda: any(event.kind is Kind.CLOSED for event in said))
    (event,) = [event for event in said if event.kind is Kind.CONNECTED]
    assert event.peers == (Address("127.0.0.1", port),) and event.detail == ""


@given(st.lists(st.integers(0, 60), max_size=8))
def test_every_split_gives_the_same(cuts: list[int]) -> None:
    stream = v2(values=b"\1\0\1x") + b"hello world"
    places = sorted({0, len(stream), *cuts})
    connection = Connection(Address("127.0.0.1", 1), Events())
    protocol = Proxied(connection, StreamEcho)
    found = b""
    for a, b in itertools.pairwise(places):
        if stream[a:b]:
            found += protocol.receive(stream[a:b])
    assert found == b"hello world" and connection.peer == Address("192.0.2.1", 56324)
    assert connection.via == Address("127.0.0.1", 1)


def test_the_report_shows_both() -> None:
    """Over TLS the header comes before the handshake."""
    with Serving(
        "--self-signed", "--proxy-from", "127.0.0.1", address="https://127.0.0.1:0"
    ) as server:
        line = next(line for line in server.lines if "listening on" in line)
        url = f"https://localhost:{line.rpartition(':')[2]}/report"
        for option in ("--haproxy-protocol",):
            done = subprocess.run(
                ["curl", "-sk", option, url, "--resolve", f"localhost:{url[18:-7]}:127.0.0.1"],
                capture_output=True,
                timeout=20,
            )
            found = json.loads(done.stdout)
            assert found["proxy"]["version"] == 1 and found["peer"]["address"] == "127.0.0.1"
            assert found["tls"]["version"] == "TLSv1.3"
    with Serving("--proxy-from", "127.0.0.1", address="http://127.0.0.1:0") as server:
        line = next(line for line in server.lines if "listening on" in line)
        with socket.create_connection(("127.0.0.1", int(line.rpartition(":")[2])), 20) as client:
            client.sendall(v2() + b"GET /report HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = http.client.HTTPResponse(client)
            answer.begin()
            found = json.loads(answer.read())
            assert found["peer"] == {"address": "192.0.2.1", "port": 56324}
            assert found["proxy"]["address"] == "127.0.0.1"
            assert found["proxy"]["destination"] == "tcp://198.51.100.2:443"
        server.wait_for(r"Connected to \(192.0.2.1, 56324\) via tcp://127.0.0.1:")


def listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"])
def test_behind_haproxy(version: str, tmp_path: Path) -> None:
    need("haproxy")
    with Serving("--proxy-from", "127.0.0.1", address="http://127.0.0.1:0") as server:
        line = next(line for line in server.lines if "listening on" in line)
        far = int(line.rpartition(":")[2])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (tmp_path / "haproxy.cfg").write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"
            f"frontend f\n bind 127.0.0.1:{port}\n default_backend b\n"
            f"backend b\n server s 127.0.0.1:{far} {version}\n"
        )
        with subprocess.Popen(["haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")]) as haproxy:
            try:
                until(functools.partial(listens, port))
                with contextlib.closing(
                    http.client.HTTPConnection("127.0.0.1", port, 20)
                ) as client:
                    client.request("GET", "/report")
                    found = json.loads(client.getresponse().read())
                    assert client.sock is not None
                    assert found["peer"]["port"] == client.sock.getsockname()[1]
                    assert found["proxy"]["version"] == (1 if version == "send-proxy" else 2)
                    assert found["proxy"]["destination"] == f"tcp://127.0.0.1:{port}"
            finally:
                haproxy.terminate()


def test_a_network_that_is_none() -> None:
    done = subprocess.run(
        [*MEARI, "serve", "--proxy-from", "x", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2 and "'x' is not a network" in done.stderr
