from __future__ import annotations

import json
import math
import os
import re
import time

import pytest

from meari.address import Address
from meari.events import Event, Events, Kind
from meari.report.events import attributes, escape, text
from meari.units import size
from meari.wire.protocol import Connection
from meari.writer import Pipe, decode, encode


def peer(n: int = 0) -> Address:
    return Address("127.0.0.1", 50000 + n)


@pytest.fixture
def told() -> list[Event]:
    return []


def test_ten_of_a_kind_are_told_and_the_rest_is_one(told: list[Event]) -> None:
    events = Events(told.append)
    for n in range(25):
        events.report(Event(Kind.CONNECTED, (peer(n),)))
        events.report(Event(Kind.CLOSED, (peer(n),), messages=2, bytes=10))
    assert len(told) == 20
    assert events.due < math.inf
    events.flush()
    connected, closed = told[20:]
    assert (connected.count, connected.connections) == (15, 15)
    assert (closed.count, closed.messages, closed.bytes) == (15, 30, 150)
    assert events.due == math.inf


def test_messages_are_counted_by_connection(told: list[Event]) -> None:
    events = Events(told.append)
    first, second, third = (Connection(peer(n), events) for n in range(3))
    for _ in range(9):
        first.received(5)
    for _ in range(4):
        second.received(7)  # the first of them is the tenth message
    third.received(11)
    assert [event.bytes for event in told] == [5] * 9 + [7]
    events.flush()
    rest = told[-1]
    assert (rest.count, rest.bytes) == (4, 3 * 7 + 11)
    assert (rest.peers, rest.others, rest.connections) == ((peer(1),), 1, 2)
    assert text(rest) == "... and 4 more messages, 32 bytes, from 2 connections"
    assert (first.messages, second.messages, second.bytes) == (9, 4, 28)
    first.received(1)
    assert told[-1].bytes == 1  # a new second
    events.flush()
    assert len(told) == 12  # and nothing was left of it


def test_sums_of_many_processes_count_each_connection_once() -> None:
    told: list[Event] = []
    writer = Events(told.append)
    for process in range(3):
        one = Events(lambda event: writer.report(decode(encode(event)[:-1])))
        connections = [Connection(peer(10 * process + n), one) for n in range(4)]
        for connection in connections * 25:
            connection.received(1)
        one.flush()
    writer.flush()
    assert [event.count for event in told] == [1] * 10 + [290]
    assert told[-1].connections == 12


def test_verbose_tells_every_connection_but_not_every_message(told: list[Event]) -> None:
    events = Events(told.append, verbose=True)
    connection = Connection(peer(), events)
    for _ in range(30):
        connection.connected()
        connection.received(1)
    assert len(told) == 40


def test_a_state_is_told_once_a_second_and_never_summed(told: list[Event]) -> None:
    events = Events(told.append)
    for _ in range(100):
        events.report(Event(Kind.WAITING, detail="3 clients wait"))
    events.flush()
    assert len(told) == 1


def test_a_tick_before_its_time_does_nothing(told: list[Event]) -> None:
    events = Events(told.append)
    for _ in range(12):
        events.report(Event(Kind.CONNECTED, (peer(),)))
    events.tick()
    assert len(told) == 10
    events.due = time.monotonic() - 1
    events.tick()
    assert told[-1].count == 2


def test_a_full_pipe_drops_and_counts() -> None:
    read, write = os.pipe()
    dropped = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    hand = Pipe(write, dropped)
    for _ in range(5000):
        hand(Event(Kind.CONNECTED, (peer(),)))
    os.set_blocking(read, False)
    taken = [decode(line) for line in os.read(read, 1 << 20).splitlines()]
    hand(Event(Kind.CONNECTED, (peer(),)))
    taken += [decode(line) for line in os.read(read, 1 << 20).splitlines()]
    missing = os.eventfd_read(dropped)
    assert sum(event.count for event in taken) + missing == 5001  # each is there, or counted
    assert missing > 1000
    os.close(read)
    hand(Event(Kind.CONNECTED, (peer(),)))  # nobody is there any more: no error
    hand.close()


def test_a_handed_event_is_never_more_than_the_pipe_takes_whole() -> None:
    long = Event(
        Kind.FAILED, tuple(Address("f" * 45, n) for n in range(500)), detail="\x1b" * 10_000
    )
    line = encode(long)
    assert len(line) <= 4096
    assert line.count(b"\n") == 1
    assert decode(line).connections == 500


ONE = Event(Kind.CLOSED, (Address("127.0.0.1", 51234),), messages=3, bytes=18, seconds=1.2)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event(Kind.LISTENING, detail="tcp://0.0.0.0:7007"), "listening on tcp://0.0.0.0:7007"),
        (Event(Kind.CONNECTED, ONE.peers), "Connected to (127.0.0.1, 51234)"),
        (
            Event(Kind.RECEIVED, ONE.peers, bytes=6),
            "server received 6 bytes from (127.0.0.1, 51234)",
        ),
        (
            Event(Kind.RECEIVED, ONE.peers, bytes=1),
            "server received 1 byte from (127.0.0.1, 51234)",
        ),
        (ONE, "closed (127.0.0.1, 51234) after 3 messages, 18 bytes, 1.2 s"),
        (
            Event(Kind.RECEIVED, others=64, count=84112, bytes=5_400_000),
            "... and 84,112 more messages, 5.4 MB, from 64 connections",
        ),
        (Event(Kind.CUT, count=3), "reset 3 connections at the drain limit"),
        (
            Event(Kind.DROPPED, count=1234),
            "... 1,234 events not written: this output was not read",
        ),
    ],
)
def test_the_books_words(event: Event, line: str) -> None:
    assert text(event) == line


def test_what_a_peer_controls_is_escaped() -> None:
    line = text(Event(Kind.CONNECTED, (Address("evil\x1b[31m\n메아리", 1),)))
    assert re.fullmatch(r"[ -~]+", line)
    assert "\\x1b" in line
    assert re.fullmatch(r"[ -~]+", text(Event(Kind.FAILED, ONE.peers, detail="\r\n\x00\u202e")))
    assert "\n" not in json.dumps(attributes(Event(Kind.FAILED, ONE.peers, detail="\n")))
    assert escape("plain text") == "plain text"


def test_json_has_opentelemetrys_names() -> None:
    found = attributes(ONE)
    assert found["network.peer.address"] == "127.0.0.1"
    assert found["network.peer.port"] == 51234
    assert found["network.transport"] == "tcp"
    assert found["network.type"] == "ipv4"
    assert found["event.name"] == "meari.closed"
    assert (found["meari.messages"], found["meari.bytes"], found["meari.seconds"]) == (3, 18, 1.2)
    assert str(found["timestamp"]).endswith("Z")
    listening = attributes(Event(Kind.LISTENING, detail="tcp://[::1]:7007"))
    assert (listening["network.local.address"], listening["network.local.port"]) == ("::1", 7007)


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (5.4e6, "5.4 MB"),
        (2e15, "2,000.0 TB"),
    ],
)
def test_sizes(n: float, words: str) -> None:
    assert size(n) == words


def test_summing_up_many_connections_takes_no_time_to_speak_of(told: list[Event]) -> None:
    events = Events(told.append)
    began = time.monotonic()
    for n in range(20_000):
        events.report(Event(Kind.CLOSED, (Address("127.0.0.1", n),)))
    events.flush()
    assert (told[-1].count, told[-1].connections) == (19_990, 19_990)
    assert time.monotonic() - began < 5
