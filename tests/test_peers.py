"""Our ends against other people's: netcat and socat, as Debian ships them."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from meari import LineEcho, Server

from .program import run, until

DATA = random.Random(11).randbytes(2_000_000) + b"\nno newline"


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed: apt-get install {program}")


@pytest.fixture(params=["event", "thread", "process"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with Server("127.0.0.1:0", engine=request.param) as server:
        yield server.addresses[0].port


@needs("ncat")
def test_ncat_as_the_near_end(port: int) -> None:
    done = subprocess.run(["ncat", "127.0.0.1", str(port)], input=DATA, capture_output=True, timeout=20, check=True)
    assert done.stdout == DATA


@needs("socat")
def test_socat_as_the_near_end(port: int) -> None:
    command = ["socat", "-t", "10", "-", f"TCP:127.0.0.1:{port}"]
    assert subprocess.run(command, input=DATA, capture_output=True, timeout=20, check=True).stdout == DATA


@needs("socat")
def test_socat_with_crlf_lines() -> None:
    with Server("127.0.0.1:0", service=LineEcho) as server:
        command = ["socat", "-t", "10", "-", f"TCP:127.0.0.1:{server.addresses[0].port},crnl"]
        done = subprocess.run(command, input=b"one\ntwo\nlast", capture_output=True, timeout=20, check=True)
    assert done.stdout == b"one\ntwo\nlast"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@needs("socat")
def test_socat_as_the_far_end() -> None:
    port = free_port()
    far = subprocess.Popen(["socat", "-t", "10", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork", "EXEC:cat"])
    try:
        until(lambda: listens(port))
        done = run("talk", "127.0.0.1", str(port), data=DATA)
    finally:
        far.terminate()
        far.wait(10)
    assert done.stdout == DATA
    assert done.returncode == 0


@needs("ncat")
def test_ncat_as_the_far_end() -> None:
    data = DATA[:5000]  # with more, ncat writes to its program while that writes to ncat, and both wait for ever
    port = free_port()
    far = subprocess.Popen(["ncat", "-l", "127.0.0.1", str(port), "--keep-open", "--exec", "/bin/cat"])
    try:
        until(lambda: listens(port))
        done = run("talk", "127.0.0.1", str(port), "--timeout", "5", data=data)
    finally:
        far.terminate()
        far.wait(10)
    # At our half-close ncat may end before the program that it runs has said all: then that is what talk tells.
    assert data.startswith(done.stdout)
    assert done.returncode == (0 if done.stdout == data else 1)
    lost = len(data) - len(done.stdout)
    assert ("identical" if not lost else f"the last {lost:,} never came back") in done.stderr.decode()
