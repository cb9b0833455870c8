"""One conformance suite: what every engine does is the same over every transport."""

from __future__ import annotations

import contextlib
import random
import select
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from meari import Limits, LineEcho, Rio, Server, StreamEcho, open_client
from meari.channel import FIN, Channel, open_channel
from meari.engines import ENGINES
from meari.net import resolve
from meari.tls_context import client_context, server_context
from meari.wire.protocol import Service
from meari.wire.secured import ClientTls

from . import certificates
from .test_services import Greeting

CONCURRENT = [name for name in ENGINES if name != "iterative"]
VERSIONS = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}
DATA = random.Random(1).randbytes(1 << 20)


@dataclass
class Place:
    """Where servers listen in one test, and how its clients connect."""

    address: str
    context: ssl.SSLContext | None = None
    tls: ClientTls | None = None

    def serve(self, engine: str, service: Service = StreamEcho, **limits: float) -> Server:
        held = Limits(**{"drain": 5.0, **limits})  # type: ignore[arg-type]
        return Server(self.address, engine=engine, service=service, limits=held, tls=self.context)

    def connect(self, server: Server, timeout: float = 20.0) -> Rio:
        rio = open_client(server.addresses[0], timeout, tls=self.tls)
        rio.deadline = time.monotonic() + timeout
        return rio

    def channel(self, server: Server) -> Channel:
        return open_channel(resolve(server.addresses[0], tls=self.tls), 5.0).channel


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["tcp", "unix", pytest.param("tls1.2", marks=pytest.mark.long), "tls1.3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "tcp":
        yield Place("127.0.0.1:0")
    elif request.param == "unix":
        yield Place(f"unix:{tmp_path}/echo")
    else:
        far = server_context(certificates.path("server.pem"), certificates.path("server.key"))
        near = client_context(certificates.path("ca.pem"))
        for context in (far, near):
            context.minimum_version = context.maximum_version = VERSIONS[request.param]
        yield Place("tls://127.0.0.1:0", far, ClientTls(near))


def echo(rio: Rio, data: bytes) -> bytes:
    rio.writen(data)
    return rio.readexactly(len(data))


def exchange(channel: Channel, data: bytes, seconds: float = 30.0) -> bytes:
    """Send *data* and our end, read meanwhile; what is returned until the far end's."""
    until = time.monotonic() + seconds
    back, sent, ended = bytearray(), 0, False
    while True:
        while sent < len(data) and (n := channel.write(memoryview(data)[sent:])):
            sent += n
        if sent == len(data) and not ended and channel.flush():
            channel.half_close()
            ended = True
        received = channel.read()
        if received == b"":
            return bytes(back)
        back += received or b""
        if received is None and not channel.waiting:
            poller = select.poll()
            poller.register(channel, channel.mask(reading=True, writing=sent < len(data)))
            poller.poll(100)
            channel.flush()
        assert time.monotonic() < until


def fill(channel: Channel) -> int:
    """Write until nothing more is accepted, and read nothing; the number of bytes."""
    sent = quiet = 0
    while quiet < 10:
        n = channel.write(bytes(65536))
        channel.flush()
        sent += n
        quiet = 0 if n else quiet + 1
        if not n:
            time.sleep(0.02)
    return sent


def test_every_byte_comes_back_and_then_the_end(engine: str, place: Place) -> None:
    data = DATA * 3
    with place.serve(engine) as server, place.channel(server) as channel:
        assert exchange(channel, data) == data
        assert channel.end == FIN and not channel.truncated


@pytest.mark.parametrize("service", [StreamEcho, partial(LineEcho, limit=100)])
def test_one_byte_at_a_time(engine: str, place: Place, service: Service) -> None:
    data = DATA[:500] + b"\n" + bytes(300) + b"\r\nlast"
    with place.serve(engine, service) as server, place.connect(server) as rio:
        for i in range(len(data)):
            rio.writen(data[i : i + 1])
            if service is StreamEcho:
                assert rio.readexactly(1) == data[i : i + 1]
        rio.shutdown()
        assert rio.readn(2000) == (b"" if service is StreamEcho else data)


def test_lines_come_back_line_by_line(engine: str, place: Place) -> None:
    with place.serve(engine, LineEcho) as server, place.connect(server) as rio:
        rio.writen(b"one\ntwo\nthr")
        assert rio.readn(8) == b"one\ntwo\n"
        rio.writen(b"ee\n" + b"x" * 10_000)
        assert rio.readline() == b"three\n"
        # A line over the limit is returned in pieces, the rest at the end of file.
        assert rio.readn(8192) == b"x" * 8192
        rio.shutdown()
        assert rio.readn(10_000) == b"x" * (10_000 - 8192)


def test_an_end_of_file_at_once(engine: str, place: Place) -> None:
    with place.serve(engine) as server, place.connect(server) as rio:
        rio.shutdown()
        assert rio.read() == b""


def test_a_protocol_with_output_of_its_own(engine: str, place: Place) -> None:
    with place.serve(engine, Greeting) as server:
        with place.connect(server) as rio:
            assert rio.readline() == b"hello\n"
            rio.writen(b"loud")
            assert rio.readexactly(4) == b"LOUD"
            rio.shutdown()
            assert rio.read() == b"end"
        with place.connect(server) as rio:
            rio.writen(b"bye")
            rio.shutdown()
            assert rio.readn(1 << 20) == b"hello\n" + b"farewell" * 100_000
        with place.connect(server) as rio:
            assert rio.readline() == b"hello\n"
            rio.writen(b"fail")
            with contextlib.suppress(ConnectionError):
                assert rio.read() == b""


def test_a_reset_ends_its_own_connection_alone(engine: str, place: Place) -> None:
    with place.serve(engine, threads=2) as server:
        for n in range(12):
            rio = place.connect(server)
            if n % 3:
                rio.writen(bytes(100))
            if n % 3 == 2:
                rio.readexactly(50)
            rio.abort()
        with place.connect(server) as rio:
            assert echo(rio, b"still here") == b"still here"


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_client_that_never_reads_slows_nobody(engine: str, place: Place) -> None:
    with place.serve(engine) as server, place.channel(server) as deaf:
        sent = fill(deaf)
        with place.connect(server) as rio:
            began = time.monotonic()
            for _ in range(100):
                assert echo(rio, b"ping") == b"ping"
            assert time.monotonic() - began < 5
        # It reads after all, and nothing was lost.
        deaf.half_close()
        left = sent
        until = time.monotonic() + 30
        while (data := deaf.read()) != b"":
            left -= len(data or b"")
            deaf.flush()
            assert time.monotonic() < until
        assert left == 0 and deaf.end == FIN


def test_the_idle_limit_closes_and_loses_nothing(engine: str, place: Place) -> None:
    with place.serve(engine, LineEcho, idle=0.4) as server, place.connect(server) as rio:
        assert echo(rio, b"busy\n") == b"busy\n"
        rio.writen(b"held")
        began = time.monotonic()
        assert rio.readn(100) == b"held"
        assert 0.2 < time.monotonic() - began < 5


def test_a_stop_returns_what_is_under_way(engine: str, place: Place) -> None:
    server = place.serve(engine).__enter__()
    with place.connect(server) as rio:
        assert echo(rio, b"a") == b"a"
        server.stop()
        for _ in range(3):
            assert echo(rio, DATA[:1000]) == DATA[:1000]
        assert rio.read() == b""
    server.__exit__()


def test_at_the_drain_limit_the_rest_is_reset(engine: str, place: Place) -> None:
    server = place.serve(engine, drain=0.5).__enter__()
    with place.connect(server) as busy:
        assert echo(busy, b"x") == b"x"
        server.stop()
        with pytest.raises((ConnectionError, EOFError)):
            while True:
                echo(busy, b"never quiet")
    began = time.monotonic()
    server.__exit__()
    assert time.monotonic() - began < 5


def test_an_engine_returns_when_it_has_served_as_many_as_it_may(engine: str, place: Place) -> None:
    with place.serve(engine, accept=2) as server:
        for _ in range(2):
            with place.connect(server) as rio:
                assert echo(rio, b"x") == b"x"


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_thousand_half_closed_transfers(engine: str, place: Place) -> None:
    """Each of 1 MiB, four at a time: identical, and ended by a FIN."""
    from concurrent.futures import ThreadPoolExecutor

    with place.serve(engine) as server:

        def transfer(n: int) -> bool:
            with place.channel(server) as channel:
                data = DATA[n:] + DATA[:n]
                same = exchange(channel, data, 120) == data
                return same and channel.end == FIN and not channel.truncated

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(transfer, range(1000))) == 1000


def silent(place: Place, server: Server) -> Channel:
    """A connection that says nothing: over TLS, without a handshake."""
    (endpoint, *_) = resolve(server.addresses[0], tls=place.tls)
    from meari.net import connect

    return Channel(connect([endpoint], 5.0)[0])


@pytest.mark.parametrize("engine", ["event", "thread", "process"])
def test_two_hundred_silent_clients_delay_nobody(engine: str, place: Place) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(place.serve(engine, connections=300, drain=0.5))
        for _ in range(200):
            stack.enter_context(silent(place, server))
        # It is served once the 200 before it are accepted: on a busy machine, 200 forks later.
        with place.connect(server, 60.0) as rio:
            assert echo(rio, b"first") == b"first"
        began = time.monotonic()
        with place.connect(server) as rio:
            for _ in range(20):
                assert echo(rio, b"ping") == b"ping"
        assert time.monotonic() - began < 5
