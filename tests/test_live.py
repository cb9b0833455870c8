"""The open connections that the status page lists: of every process, and of no other."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import typing
from collections.abc import Callable, Iterator

import pytest

from meari import Address
from meari.events import Event, Kind
from meari.live import LiveEvents, Table
from meari.wire.protocol import Connection

from .program import until
from .test_status import Status
from .test_tiny import ENGINES

Rows = list[dict[str, typing.Any]]


@contextlib.contextmanager
def watched(port: int, **headers: str) -> Iterator[Callable[[], Rows]]:
    """What the page gets, each time."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, 20)) as client:
        client.request("GET", "/live", headers=headers)
        answer = client.getresponse()

        def read() -> Rows:
            while not (line := answer.readline()).startswith(b"data: "):
                assert line, "the stream has ended"
            found = json.loads(line.removeprefix(b"data: "))["connections_shown"]
            assert isinstance(found, list)
            return found

        yield read


def listed(port: int, **headers: str) -> Rows:
    with watched(port, **headers) as read:
        return read()


CONCURRENT = [engine for engine in ENGINES if engine != "iterative"]


@pytest.mark.parametrize(
    "options",
    [*(("--engine", engine) for engine in CONCURRENT), ("--workers", "2")],
    ids=lambda options: options[-1],
)
def test_open_connections_are_listed(options: tuple[str, ...]) -> None:
    status = Status(*options)
    with status.server, contextlib.ExitStack() as opened:
        clients = []
        for n in range(3):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", status.port), 20))
            client.sendall(b"x" * (n + 1))
            assert client.recv(10)
            clients.append(client)
        names = {f"127.0.0.1:{client.getsockname()[1]}": n + 1 for n, client in enumerate(clients)}

        read = opened.enter_context(watched(status.http))

        def found() -> dict[str, int]:
            rows = [row for row in read() if row["peer"] in names]
            assert all(row["protocol"] == "tcp" and row["messages"] <= 1 for row in rows)
            assert all(0 <= row["age"] < 60 for row in rows)
            return {row["peer"]: row["bytes"] for row in rows}

        until(lambda: found() == names, 20)
        name = f"127.0.0.1:{clients[0].getsockname()[1]}"
        clients[0].close()
        until(lambda: name not in found(), 20)
        assert len(found()) == 2


def test_addresses_are_for_visitors_from_this_machine() -> None:
    status = Status()
    with status.server:
        assert listed(status.http)[0]["peer"].startswith("127.0.0.1:")
        for headers in (
            {"X-Forwarded-For": "192.0.2.1"},
            {"Forwarded": "for=192.0.2.1"},
            {"Via": "1.1 cache"},
            {"Host": "rebound.example"},
            {"Host": "localhost.example:80"},
            {"X-Request-Id": "1"},
            {"X-Forwarded-Proto": "https"},
        ):
            rows = listed(status.http, **headers)
            assert rows and all(row["peer"] == "" for row in rows), headers
    status = Status("--show-peers")
    with status.server:
        assert listed(status.http, Host="far.example")[0]["peer"].startswith("127.0.0.1:")


def test_a_connection_of_a_proxy_is_not_local() -> None:
    status = Status("--proxy-from", "127.0.0.1")
    with status.server, socket.create_connection(("127.0.0.1", status.http), 20) as client:
        client.sendall(b"PROXY UNKNOWN\r\nGET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        text = b""
        while b"\n\n" not in text:
            text += client.recv(65536)
    assert b'"peer": ""' in text and b'"peer": "1' not in text


def test_a_request_tells_the_protocol() -> None:
    status = Status()
    with (
        status.server,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", status.http, 20)) as client,
    ):
        client.request("GET", "/healthz")
        client.getresponse().read()
        assert client.sock is not None
        name = f"127.0.0.1:{client.sock.getsockname()[1]}"
        rows = [row for row in listed(status.http) if row["peer"] == name]
        assert [row["protocol"] for row in rows] == ["http"]


def ended(connection: Connection) -> Event:
    messages, total = connection.messages, connection.bytes
    return Event(Kind.CLOSED, (connection.peer,), messages=messages, bytes=total)


def test_connections_with_one_name_are_told_by_their_counts() -> None:
    table = Table()
    events = LiveEvents(None, table)
    peer = Address("uid 0", 7, "unix")
    one, other = (Connection(peer, events) for _ in range(2))
    for connection, n in ((one, 5), (other, 7)):
        connection.connected()
        connection.received(n)
    events.flush()
    assert sorted(row.bytes for row in table.rows()) == [5, 7]
    events.report(ended(other))
    assert [(row.bytes, row.peer, row.protocol) for row in table.rows()] == [
        (5, "uid 0, pid 7", "unix")
    ]
    events.report(ended(one))
    assert table.rows() == []


def test_rows_are_bounded_and_come_back() -> None:
    table = Table()
    rows = [table.add(f"192.0.2.1:{n}", "tcp") for n in range(1500)]
    taken = [row for row in rows if row is not None]
    assert 900 <= len(taken) <= 1024 == len(table.rows()) + 1024 - len(taken)
    for row in taken:
        table.free(row)
    assert table.rows() == []
    assert table.add("192.0.2.1:1", "tcp") is not None


def test_a_row_is_of_its_token_and_of_a_process_that_runs() -> None:
    table = Table()
    row = table.add("192.0.2.1:1", "tcp")
    assert row is not None
    stale = row[0], row[1] + 1
    table.update(stale, 9, 9)
    table.free(stale)
    assert [(found.messages, found.peer) for found in table.rows()] == [(0, "192.0.2.1:1")]
    child = os.fork()
    if not child:
        table.add("192.0.2.1:2", "tcp")
        os._exit(0)
    os.waitpid(child, 0)
    assert [found.peer for found in table.rows()] == ["192.0.2.1:1"]
