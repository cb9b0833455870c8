"""What explain shows, beside what others saw of the same run: strace of the calls, /proc/net/tcp of
the states.
"""

from __future__ import annotations

import functools
import socket
import struct
import typing

import pytest

from meari.explain.book import Book
from meari.explain.scenes import SCENES
from meari.explain.stage import Stage
from meari.sockets import free_port

from .witness import Seen, of_program, traced

# No system calls: the first two are told by the resolver's own answers.
LIBRARY = {"getaddrinfo", "getnameinfo", "killed"}


def scene(name: str) -> tuple[list[dict[str, typing.Any]], dict[int, list[Seen]]]:
    said, seen = traced("all", "--json")
    (found,) = [each for each in said["scenes"] if each["scene"] == name]
    rows = [step for step in found["steps"] if not step["waits"]]
    return rows, seen


def matched(name: str) -> list[tuple[dict[str, typing.Any], Seen]]:
    """Each row of a scene with the call that strace saw, in the order of each process."""
    rows, seen = scene(name)
    pairs = []
    for process in dict.fromkeys(row["process"] for row in rows):
        told = [row for row in rows if row["process"] == process and row["name"] not in LIBRARY]
        # The second return of one call.
        told = [row for row in told if not (row["name"] == "fork" and row["returned"] == 0)]
        inherited = {
            fd
            for row in rows
            if row["name"] == "fork" and row["returned"] == process
            for fd, _ in row["holds"]
        }
        made = of_program(seen[process], inherited)
        assert [row["name"] for row in told] == [call.name for call in made]
        pairs += list(zip(told, made, strict=True))
    assert len(pairs) == sum(
        row["name"] not in LIBRARY and (row["name"], row["returned"]) != ("fork", 0) for row in rows
    )
    return pairs


@pytest.mark.parametrize("name", SCENES)
def test_each_row_is_a_call_and_each_call_a_row(name: str) -> None:
    for row, call in matched(name):
        if row["returned"] is not None:
            assert (row["returned"], row["error"]) == (call.returned, call.error), (
                row["call"],
                call,
            )
        fd = call.arguments.partition(",")[0]
        if row["fd"] is not None and row["name"] != "socket":
            assert row["fd"] == int(fd)


@pytest.mark.parametrize("name", SCENES)
def test_what_was_asked_is_what_is_told(name: str) -> None:
    """The arguments that both write down: numbers, options, ports, sizes."""
    for row, call in matched(name):
        asked = row["arguments"]
        match row["name"]:
            case "socket":
                assert call.arguments.replace("|SOCK_CLOEXEC", "") == ", ".join(asked)
            case "bind" | "connect":
                assert f"htons({asked[1].rpartition(':')[2]})" in call.arguments
            case "listen" | "kill" | "exit" | "shutdown":
                assert call.arguments == ", ".join(asked)
            case "setsockopt":
                assert call.arguments == f"{asked[0]}, {asked[1]}, {asked[2]}, [{asked[3]}], 4"
            case "recv" | "send":
                assert f", {asked[2]}, {asked[3]}, NULL, " in call.arguments


@pytest.mark.parametrize("name", SCENES)
def test_the_order_is_that_of_the_calls(name: str) -> None:
    """Where strace saw that a call was over before another began, so it is told."""
    pairs = matched(name)
    rows = scene(name)[0]
    place = {id(row): at for at, row in enumerate(rows)}
    pairs.sort(key=lambda pair: place[id(pair[0])])
    for at, (_, call) in enumerate(pairs):
        for _, later in pairs[at + 1 :]:
            assert later.ended > call.began, (call, later)


def states(port: int) -> dict[tuple[str, str], str]:
    """/proc/net/tcp and tcp6, of the ends that have *port*: (local, remote) -> state."""
    names = [
        "-",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSED",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    ]
    found = {}
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with open(f"/proc/net/{table}") as lines:
            for line in lines:
                if f":{port:04X} " not in line:
                    continue
                ends = []
                for each in line.split()[1:3]:
                    address, _, number = each.partition(":")
                    words = struct.pack(
                        f"={len(address) // 8}I",
                        *(int(address[i : i + 8], 16) for i in range(0, len(address), 8)),
                    )
                    host = socket.inet_ntop(family, words)
                    ends.append(
                        (host if family == socket.AF_INET else f"[{host}]", int(number, 16))
                    )
                if port in (ends[0][1], ends[1][1]):
                    local, remote = (f"{host}:{number}" for host, number in ends)
                    found[local, remote] = names[int(line.split()[3], 16)]
    return found


LATER = {"FIN_WAIT1": "FIN_WAIT2"}  # the acknowledgement of a FIN may be late, and no call's doing


@pytest.mark.parametrize("name", SCENES)
def test_the_states_are_those_that_the_kernel_shows_to_others(name: str) -> None:
    """After each step nothing moves: /proc/net/tcp is read, and the row's table and view are
    compared with it.
    """
    port = free_port()
    old = states(port)
    with Stage(SCENES[name], functools.partial(Book, port=port), port) as stage:
        for row, waits in stage.steps():
            if waits or row.table is None:
                continue
            now = {ends: state for ends, state in states(port).items() if ends not in old}
            # One that is bound and no more is not in that table.
            told = {
                (entry.local, entry.remote): entry.state
                for entry in row.table or ()
                if entry.state != "CLOSED"
            }
            for ends, state in told.items():
                assert now.get(ends) in (state, LATER.get(state)), (row.call, ends)
            assert now.keys() == told.keys(), row.call
            own = [entry.state for entry in row.table or () if entry.inode == row.inode != 0]
            if own and row.view is not None:
                assert row.view.state in (
                    own[0],
                    "FIN_WAIT1" if own[0] == "FIN_WAIT2" else own[0],
                ), row.call
