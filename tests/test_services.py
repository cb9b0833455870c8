"""Services of other kinds than the echoes, on every engine: what a protocol may do, and what its
faults may not.
"""

from __future__ import annotations

import contextlib
import os
import time

import pytest

from meari import (
    ConnectError,
    Connection,
    Event,
    Events,
    Limits,
    LineEcho,
    Protocol,
    Server,
    Span,
    StreamEcho,
)

from .test_engines import Start, connect, echo
from .test_engines import engine as engine  # the fixtures
from .test_engines import start as start


class Greeting(Protocol):
    """A protocol with a greeting, an answer, an end of its own, and an error."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.done = False
        self.error: Exception | None = None

    def start(self) -> bytes:
        return b"hello\n"

    def receive(self, data: bytes, /) -> bytes:
        self.connection.received(len(data))
        if data.startswith(b"fail"):
            raise RuntimeError("a fault in the protocol")
        if data.startswith(b"bye"):
            self.done = True
            self.error = ValueError("they said bye")
            return b"farewell" * 100_000
        return data.upper()

    def eof(self) -> bytes:
        return b"end"


def test_any_protocol_runs(engine: str, start: Start) -> None:
    server = start(engine, Greeting)
    with connect(server) as rio:
        assert rio.readline() == b"hello\n"
        rio.writen(b"loud")
        assert rio.readexactly(4) == b"LOUD"
        rio.shutdown()
        assert rio.readn(10) == b"end"
    with connect(server) as rio:
        assert rio.readline() == b"hello\n"
        rio.writen(b"bye")
        assert rio.readn(10_000_000) == b"farewell" * 100_000
        rio.writen(b"?")  # after its FIN the far end reads on for a while: this resets nothing
    # The reset may be faster than its greeting is read.
    with contextlib.suppress(ConnectionResetError), connect(server) as rio:
        assert rio.readline() == b"hello\n"
        rio.writen(b"fail")
        rio.readn(10)
        raise AssertionError("a fault was told as an end of file")
    assert served_greeting(server)


def served_greeting(server: Server) -> bool:
    with connect(server) as rio:
        return rio.readline() == b"hello\n"


class Loud(Protocol):
    """What it takes at least."""

    def __init__(self, _: Connection) -> None:
        pass

    def receive(self, data: bytes, /) -> bytes:
        return data.upper()


class Lacking:
    """Less than it takes."""

    def __init__(self, connection: Connection) -> None:
        if connection.peer.port % 2:
            raise RuntimeError("a fault in the making")

    def receive(self, data: bytes, /) -> bytes:
        return data


def test_a_service_needs_little_and_one_that_is_wrong_harms_no_other(
    engine: str, start: Start
) -> None:
    server = start(engine, Loud)
    with connect(server) as rio:
        assert echo(rio, b"LOUD") == b"LOUD"
        rio.writen(b"quiet")
        assert rio.readexactly(5) == b"QUIET"
    broken = start(engine, Lacking)
    for _ in range(4):
        with (
            contextlib.suppress(ConnectionResetError, BrokenPipeError, ConnectError),
            connect(broken) as rio,
        ):
            rio.writen(b"x")
            rio.readn(1)
            raise AssertionError("a fault was told as an end of file")


class Late(Greeting):
    """A protocol that has to hear something in time, and reports it if it does not."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.within: float | None = 0.3

    def start(self) -> bytes:
        return b""

    def receive(self, data: bytes, /) -> bytes:
        self.within = None
        return super().receive(data)

    def wake(self) -> bytes:
        self.done, self.error = True, TimeoutError("heard nothing in time")
        return b"too late"


def test_a_protocol_keeps_time_by_wake(engine: str) -> None:
    reported: list[Event] = []
    with Server(
        "127.0.0.1:0", service=Late, engine=engine, events=Events(reported.append)
    ) as server:
        with connect(server) as rio:
            began = time.monotonic()
            assert rio.readn(100) == b"too late"
            assert 0.2 < time.monotonic() - began < 3
        with connect(server) as rio:
            assert echo(rio, b"HERE") == b"HERE"
            time.sleep(0.6)
            assert echo(rio, b"STILL") == b"STILL"
    if engine != "process":  # whose events are another process's
        assert "heard nothing in time" in [event.detail for event in reported]


class Beating(Protocol):
    """Sends something whenever it has heard nothing for a while."""

    within = 0.1

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def receive(self, data: bytes, /) -> bytes:
        return data

    def wake(self) -> bytes:
        return b"beat"


def test_wake_comes_again_and_again(engine: str, start: Start) -> None:
    with connect(start(engine, Beating)) as rio:
        began = time.monotonic()
        assert rio.readexactly(12) == b"beat" * 3
        assert 0.25 < time.monotonic() - began < 3


FILE = os.open(__file__, os.O_RDONLY)  # for as long as this process lives


class Long(Protocol):
    """An output in many pieces, some of them spans of a file."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.left = 0

    def receive(self, data: bytes, /) -> bytes:
        self.left = 100 * data.count(b"\n")
        return b"begin\n"

    def more(self) -> bytes | Span:
        if not self.left:
            return b""
        self.left -= 1
        return Span(FILE, 3, os.fstat(FILE).st_size - 3) if self.left % 2 else b"text" * 10_000

    def eof(self) -> bytes:
        return b"end"


def test_a_long_output_comes_piece_by_piece_and_before_more_is_read(
    engine: str, start: Start
) -> None:
    size = os.stat(__file__).st_size - 3
    with open(__file__, "rb") as file:
        text = file.read()[3:]
    with connect(start(engine, Long)) as rio:
        rio.writen(b"\n")
        assert rio.readexactly(6) == b"begin\n"
        assert rio.readexactly(size) == text
        assert rio.readexactly(40_000) == b"text" * 10_000
        rio.writen(b"\n")
        rio.shutdown()
        time.sleep(0.2)  # it waits for us to read
        rest = rio.readn(1 << 30)
    assert len(rest) == 49 * (size + 40_000) + 6 + 50 * (size + 40_000) + 3 and rest.endswith(
        b"end"
    )


LARGE = os.memfd_create("large")  # for as long as this process lives
os.truncate(LARGE, 20 << 20)


class Large(Long):
    def more(self) -> bytes | Span:
        self.left, left = 0, self.left
        return Span(LARGE, 0, 20 << 20) if left else b""


def test_a_large_span_comes_whole_to_a_fast_reader(engine: str, start: Start) -> None:
    with connect(start(engine, Large)) as rio:
        for _ in range(3):
            rio.writen(b"\n")
            assert len(rio.readexactly(6 + (20 << 20))) == 6 + (20 << 20)


class Short(Long):
    def more(self) -> bytes | Span:
        return Span(FILE, 0, 1 << 40)


def test_a_file_that_is_shorter_than_its_span_is_a_reset_not_an_end(
    engine: str, start: Start
) -> None:
    with pytest.raises(ConnectionResetError), connect(start(engine, Short)) as rio:
        rio.writen(b"\n")
        rio.readn(1 << 30)


class Ends(Greeting):
    """Tells the peer's end from ours."""

    def eof(self) -> bytes:
        return b"yours"

    def close(self) -> bytes:
        return b"ours"


def test_the_peer_s_end_is_not_ours(engine: str) -> None:
    with Server("127.0.0.1:0", service=Ends, engine=engine, limits=Limits(idle=0.3)) as server:
        with connect(server) as rio:
            rio.shutdown()
            assert rio.readn(100) == b"hello\nyours"
        with connect(server) as rio:
            assert rio.readn(100) == b"hello\nours"


def test_protocols_are_protocols() -> None:
    made: list[Protocol] = []
    connection = Connection(None, Events())  # type: ignore[arg-type]
    made += [StreamEcho(connection), LineEcho(connection), Greeting(connection)]
    assert [protocol.done for protocol in made] == [False] * 3
