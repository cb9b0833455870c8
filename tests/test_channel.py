"""Channel: the near end's driver of a socket; and layers, which lie over it there and over any
engine.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from meari import ConnectError, Connection, Events, Limits, Protocol, Server, StreamEcho
from meari.channel import FIN, RESET, Channel, open_channel, reason
from meari.engines import ENGINES
from meari.net import resolve
from meari.wire.layer import Layer, Layered

from . import servers


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel, and the socket at its other end, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    with Channel(near) as channel, far:
        yield channel, far


def wait(channel: Channel, *, reading: bool = True, writing: bool = False) -> None:
    poller = select.poll()
    poller.register(channel.fileno(), channel.mask(reading=reading, writing=writing))
    assert poller.poll(10_000)


def read_all(channel: Channel, seconds: float = 20.0) -> bytes:
    """What comes until the end."""
    came = b""
    until = time.monotonic() + seconds
    while (data := channel.read()) != b"":
        assert time.monotonic() < until
        came += data or b""
        if data is None:
            wait(channel)
            channel.flush()
    return came


def test_reads_and_writes_never_wait(ends: tuple[Channel, socket.socket]) -> None:
    channel, far = ends
    assert channel.read() is None and channel.ready
    written = 0
    while n := channel.write(bytes(1 << 20)):
        written += n
    assert channel.failed is None
    far.settimeout(10)
    while written:
        written -= len(far.recv(1 << 20))
    wait(channel, writing=True)
    assert channel.write(b"x") == 1
    far.sendall(b"some")
    wait(channel)
    assert channel.read() == b"some"


def test_a_fin_is_an_end_and_what_came_before_it_comes_first(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, far = ends
    far.sendall(b"last")
    far.shutdown(socket.SHUT_WR)
    assert read_all(channel) == b"last"
    assert (channel.end, channel.read(), channel.mask(reading=True, writing=True)) == (FIN, b"", 0)
    assert channel.write(b"still") == 5  # our direction is open
    channel.half_close()
    assert far.recv(100) == b"still" and far.recv(1) == b""


def test_a_reset_is_told_from_a_fin(ends: tuple[Channel, socket.socket]) -> None:
    channel, far = ends
    servers.reset(far)
    assert read_all(channel) == b""
    assert channel.end == RESET and "reset" in reason(channel.end)


def test_the_error_of_a_failed_write_is_the_end_that_the_read_finds(
    ends: tuple[Channel, socket.socket],
) -> None:
    """The kernel reports it once: the read after it finds an end of file (and would tell a FIN)."""
    channel, far = ends
    servers.reset(far)
    wait(channel)
    while channel.failed is None:
        channel.write(b"x")
    assert channel.write(b"x") == 0
    assert not channel.mask(reading=True, writing=True) & select.POLLOUT
    assert read_all(channel) == b"" and channel.end == RESET


def test_what_was_read_too_early_can_be_given_back(ends: tuple[Channel, socket.socket]) -> None:
    channel, far = ends
    far.sendall(b"abc")
    wait(channel)
    channel.unread(channel.read() or b"")
    assert channel.read() == b"abc"


# Layers


class Boxes(Layer):
    """A layer like TLS, but that anybody can read: a handshake of one record each way, then records
    with a length.

    D and two bytes of length: data, each byte turned; E: the end; H: the handshake; A: an alert.
    """

    def __init__(
        self, *, client: bool, spoils: bool = False, patience: float | None = None
    ) -> None:
        self.ready = self.ended = False
        self.error: Exception | None = None
        self.within = patience
        self._in = b""
        self._early = b""
        self._out = b"H" if client else b""
        self._client, self._closed, self._spoils = client, False, spoils

    def feed(self, wire: bytes, /) -> bytes:
        self._in += wire
        plain = b""
        while self._in and self.error is None and not self.ended:
            kind = self._in[:1]
            if kind == b"D" and self.ready:
                size = int.from_bytes(self._in[1:3], "big")
                if len(self._in) < 3 + size:
                    break
                plain += bytes(byte ^ 0x55 for byte in self._in[3 : 3 + size])
                self._in = self._in[3 + size :]
                continue
            self._in = self._in[1:]
            if kind == b"H" and not self.ready:
                self.ready, self.within = True, None
                self._out += b"" if self._client else b"H"
                early, self._early = self._early, b""
                self.send(early)
            elif kind == b"E":
                self.ended = True
            else:
                self.error = ConnectionError(f"a wrong record: {kind!r}")
                self._out += b"A"
        return plain

    def eof(self) -> None:
        if not self.ended and self.error is None:
            self.error = ConnectionError("truncated: no end before the FIN")

    def send(self, data: bytes, /) -> None:
        if not self.ready:
            self._early += data
            return
        for at in range(0, len(data), 1000):
            piece = bytes(byte ^ 0x55 for byte in data[at : at + 1000])
            self._out += b"D" + len(piece).to_bytes(2, "big") + piece

    def close(self) -> None:
        if self.ready and not self._closed and not self._spoils:
            self._closed = True
            self._out += b"E"

    def wake(self) -> None:
        self.error, self.within = TimeoutError("no handshake in time"), None

    def take(self) -> bytes:
        out, self._out = self._out, b""
        return out


def boxed(connection: Connection) -> Protocol:
    return Layered(Boxes(client=False, patience=0.5), StreamEcho(connection), connection)


def opened(server: Server, **options: bool) -> Channel:
    (endpoint,) = resolve(server.addresses[0])
    return open_channel(
        [replace(endpoint, layer=lambda: Boxes(client=True, **options))], 10
    ).channel


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_layer_over_every_engine(engine: str) -> None:
    data = bytes(range(256)) * 400
    with Server("127.0.0.1:0", engine=engine, service=boxed) as server, opened(server) as channel:
        left, came = memoryview(data), b""
        while left:
            left = left[channel.write(left) :]
            came += channel.read() or b""
        channel.half_close()
        came += read_all(channel)
        assert came == data and channel.end == FIN


@pytest.mark.parametrize("engine", list(ENGINES))
def test_data_and_the_end_in_one_segment_are_both_heeded(engine: str) -> None:
    with (
        Server("127.0.0.1:0", engine=engine, service=boxed) as server,
        socket.create_connection(("127.0.0.1", server.addresses[0].port)) as raw,
    ):
        raw.settimeout(10)
        raw.sendall(b"HD\0\3" + bytes(byte ^ 0x55 for byte in b"abc") + b"E")
        raw.shutdown(socket.SHUT_WR)
        came = b""
        while data := raw.recv(100):
            came += data
        assert came == b"HD\0\3" + bytes(byte ^ 0x55 for byte in b"abc") + b"E"


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_stream_that_ends_without_the_layer_s_end_is_truncated(engine: str) -> None:
    reported: list[str] = []
    events = Events(lambda event: reported.append(event.detail))
    with Server("127.0.0.1:0", engine=engine, service=boxed, events=events) as server:
        for wire in (b"H", b"HX", b""):  # the second is a wrong record, the last is silent
            with socket.create_connection(("127.0.0.1", server.addresses[0].port)) as raw:
                raw.settimeout(10)
                raw.sendall(wire)
                if wire == b"H":
                    raw.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    while raw.recv(100):
                        pass
    if engine != "process":  # whose events are another process's
        for text in ("truncated", "a wrong record", "no handshake in time"):
            assert any(text in detail for detail in reported), (text, reported)


def test_the_near_end_too_tells_what_is_truncated() -> None:
    def short(connection: Connection) -> Protocol:
        return Layered(Boxes(client=False, spoils=True), StreamEcho(connection), connection)

    with (
        Server("127.0.0.1:0", service=short, limits=Limits(idle=0.2)) as server,
        opened(server) as channel,
    ):
        assert channel.write(b"x") == 1
        assert read_all(channel) == b"x"
        assert channel.end == "truncated: no end before the FIN"


def test_a_handshake_that_does_not_end_is_no_connection() -> None:
    with servers.far_end(servers.swallow) as address:
        (endpoint,) = resolve(address)
        began = time.monotonic()
        with pytest.raises(ConnectError, match="handshake failed: it was not over in time"):
            open_channel([replace(endpoint, layer=lambda: Boxes(client=True))], 0.5)
        assert time.monotonic() - began < 5
    with servers.far_end(lambda sock, over: None) as address:
        (endpoint,) = resolve(address)
        with pytest.raises(
            ConnectError, match=r"handshake failed: (the far end closed|truncated|Connection reset)"
        ):
            open_channel([replace(endpoint, layer=lambda: Boxes(client=True))], 5)
