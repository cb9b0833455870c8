"""`meari talk`, against our far end and against some that are wrong."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meari import LineEcho, Server
from meari.client.comparison import Comparison

from .program import MEARI, run


@pytest.fixture
def port() -> Iterator[str]:
    with Server("127.0.0.1:0") as server:
        yield str(server.addresses[0].port)


@contextlib.contextmanager
def far_end(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """A far end of one connection, which does what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            sock, _ = listener.accept()
            with sock, contextlib.suppress(OSError):
                serve(sock)

        thread = threading.Thread(target=accept)
        thread.start()
        yield str(listener.getsockname()[1])
        thread.join()


def summary(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode().splitlines()[-1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello\n",
        b"no newline",
        b"\0\r\n\xff" * 10,
        random.Random(0).randbytes(3_000_000),
        b"x" * 1_000_000,
    ],
    ids=["nothing", "a line", "no newline", "odd bytes", "random", "one long line"],
)
def test_what_goes_out_comes_back(port: str, data: bytes) -> None:
    done = run("talk", "127.0.0.1", port, data=data)
    assert done.stdout == data
    assert (
        summary(done)
        == f"{len(data):,} byte{'s' * (len(data) != 1)} sent, {len(data):,} returned, identical"
    )
    assert done.returncode == 0


def test_against_a_far_end_that_holds_partial_lines() -> None:
    data = b"half a line" * 1000
    with Server("127.0.0.1:0", service=LineEcho) as server:
        done = run("talk", f"127.0.0.1:{server.addresses[0].port}", data=data)
    assert (done.returncode, done.stdout) == (0, data)


def test_a_regular_file_as_input_and_output(port: str, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(40_000_000)
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
        done = subprocess.run(
            [*MEARI, "talk", f"localhost:{port}"],
            stdin=source,
            stdout=sink,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 0
    assert (tmp_path / "out").read_bytes() == data


def test_a_terminal_as_input(port: str) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*MEARI, "talk", "127.0.0.1", port],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(slave)
    assert process.stdout is not None
    os.write(master, b"first\n")
    assert process.stdout.readline() == b"first\n"
    os.write(master, b"second\n")
    assert process.stdout.readline() == b"second\n"
    os.write(master, b"\x04")  # Ctrl-D
    _, errors = process.communicate(timeout=10)
    assert b"13 bytes sent, 13 returned, identical" in errors
    assert process.returncode == 0
    os.close(master)


def test_an_interrupt_ends_it_with_its_summary(port: str) -> None:
    process = subprocess.Popen(
        [*MEARI, "talk", "127.0.0.1", port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"x\n"
    process.send_signal(2)
    _, errors = process.communicate(timeout=10)
    assert errors == b"2 bytes sent, 2 returned, identical\n"
    assert process.returncode == 0


def test_a_difference_is_told_with_its_place_and_both_bytes() -> None:
    def lie(sock: socket.socket) -> None:
        data = bytearray(sock.recv(100))
        data[3] ^= 0x01
        sock.sendall(data)

    with far_end(lie) as port:
        done = run("talk", "127.0.0.1", port, data=b"hello\n")
    assert done.returncode == 1
    assert done.stdout == b"helmo\n"  # what came, not what was sent
    assert summary(done) == (
        "6 bytes sent, 6 returned: they differ at offset 3: 0x6c ('l') was sent, 0x6d ('m') "
        "came back"
    )


def test_what_never_comes_back_is_told() -> None:
    with far_end(lambda sock: sock.sendall(sock.recv(100)[:2])) as port:
        done = run("talk", "127.0.0.1", port, data=b"hello\n")
    assert (done.returncode, done.stdout) == (1, b"he")
    assert "6 bytes sent, 2 returned: the last 4 never came back" in done.stderr.decode()


def test_what_was_never_sent_is_told() -> None:
    with far_end(lambda sock: sock.sendall(sock.recv(100) + b"!")) as port:
        done = run("talk", "127.0.0.1", port, data=b"hello\n")
    assert (done.returncode, done.stdout) == (1, b"hello\n!")
    assert "more came back than was sent: 0x21 ('!') at offset 6" in summary(done)


def test_a_timeout_without_a_byte() -> None:
    over = threading.Event()
    with far_end(lambda _: over.wait(10)) as port:
        began = time.monotonic()
        done = run("talk", "127.0.0.1", port, "--timeout", "0.4", data=b"anybody?")
        over.set()
    assert time.monotonic() - began < 5
    assert done.returncode == 1
    assert "no byte came or went for 0.4 s" in done.stderr.decode()
    assert "never came back" in summary(done)


def test_no_more_is_taken_in_than_can_be_kept() -> None:
    """A far end that takes everything and returns nothing: the input waits at 16 MiB."""

    def swallow(sock: socket.socket) -> None:
        taken = 0
        while data := sock.recv(1 << 20):
            taken += len(data)
        amounts.append(taken)

    amounts: list[int] = []
    with far_end(swallow) as port:
        done = run("talk", "127.0.0.1", port, "--timeout", "1", data=bytes(40 << 20))
    assert done.returncode == 1
    assert (16 << 20) <= amounts[0] <= (16 << 20) + 65536


def test_both_directions_at_once() -> None:
    """A far end that wants its answer read before it reads on."""

    def slow(sock: socket.socket) -> None:
        while data := sock.recv(4096):
            sock.sendall(data)

    data = random.Random(5).randbytes(10_000_000)
    with far_end(slow) as port:
        assert run("talk", "127.0.0.1", port, data=data).stdout == data


def test_nobody_there_is_2() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        done = run("talk", "127.0.0.1", str(free.getsockname()[1]))
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert "refused" in line


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["localhost"],
        ["localhost", "x"],
        ["a:1", "b:2"],
        ["localhost:1", "--timeout", "0"],
        ["²"],
    ],
)
def test_usage(words: list[str]) -> None:
    done = run("talk", *words)
    assert done.returncode == 2
    assert len(done.stderr.decode().splitlines()) == 2


def test_output_that_fails_is_a_line(port: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*MEARI, "talk", "127.0.0.1", port],
            input=b"x",
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "meari talk: standard output: No space left on device"
    ]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*MEARI, "talk", "127.0.0.1", port],
        input=b"x",
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["meari talk: standard output: Broken pipe"]


def test_an_output_that_is_slow_loses_nothing(port: str) -> None:
    data = random.Random(6).randbytes(5_000_000)
    process = subprocess.Popen(
        [*MEARI, "talk", "127.0.0.1", port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    os.set_blocking(process.stdin.fileno(), False)
    got, left = b"", memoryview(data)
    while left:
        with contextlib.suppress(BlockingIOError):
            left = left[os.write(process.stdin.fileno(), left) :]
        if select.select([process.stdout], [], [], 0)[0]:
            got += os.read(process.stdout.fileno(), 100_000)
    process.stdin.close()
    got += process.stdout.read()
    assert got == data
    assert process.wait(10) == 0
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()


@given(
    st.lists(st.binary(max_size=20), max_size=20),
    st.lists(st.integers(1, 30), max_size=30),
    st.integers(0, 500),
)
def test_a_comparison_finds_the_first_byte_that_differs(
    sends: list[bytes], cuts: list[int], at: int
) -> None:
    sent = b"".join(sends)
    comparison = Comparison()
    for data in sends:
        comparison.send(data)
    back = bytearray(sent)
    if at < len(back):
        back[at] ^= 0x80
    left = bytes(back)
    for cut in [*cuts, len(left)]:
        comparison.receive(left[:cut])
        left = left[cut:]
    assert comparison.returned == len(sent)
    if at < len(sent):
        assert comparison.difference is not None
        assert (comparison.difference.offset, comparison.difference.sent) == (at, sent[at])
        assert not comparison.identical
    else:
        assert comparison.identical
        assert comparison.outstanding == 0
