"""The two echoes, with no I/O: whole, byte by byte, and in every split."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meari.address import Address
from meari.errors import Refused, UsageError
from meari.wire.allow import allowing, parse_network
from meari.wire.echo import LineEcho, StreamEcho
from meari.wire.protocol import Connection, Protocol


class Meter:
    """A meter that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[int] = []

    def connected(self, connection: Connection) -> None:
        pass

    def received(self, connection: Connection, n: int) -> None:
        self.messages.append(n)


def connection(host: str = "127.0.0.1") -> tuple[Connection, Meter]:
    meter = Meter()
    return Connection(Address(host, 51234), meter), meter


def pieces(data: bytes, limit: int) -> list[int]:
    """The lengths of the messages that LineEcho makes of *data*: the model."""
    found = []
    while data:
        newline = data.find(b"\n", 0, limit)
        n = newline + 1 if newline >= 0 else min(limit, len(data))
        found.append(n)
        data = data[n:]
    return found


DATA = st.lists(st.sampled_from([b"\n", b"a", b"\0", b"\r\n", b"hello"]), max_size=60).map(b"".join)


@settings(max_examples=300)
@given(DATA, st.lists(st.integers(1, 9), max_size=60), st.integers(1, 20))
def test_lines_come_back_the_same_under_every_split(
    data: bytes, sizes: list[int], limit: int
) -> None:
    one, meter = connection()
    protocol = LineEcho(one, limit)
    out, rest = protocol.start(), data
    for size in sizes:
        out += protocol.receive(rest[:size])
        rest = rest[size:]
        came = data[: len(data) - len(rest)]
        assert came.startswith(out)
        held = len(came) - len(out)
        assert held < limit
        assert b"\n" not in came[len(out) :]  # a line is held only until its newline is there
    out += protocol.receive(rest) + protocol.eof()
    assert out == data
    assert meter.messages == pieces(data, limit)
    assert not protocol.done


def test_five_lines_in_one_read_are_five_messages() -> None:
    one, meter = connection()
    assert LineEcho(one).receive(b"a\nbb\n\nc\r\nd\0\n") == b"a\nbb\n\nc\r\nd\0\n"
    assert meter.messages == [2, 3, 1, 3, 3]


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_a_stream_comes_back_at_once(reads: list[bytes]) -> None:
    one, _ = connection()
    protocol: Protocol = StreamEcho(one)
    assert protocol.reflects
    assert protocol.start() == b""
    assert [protocol.receive(data) for data in reads] == reads
    assert protocol.eof() == b""


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", False),
        ("::ffff:127.0.0.9", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("2001:db8::1", False),
    ],
)
def test_only_allowed_networks_are_served(host: str, admitted: bool) -> None:
    service = allowing([parse_network(n) for n in ("127.0.0.0/8", "::1", "fe80::/10")], StreamEcho)
    one, _ = connection(host)
    if admitted:
        assert isinstance(service(one), StreamEcho)
    else:
        with pytest.raises(Refused):
            service(one)


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "10.0.0.1/8", "host", "²"])
def test_a_network_that_is_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_network(text)
