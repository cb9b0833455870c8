"""Services of other kinds than the echoes, on every engine: what a protocol may do, and what its faults may not."""

from __future__ import annotations

import contextlib
import time

from meari import ConnectError, Connection, Events, LineEcho, Protocol, Server, StreamEcho

from .test_engines import Start, connect, echo
from .test_engines import engine as engine  # the fixtures
from .test_engines import start as start


class Greeting:
    """A protocol with something of everything: a greeting, an answer, an end of its own, an error."""

    set_up_within: float | None = None
    reflects = False

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

    def finish(self) -> bytes:
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
    with contextlib.suppress(ConnectionResetError), connect(server) as rio:  # the reset may be faster than its greeting is read
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


def test_a_service_needs_little_and_one_that_is_wrong_harms_no_other(engine: str, start: Start) -> None:
    server = start(engine, Loud)
    with connect(server) as rio:
        assert echo(rio, b"LOUD") == b"LOUD"
        rio.writen(b"quiet")
        assert rio.readexactly(5) == b"QUIET"
    broken = start(engine, Lacking)
    for _ in range(4):
        with contextlib.suppress(ConnectionResetError, BrokenPipeError, ConnectError), connect(broken) as rio:
            rio.writen(b"x")
            rio.readn(1)
            raise AssertionError("a fault was told as an end of file")


class Late(Greeting):
    """A protocol that is not set up until it has heard something."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.set_up_within: float | None = 0.3

    def start(self) -> bytes:
        return b""

    def receive(self, data: bytes, /) -> bytes:
        self.set_up_within = None
        return super().receive(data)


def test_who_is_not_set_up_in_time_is_ended(engine: str, start: Start) -> None:
    server = start(engine, Late)
    with connect(server) as rio:
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            rio.readn(10)
        assert time.monotonic() - began < 3
    with connect(server) as rio:
        assert echo(rio, b"HERE") == b"HERE"
        time.sleep(0.6)
        assert echo(rio, b"STILL") == b"STILL"


def test_protocols_are_protocols() -> None:
    made: list[Protocol] = []
    connection = Connection(None, Events())  # type: ignore[arg-type]
    made += [StreamEcho(connection), LineEcho(connection), Greeting(connection)]
    assert [protocol.done for protocol in made] == [False] * 3
