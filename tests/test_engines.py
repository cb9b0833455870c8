"""One conformance suite: what holds on every engine, and what does not on those that serve few at a
time.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from meari import (
    ConnectError,
    Event,
    Events,
    Limits,
    LineEcho,
    Rio,
    Server,
    StreamEcho,
    UsageError,
    open_client,
)
from meari.engines import ENGINES
from meari.events import Kind
from meari.wire.protocol import Service
from meari.writer import Pipe, decode

from .program import until

ALL = list(ENGINES)
MANY = [name for name in ALL if name != "iterative"]  # these serve clients at the same time

Start = Callable[..., Server]


@pytest.fixture(params=ALL)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start servers that stop at the end of the test."""
    with contextlib.ExitStack() as stack:

        def begin(
            engine: str,
            service: Service = StreamEcho,
            events: Events | None = None,
            workers: int = 1,
            **limits: float,
        ) -> Server:
            held = Limits(**{"drain": 5.0, **limits})  # type: ignore[arg-type]
            server = Server(
                "127.0.0.1:0",
                engine=engine,
                service=service,
                limits=held,
                events=events,
                workers=workers,
            )
            return stack.enter_context(server)

        yield begin


def connect(server: Server, timeout: float = 20.0) -> Rio:
    rio = open_client(server.addresses[0], 5.0)
    rio.deadline = time.monotonic() + timeout
    return rio


def echo(rio: Rio, data: bytes) -> bytes:
    rio.writen(data)
    return rio.readexactly(len(data))


def test_events_tell_a_connection_in_the_books_words(engine: str, start: Start) -> None:
    read, write = os.pipe()  # the process engine's events come from other processes
    pipe = Pipe(write, os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
    server = start(engine, LineEcho, Events(pipe))
    with connect(server) as rio:
        echo(rio, b"a\nbb\n")
        here = rio.sock.getsockname()[1]
        rio.shutdown()
        assert rio.read() == b""
    got = b""
    while b'"closed"' not in got:
        got += os.read(read, 65536)
    events = [decode(line) for line in got.splitlines()]
    assert [e.kind for e in events] == [
        Kind.LISTENING,
        Kind.CONNECTED,
        Kind.RECEIVED,
        Kind.RECEIVED,
        Kind.CLOSED,
    ]
    assert all(e.peers[0].port == here for e in events[1:])
    assert [e.bytes for e in events[2:]] == [2, 3, 5]
    assert events[-1].messages == 2
    os.close(read)
    pipe.close()


@pytest.mark.parametrize(
    "stage", ["at once", "after a write", "with bytes unread", "while the far end writes"]
)
def test_a_reset_ends_its_own_connection_alone(engine: str, start: Start, stage: str) -> None:
    server = start(engine, threads=2)
    for _ in range(20):
        rio = connect(server)
        rio.sock.setblocking(False)
        if stage == "after a write":
            rio.sock.send(b"x")
        elif stage == "with bytes unread":
            rio.sock.send(b"x" * 100)
            until(partial(ready, rio))
        elif stage == "while the far end writes":
            with contextlib.suppress(BlockingIOError):
                while True:
                    rio.sock.send(bytes(65536))
        rio.abort()
    with connect(server) as rio:
        assert echo(rio, b"still here") == b"still here"


def ready(rio: Rio) -> bool:
    with contextlib.suppress(BlockingIOError):
        return bool(rio.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    return False


@pytest.mark.parametrize("engine", MANY)
def test_a_peer_that_never_reads_slows_nobody(engine: str, start: Start) -> None:
    server = start(engine)
    with connect(server) as deaf, connect(server) as half, connect(server) as rio:
        half.writen(b"half a li")
        stuff(deaf)
        began = time.monotonic()
        for _ in range(200):
            assert echo(rio, b"ping") == b"ping"
        assert time.monotonic() - began < 5


def stuff(rio: Rio) -> None:
    """Write until nothing more goes, and read nothing: both ends' buffers are full."""
    quiet = 0
    while quiet < 10:
        try:
            rio.sock.send(bytes(65536), socket.MSG_DONTWAIT)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            time.sleep(0.02)


def test_who_writes_all_before_reading_gets_all(engine: str, start: Start) -> None:
    with connect(start(engine)) as rio:
        data, sent = random.Random(3).randbytes(1 << 20), 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):  # as far as the buffers of the kernel allow
                sent += rio.sock.send(data[sent:], socket.MSG_DONTWAIT)
        rio.shutdown()
        assert rio.readn(len(data)) == data[:sent]
        assert sent > 100_000


def test_a_limit_makes_clients_wait_and_tells_it(engine: str, start: Start) -> None:
    told: list[Event] = []
    places = 1 if engine == "iterative" else 3
    limits: dict[str, float] = {"prethread": {"threads": 3}}.get(engine, {"connections": places})  # type: ignore[assignment]
    events = None if engine == "process" else Events(told.append)
    server = start(engine, events=events, **limits)
    inside = [connect(server) for _ in range(places)]
    for rio in inside:
        assert echo(rio, b"in") == b"in"
    waiting = [connect(server) for _ in range(2)]
    for rio in waiting:
        rio.writen(b"waits")
    if events is not None:
        until(lambda: any(e.kind is Kind.WAITING for e in told))
        assert "wait" in next(e.detail for e in told if e.kind is Kind.WAITING)
    assert echo(inside[0], b"still") == b"still"
    assert not any(ready(rio) for rio in waiting)
    for rio in inside:
        rio.close()
    for rio in waiting:
        assert rio.readexactly(5) == b"waits"
        rio.close()


@pytest.mark.parametrize("engine", MANY)
def test_a_source_that_takes_too_many_is_reset(engine: str, start: Start) -> None:
    server = start(engine, per_source=2)
    with connect(server) as first, connect(server) as second:
        assert echo(first, b"1") + echo(second, b"2") == b"12"
        # connect(2) may see the reset, or the first read
        with pytest.raises((ConnectError, ConnectionResetError)), connect(server) as third:
            third.read()
    until(lambda: served(server))


def served(server: Server) -> bool:
    with contextlib.suppress(OSError, ConnectError), connect(server) as rio:
        return echo(rio, b"?") == b"?"
    return False


def test_an_idle_connection_is_closed_when_asked_for(engine: str, start: Start) -> None:
    with connect(start(engine, LineEcho, idle=0.3)) as rio:
        for _ in range(4):
            assert echo(rio, b"busy\n") == b"busy\n"
            time.sleep(0.15)
        rio.writen(b"held")
        began = time.monotonic()
        assert rio.readn(100) == b"held"  # nothing that came is lost
        assert 0.2 < time.monotonic() - began < 3


def test_a_peer_that_stops_reading_is_idle_too(engine: str, start: Start) -> None:
    with connect(start(engine, idle=0.8)) as rio:
        stuff(rio)
        # TCP_CLOSE: reset.
        until(lambda: rio.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == bytes([7]))


def test_an_idle_connection_stays_when_not_asked(engine: str, start: Start) -> None:
    with connect(start(engine)) as rio:
        time.sleep(0.7)
        assert echo(rio, b"awake") == b"awake"


def drained(server: Server) -> Callable[[], float]:
    """Stop the server beside us; what is returned waits for the end and tells how long it took."""
    began = time.monotonic()
    server.stop()

    def wait() -> float:
        server.__exit__()
        return time.monotonic() - began

    return wait


@pytest.mark.parametrize(
    "engine", ["event", pytest.param("thread", marks=pytest.mark.long)]
)  # of the running program test_endurance.py tests it on every engine
def test_the_stop_echoes_what_is_under_way_and_resets_nobody(engine: str) -> None:
    server = Server(
        "127.0.0.1:0", engine=engine, limits=Limits(connections=4, threads=4, drain=20)
    ).__enter__()
    places = 1 if engine == "iterative" else 4
    idle = [connect(server) for _ in range(places - 1)]
    for rio in idle:
        assert echo(rio, b"i") == b"i"
    active = connect(server)
    assert echo(active, b"a") == b"a"
    time.sleep(1.1 if idle else 0)  # the others have been quiet
    queued = [connect(server) for _ in range(3)]
    for rio in queued:
        rio.writen(b"queued")
    assert echo(active, b"b") == b"b"
    wait = drained(server)
    for _ in range(5):
        time.sleep(0.1)
        assert echo(active, b"more") == b"more"
    assert active.readn(1) == b""  # quiet for a second: the end of file
    for rio in idle:
        assert rio.readn(1) == b""
    for rio in [active, *idle]:
        rio.close()
    for rio in queued:
        assert rio.readn(100) == b"queued"
        rio.close()
    assert wait() < 15
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.addresses[0].host or "", server.addresses[0].port))


def test_at_the_drain_limit_the_rest_is_reset(engine: str) -> None:
    server = Server("127.0.0.1:0", engine=engine, limits=Limits(drain=0.5)).__enter__()
    with connect(server) as busy:
        assert echo(busy, b"x") == b"x"
        wait = drained(server)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                echo(busy, b"never quiet")
        assert wait() < 5


def test_an_engine_returns_when_it_has_served_as_many_as_it_may(engine: str, start: Start) -> None:
    server = start(engine, accept=1)
    with connect(server) as rio:
        assert echo(rio, b"the one") == b"the one"
        # Whose supervisor keeps the listener, so that a second client waits in vain.
        if engine != "process":
            with pytest.raises((ConnectError, ConnectionResetError)), connect(server) as second:
                second.read()
        assert echo(rio, b"still") == b"still"


def test_workers_share_one_port(start: Start) -> None:
    server = start("event", workers=3)
    clients = [connect(server) for _ in range(30)]
    for rio in clients:
        assert echo(rio, b"x") == b"x"
        rio.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"engine": "fork"}, "no engine"),
        ({"workers": 2, "engine": "thread"}, "only the event engine"),
        ({"workers": 0}, "workers"),
        ({"limits": Limits(connections=10_000_000)}, "descriptor limit"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_opened(
    options: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason), Server("127.0.0.1:0", **options):  # type: ignore[arg-type]
        pass


def test_a_server_needs_an_address_and_a_limit_a_positive_number() -> None:
    with pytest.raises(UsageError):
        Server()
    with pytest.raises(UsageError):
        Limits(idle=0)
    with pytest.raises(UsageError):
        Limits(drain=-1)


# The blocking engines share it.
@pytest.mark.parametrize("engine", ["event", pytest.param("iterative", marks=pytest.mark.long)])
def test_a_slow_reader_gets_all_after_our_end_of_file(engine: str) -> None:
    """It is idle when the stop comes, and the kernel still holds its echo: the end of file has to
    wait behind that.
    """
    server = Server("127.0.0.1:0", engine=engine, limits=Limits(drain=20)).__enter__()
    with connect(server, 40) as rio:
        data, sent = random.Random(8).randbytes(3_000_000), 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                sent += rio.sock.send(data[sent : sent + 65536], socket.MSG_DONTWAIT)
        time.sleep(0.3)
        wait = drained(server)
        time.sleep(3.5)  # longer than quiet and lingering together
        with contextlib.suppress(BlockingIOError):
            # Would reset a connection that is closed already.
            rio.sock.send(b"x", socket.MSG_DONTWAIT)
        rio.shutdown()
        got = rio.readn(sent + 1)
        assert got[:sent] == data[:sent]
        assert len(got) <= sent + 1
    assert wait() < 20


def test_urgent_data_is_data(engine: str, start: Start) -> None:
    with connect(start(engine)) as rio:
        rio.sock.send(b"abc")
        rio.sock.send(b"X", socket.MSG_OOB)
        rio.sock.send(b"def")
        assert rio.readexactly(7) == b"abcXdef"


def test_a_server_can_be_used_again() -> None:
    server = Server("127.0.0.1:0")
    for _ in range(2):
        with server, connect(server) as rio:
            assert echo(rio, b"again") == b"again"


@pytest.mark.parametrize("limits", [Limits(connections=2), Limits(per_source=1)])
def test_what_cannot_be_divided_is_refused(limits: Limits) -> None:
    with pytest.raises(UsageError, match="divided"):
        Server("127.0.0.1:0", limits=limits, workers=3)


def test_at_the_cap_nobody_is_said_to_wait_who_does_not(start: Start) -> None:
    told: list[Event] = []
    server = start("event", events=Events(told.append), connections=1)
    with connect(server) as rio:
        for _ in range(20):
            assert echo(rio, b"alone") == b"alone"
    assert not any(e.kind is Kind.WAITING for e in told)
