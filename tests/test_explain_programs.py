"""serve --explain and talk --explain: two programs that show their own system calls."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket

import pytest

from meari.cli.explain import play
from meari.explain import facts
from meari.explain.row import Row
from meari.explain.scenes import SCENES
from meari.net import kernel

from .program import Serving, run


@pytest.mark.parametrize(
    "engine",
    [
        "event",
        "process",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("iterative", "thread", "prethread")
        ),
    ],
)
def test_two_programs_tell_their_own_calls(engine: str) -> None:
    with Serving("--explain", "--engine", engine) as server:
        done = run(
            "talk",
            "--explain",
            "127.0.0.1",
            str(server.port),
            data=b"hello\n",
            env=os.environ | {"LC_ALL": "ko_KR.UTF-8"},
        )
        server.process.send_signal(signal.SIGTERM)
        out, told = server.process.communicate(timeout=20)
    assert done.returncode == 0 and done.stdout == b"hello\n" and server.process.returncode == 0
    near = done.stderr.decode()
    for call in (
        "getaddrinfo(",
        "socket(AF_INET, SOCK_STREAM",
        "connect(",
        'write(3, "hello\\n", 6) = 6',
        "shutdown(3, SHUT_WR)",
        "close(3) = 0",
    ):
        assert call in near, call
    assert facts.call("connect-EINPROGRESS", "ko") in near
    far = told.decode()
    for call in ("bind(", "listen(", "accept(", '"hello\\n"', "close("):
        assert call in far, call
    assert ("fork() = 0" in far) is (engine == "process")
    assert b"accept" not in out
    threads = set(re.findall(r"^\[\d+/(\d+)\] ", far, re.M))
    assert bool(threads) is (engine in ("thread", "prethread"))


def test_nothing_is_recorded_unless_it_is_asked_for() -> None:
    assert vars(kernel) == {}


@pytest.mark.parametrize("name", SCENES)
def test_a_row_survives_its_way_through_the_pipe(name: str) -> None:
    for moment in play(name):
        told = json.dumps(moment.row.to_json())
        assert Row.from_json(json.loads(told)) == moment.row
        # Else the rows of two parts could get mixed (pipe(7)).
        assert len(told) < select.PIPE_BUF - 100


@pytest.mark.parametrize("engine", ["event", "thread"])
def test_a_reader_of_the_rows_who_stops_reading_stops_nobody(engine: str) -> None:
    """The rows of so many clients do not fit in the pipe: they are left out, and a stop is still
    heeded.
    """
    with Serving("--explain", "--engine", engine, "--drain", "1") as server:
        for _ in range(60):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
                client.sendall(b"x\n")
                assert client.recv(2) == b"x\n"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert server.process.stderr is not None and b"accept(" in server.process.stderr.read()
