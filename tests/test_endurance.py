"""What the far end promises, under clients that are many, hostile or unlucky: each against the
running program.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from meari.engines import ENGINES

from . import crowd
from .program import Serving, children, family, own_memory, status, until

ALL = list(ENGINES)
# The others in make test-long.
SOME = [
    pytest.param(name, marks=[pytest.mark.long] * (name not in ("event", "process")))
    for name in ALL
]


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.parametrize("engine", ALL)
def test_100_clients_at_once_get_their_mebibyte_back(engine: str) -> None:
    data = [random.Random(n).randbytes(1 << 20) for n in range(100)]
    with Serving("--engine", engine) as serving:
        assert crowd.exchange(crowd.connect(serving.port, 100), data) == data


def test_100_clients_of_two_workers() -> None:
    data = [random.Random(n).randbytes(1 << 20) for n in range(100)]
    with Serving("--workers", "2") as serving:
        assert crowd.exchange(crowd.connect(serving.port, 100), data) == data


@pytest.mark.parametrize("engine", [name for name in ALL if name != "iterative"])
def test_100_megabytes_that_are_not_read_cost_nobody(engine: str) -> None:
    with Serving("--engine", engine) as serving:
        (client, deaf) = crowd.connect(serving.port, 2)
        crowd.round_trips(client, 500)
        crowd.round_trips(deaf, 5)
        deaf.setblocking(False)
        before = sum(map(own_memory, family(serving.pid)))
        calm = crowd.round_trips(client, 500)[495]
        block, sent, quiet = bytes(1 << 20), 0, 0
        while sent < 100_000_000 and quiet < 50:
            try:
                sent += deaf.send(block)
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.01)
        assert sent < 100_000_000  # what it does not read is not taken from it
        assert sum(map(own_memory, family(serving.pid))) - before < 1_000_000
        assert crowd.round_trips(client, 500)[495] < 10 * calm + 0.05
        client.close()
        crowd.reset(deaf)


STAGES = 5


def unlucky(port: int, stage: int) -> None:
    """A connection that is reset, in one of five stages of its life."""
    sock = socket.create_connection(("127.0.0.1", port), 30)
    if stage > 0:
        sock.send(b"x" * 1000)
    if stage > 1:
        sock.recv(1)  # the rest lies unread
    if stage > 2:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(30):
                sock.send(bytes(65536))
    if stage > 3:
        sock.shutdown(socket.SHUT_WR)
    crowd.reset(sock)


@pytest.mark.parametrize(
    "engine",
    [pytest.param(name, marks=[pytest.mark.long] * (name != "event")) for name in ALL],
)
def test_connections_that_are_reset_leave_nothing_behind(engine: str) -> None:
    count = 2_000 if engine == "process" else 10_000  # a fork for each takes its time
    with Serving("--engine", engine) as serving:
        assert crowd.exchange(crowd.connect(serving.port, 1), [b"hello"]) == [b"hello"]
        serving.wait_for("closed")
        server = serving.pid
        if engine == "process":
            until(lambda: len(children(serving.pid)) == 2)
            server = max(children(serving.pid))
            until(lambda: not children(server))
        before, processes = descriptors(server), len(family(serving.pid))
        # The event engine keeps one pipe, once it has spliced.
        before += 2 * (engine == "event")
        threads = 33 if engine == "prethread" else 1
        for n in range(count):
            unlucky(serving.port, n % STAGES)
        until(lambda: descriptors(server) <= before and len(family(serving.pid)) == processes, 20)
        until(lambda: status(server, "Threads") == threads)
        assert crowd.exchange(crowd.connect(serving.port, 1), [b"hello"]) == [b"hello"]


@pytest.mark.parametrize("engine", SOME)
def test_without_descriptors_clients_wait_and_those_inside_stay_fast(engine: str) -> None:
    with Serving("--engine", engine, "--threads", "100", descriptors=64) as serving:
        clients = crowd.connect(serving.port, 200)
        for sock in clients:
            sock.send(b"hello")
        time.sleep(1.5)
        inside = [sock for sock in clients if answered(sock)]
        assert 1 <= len(inside) <= 64
        assert engine == "iterative" or len(inside) >= 20
        for sock in inside:
            assert sock.recv(5) == b"hello"
        assert crowd.round_trips(inside[0], 200)[190] < 0.05
        serving.read()
        assert 1 <= sum("wait" in line for line in serving.lines) <= 4
        rest = [sock for sock in clients if sock not in inside]
        for sock in inside:
            sock.close()
        end = time.monotonic() + 30
        while rest:  # each that leaves makes room for one that waits
            assert time.monotonic() < end
            done = [sock for sock in rest if answered(sock)]
            for sock in done:
                assert sock.recv(5) == b"hello"
                sock.close()
                rest.remove(sock)
        assert serving.process.poll() is None


def answered(sock: socket.socket) -> bool:
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return len(sock.recv(5, socket.MSG_PEEK)) == 5
    return False


@pytest.mark.parametrize(
    "options",
    [
        ["--workers", "2"],
        *(
            pytest.param(["--engine", name], marks=[pytest.mark.long] * (name != "event"))
            for name in ALL
        ),
    ],
    ids=" ".join,
)
def test_a_stop_loses_nothing_and_resets_nobody(options: list[str]) -> None:
    with Serving(*options, "--threads", "3") as serving:
        first, second, third = crowd.connect(serving.port, 3)
        inside = [first] if "iterative" in options else [first, second, third]
        for sock in inside:
            crowd.round_trips(sock, 1)
        if len(inside) > 1:
            time.sleep(1.1)  # they are idle now, but for the first
        queued = crowd.connect(serving.port, 2)
        for sock in queued:
            sock.send(b"queued")
        crowd.round_trips(first, 1)
        serving.process.send_signal(signal.SIGTERM)
        for _ in range(20):
            time.sleep(0.04)
            crowd.round_trips(first, 1)
        for sock in [first, second, third, *queued]:
            sock.settimeout(20)
        assert first.recv(100) == b""  # our end of file, once it was quiet
        first.close()
        for sock in (second, third):
            assert sock.recv(100) == b""
            sock.close()
        for sock in queued:
            assert sock.recv(100) == b"queued"
            assert sock.recv(100) == b""
            sock.close()
        assert serving.finish() == 0
    assert not any("reset" in line or "lost" in line for line in serving.lines)


def test_a_stop_with_a_large_answer_under_way_delivers_it() -> None:
    data = random.Random(7).randbytes(2_000_000)
    with Serving() as serving, socket.create_connection(("127.0.0.1", serving.port)) as client:
        client.setblocking(False)
        sent = 0
        quiet = 0
        while sent < len(data) and quiet < 10:
            try:
                sent += client.send(data[sent:])
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.02)
        serving.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)  # quiet for longer than a second, but what it has is still to be written
        client.settimeout(20)
        client.shutdown(socket.SHUT_WR)
        got = b""
        while came := client.recv(1 << 20):
            got += came
        assert got == data[:sent]
        assert serving.finish() == 0


def test_the_rest_is_reset_at_the_drain_limit_and_counted() -> None:
    with Serving("--drain", "0.5") as serving:
        clients = crowd.connect(serving.port, 3)
        for sock in clients:
            crowd.round_trips(sock, 1)
        serving.process.send_signal(signal.SIGTERM)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                for sock in clients:
                    crowd.round_trips(sock, 1)
        for sock in clients:
            sock.close()
        assert serving.finish() == 0
    assert "reset 3 connections at the drain limit" in serving.lines


def test_a_killed_worker_loses_no_queued_client() -> None:
    with Serving("--workers", "2") as serving:
        until(lambda: len(children(serving.pid)) == 3)
        workers = children(serving.pid)[1:]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)  # they accept nobody
        clients = crowd.connect(serving.port, 40)
        for sock in clients:
            sock.send(b"queued")
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        serving.wait_for("died of SIGKILL")
        for sock in clients:
            sock.settimeout(20)
            assert sock.recv(100) == b"queued"
            sock.close()
        until(lambda: len(children(serving.pid)) == 3)


def test_200_processes_leave_no_zombie() -> None:
    with Serving("--engine", "process") as serving:
        until(lambda: len(children(serving.pid)) == 2)
        engine = max(children(serving.pid))
        clients = crowd.connect(serving.port, 200)
        data = [os.urandom(100) for _ in clients]
        for sock, mine in zip(clients, data, strict=True):
            sock.send(mine)
        until(lambda: len(children(engine)) == 200, 20)
        assert crowd.exchange(clients, [b""] * 200) == data
        until(lambda: not children(engine))
        zombies = [
            pid
            for pid in family(serving.pid)
            if re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.M)
        ]
        assert zombies == []


def test_a_child_holds_its_connection_and_no_listener() -> None:
    with (
        Serving("--engine", "process") as serving,
        socket.create_connection(("127.0.0.1", serving.port)) as client,
    ):
        crowd.round_trips(client, 1)
        engine = max(children(serving.pid))
        (child,) = children(engine)
        tcp = {
            f"socket:[{row.split()[9]}]"
            for row in Path("/proc/net/tcp").read_text().splitlines()[1:]
        }
        sockets = [what for what in _held_by(child) if what in tcp]
        assert len(sockets) == 1
        # The parent closes its copy after fork: perhaps a moment after the child has answered.
        until(lambda: sockets[0] not in _held_by(engine))


def _held_by(pid: int) -> list[str]:
    """What the descriptors of *pid* are open on."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(fd))
    return found


def test_data_that_waits_is_read_before_a_connection_is_called_idle() -> None:
    with Serving("--idle", "1") as serving:
        clients = crowd.connect(serving.port, 50)
        for sock in clients:
            crowd.round_trips(sock, 1)
        os.kill(serving.pid, signal.SIGSTOP)
        time.sleep(1.3)
        for sock in clients:
            sock.send(b"late")
        os.kill(serving.pid, signal.SIGCONT)
        for sock in clients:
            sock.settimeout(10)
            assert sock.recv(10) == b"late"
            sock.close()


@pytest.mark.parametrize(
    "options", [["--workers", "2"], *(["--engine", name] for name in ALL)], ids=" ".join
)
def test_a_stop_under_a_stream_of_new_clients_resets_none(options: list[str]) -> None:
    """Each that could connect gets its echo and the end of file; when nobody listens any more, it
    is refused.
    """
    with Serving(*options, "-q") as serving:
        served = 0
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                sock = socket.create_connection(("127.0.0.1", serving.port), 10)
            except ConnectionRefusedError:
                break
            with sock:
                sock.sendall(b"x" * 100)
                sock.shutdown(socket.SHUT_WR)
                got = b""
                while came := sock.recv(200):
                    got += came
            assert got == b"x" * 100
            served += 1
            if served == 100:
                serving.process.send_signal(signal.SIGTERM)
        assert served >= 100
        assert serving.finish() == 0


def test_a_child_that_is_killed_is_told() -> None:
    with (
        Serving("--engine", "process") as serving,
        socket.create_connection(("127.0.0.1", serving.port)) as client,
    ):
        crowd.round_trips(client, 1)
        (child,) = children(max(children(serving.pid)))
        os.kill(child, signal.SIGKILL)
        serving.wait_for(r"lost .* its process ended with -9")
