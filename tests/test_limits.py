"""What the far end does at its limits: of processes, threads, memory, time, and of peers that no
longer answer.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import resource
import select
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from meari import Address, Server, net, open_listeners
from meari.engines import ENGINES
from meari.errors import CapacityError
from meari.sockets import of_sockaddr

from . import crowd
from .network import FAR, Network
from .program import MEARI, Serving, alive, children, family, run, until

# accept


@pytest.mark.parametrize("number", [errno.ENOSR, errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT])
def test_other_errors_of_accept_leave_no_client_unserved(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (listener,) = open_listeners("127.0.0.1:0")
    accept = net.kernel.accept
    errors = iter([OSError(number, os.strerror(number))])

    def once(sock: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
        for error in errors:
            raise error
        return accept(sock)

    monkeypatch.setattr(net.kernel, "accept", once)
    with socket.create_connection(("127.0.0.1", listener.address.port)):
        with contextlib.suppress(CapacityError):
            accepted = listener.accept()
            assert accepted is not None
            accepted[0].close()
            listener.close()
            return
        accepted = listener.accept()
        assert accepted is not None
        accepted[0].close()
    listener.close()


@pytest.mark.alone
def test_the_pause_after_a_capacity_error_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    accept, fails = net.kernel.accept, itertools.count()

    def three_times(sock: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
        if next(fails) < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(sock)

    monkeypatch.setattr(net.kernel, "accept", three_times)
    with Server("127.0.0.1:0") as server:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", server.addresses[0].port)) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert time.monotonic() - began < 0.1


# Addresses


def test_a_family_that_this_machine_lacks_is_left_out_of_a_name_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def both(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)),  # type: ignore[list-item]
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]

    monkeypatch.setattr(net.kernel, "getaddrinfo", both)
    said: list[str] = []
    (listener,) = open_listeners("localhost:0", report=said.append)
    listener.close()
    assert listener.address.host == "127.0.0.1"
    assert re.fullmatch(r"not listening on tcp://\[2001:db8::1\]:0: .+", said[0])


def test_a_link_local_address_keeps_its_scope() -> None:
    index = socket.if_nametoindex("lo")
    assert of_sockaddr(("fe80::1", 7007, 0, index)) == Address("fe80::1%lo", 7007)
    assert of_sockaddr(("fe80::1", 7007, 0, 0)) == Address("fe80::1", 7007)
    assert str(of_sockaddr(("fe80::1", 7007, 0, index))) == "tcp://[fe80::1%lo]:7007"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ping", "localhost:0"], "port 0 is for listening"),
        (["talk", "tcp:localhost:7"], "as in tcp://localhost:7"),
        (["serve", "nosuch.invalid:7007"], "cannot listen on tcp://nosuch.invalid:7007"),
    ],
)
def test_hints(words: list[str], said: str) -> None:
    done = run(*words)
    assert (done.returncode, said in done.stderr.decode()) == (2, True)
    assert b"does a server listen there" not in done.stderr


# Processes and threads


@pytest.mark.parametrize("engine", ["process", "thread"])
def test_a_client_for_whom_nothing_can_be_started_is_kept(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempts fail, as at a limit of processes (RLIMIT_NPROC); nobody is reset."""
    counter = Failures(8)
    if engine == "process":
        fork = net.kernel.fork
        first = [True]

        def limited() -> int:
            if first:  # the supervisor's and the engine's own
                first.clear()
                return fork()
            if counter.take() and os.getpid() != here:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return fork()

        here = os.getpid()
        monkeypatch.setattr(net.kernel, "fork", limited)
    else:
        start = threading.Thread.start

        def scarce(thread: threading.Thread) -> None:
            if thread.name.startswith("meari tcp") and counter.take():
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", scarce)
    with Server("127.0.0.1:0", engine=engine) as server:
        clients = crowd.connect(server.addresses[0].port, 12)
        assert crowd.exchange(clients, [b"x%d" % n for n in range(12)], 20) == [
            b"x%d" % n for n in range(12)
        ]
    counter.close()


class Failures:
    """A number of failures that forked processes share."""

    def __init__(self, n: int) -> None:
        self._fd = os.eventfd(n, os.EFD_NONBLOCK | os.EFD_SEMAPHORE)

    def take(self) -> bool:
        try:
            return bool(os.eventfd_read(self._fd))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._fd)


def test_prethread_says_that_it_cannot_start_before_it_listens() -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))  # some stacks of 8 MiB fit

    done = subprocess.run(
        [*MEARI, "serve", "--engine", "prethread", "--threads", "500", "127.0.0.1:0"],
        capture_output=True, timeout=30, check=False, preexec_fn=few,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"listening" not in done.stdout
    assert b"threads cannot be started" in done.stderr


def test_the_children_of_an_engine_that_is_killed_end_with_it() -> None:
    with (
        Serving("--engine", "process") as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        (engine,) = (pid for pid in children(server.pid) if len(family(pid)) > 1)
        (child,) = children(engine)
        os.kill(engine, signal.SIGKILL)
        until(lambda: not alive(child))


@pytest.mark.parametrize("engine", list(ENGINES))
def test_once_does_not_count_a_client_that_is_refused(engine: str) -> None:
    with Serving("--once", "--allow", "127.0.0.1", "--engine", engine) as server:
        for _ in range(3):
            refused = socket.create_connection(
                ("127.0.0.1", server.port), source_address=("127.0.0.2", 0)
            )
            with refused, contextlib.suppress(OSError):
                assert refused.recv(1) == b""
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert server.finish(10) == 0


def test_a_process_that_the_library_s_user_forks_holds_up_no_stop() -> None:
    with Server("127.0.0.1:0") as server:
        pid = os.fork()
        if pid == 0:
            time.sleep(30)
            os._exit(0)
        try:
            with socket.create_connection(("127.0.0.1", server.addresses[0].port)) as client:
                client.sendall(b"x")
                assert client.recv(1) == b"x"
            began = time.monotonic()
            server.stop()
            until(lambda: server._thread is not None and not server._thread.is_alive())
            assert time.monotonic() - began < 5
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


# Memory


@pytest.mark.long
def test_out_of_memory_the_server_goes_on() -> None:
    """Many that never read, and a limit that does not hold all of what they are owed."""
    with Serving("-q", "--connections", "2300") as server:
        used = int(Path(f"/proc/{server.pid}/statm").read_text().split()[0]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
        resource.prlimit(server.pid, resource.RLIMIT_AS, (used + (24 << 20), used + (24 << 20)))
        clients = crowd.connect(server.port, 2200)
        block = bytes(1 << 20)
        for client in clients:
            client.setblocking(False)
        end = time.monotonic() + 20
        while time.monotonic() < end and not any("memory" in line for line in server.lines):
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(block)
            server.read(0.01)
        for client in clients:
            client.close()
        server.wait_for("Cannot allocate memory|out of memory", 20)
        with socket.create_connection(("127.0.0.1", server.port), 10) as one:
            one.settimeout(10)
            one.sendall(b"still here\n")
            assert one.recv(100) == b"still here\n"
        assert server.stop() == 0


# Time


@pytest.mark.parametrize("engine", ["event", "thread"])
def test_a_peer_that_does_not_read_is_ended_by_the_idle_limit_not_the_drain_limit(
    engine: str,
) -> None:
    with Serving("--engine", engine, "--idle", "1") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            # Less than the far end's buffers take, and more than ours.
            client.sendall(bytes(100_000))
            began = time.monotonic()
            line = server.wait_for("lost|closed|reset", 10)
            assert time.monotonic() - began < 4
        assert "idle" in line and "drain" not in line


@pytest.mark.long
def test_a_peer_that_no_longer_answers_is_given_up() -> None:
    """Its machine is gone: no FIN, no reset; one connection is idle, one is owed bytes."""
    with Network(cut=4, for_=1000) as network:
        far = subprocess.Popen(
            [
                "nsenter",
                f"--net=/run/netns/{network.far}",
                *MEARI,
                "serve",
                "--peer-timeout",
                "4",
                "7007",
            ],
            stdout=subprocess.PIPE,
        )
        network._started.append(far)
        assert far.stdout is not None
        assert b"listening" in far.stdout.readline()
        script = (
            f"import socket, time\nsocks = [socket.create_connection(('{FAR}', 7007)) for _ in "
            "range(2)]\n"
            "for sock in socks: sock.sendall(b'x'); sock.recv(1)\n"
            "time.sleep(60)"
        )
        near = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{network.near}", MEARI[0], "-c", script]
        )
        network._started.append(near)
        lost, end, kept = 0, time.monotonic() + 25, b""
        while lost < 2 and time.monotonic() < end:
            if select.select([far.stdout], [], [], 0.5)[0]:
                kept += os.read(far.stdout.fileno(), 65536)
            lost = kept.count(b"lost (")
        far.stdout.close()
        assert lost == 2, kept.decode()
        assert b"timed out" in kept


@pytest.mark.alone
@pytest.mark.long
def test_a_live_connection_is_served_while_thousands_of_idle_ones_drain() -> None:
    with Serving("-q", "--connections", "9000") as server:
        idle = crowd.connect(server.port, 8000)
        with socket.create_connection(("127.0.0.1", server.port)) as live:
            server.process.send_signal(signal.SIGTERM)
            worst, end = 0.0, time.monotonic() + 2.0
            while time.monotonic() < end:
                began = time.monotonic()
                live.sendall(b"x")
                assert live.recv(1) == b"x"
                worst = max(worst, time.monotonic() - began)
        for client in idle:
            client.close()
        assert worst < 0.1
        assert server.finish() == 0
