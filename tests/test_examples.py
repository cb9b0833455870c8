"""The textbook's two programs, run as a reader would run them."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from . import crowd
from .program import until

EXAMPLES = Path(__file__).parent.parent / "examples"
TEXT = b"hello\n\nlonger " + b"x" * 20_000 + b"\nno newline"


def client(port: int, data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, EXAMPLES / "echoclient.py", "127.0.0.1", str(port)],
        input=data,
        capture_output=True,
        timeout=20,
        check=False,
    )


def test_they_talk_to_each_other() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, EXAMPLES / "echoserver.py", str(port)], stdout=subprocess.PIPE, text=True
    )
    try:
        until(lambda: client(port, b"").returncode == 0)
        assert client(port, TEXT).stdout == TEXT
        (unlucky,) = crowd.connect(port, 1)
        unlucky.send(b"x\n" * 100)
        crowd.reset(unlucky)
        assert client(port, b"still there\n").stdout == b"still there\n"
    finally:
        server.kill()
        log, _ = server.communicate()
    assert "Connected to (" in log
    assert "server received 6 bytes" in log


@pytest.mark.parametrize("program", ["echoserver.py", "echoclient.py"])
def test_their_usage(program: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("usage:")


def test_a_port_that_cannot_be_had() -> None:
    with socket.create_server(("", 0)) as taken:
        command = [sys.executable, str(EXAMPLES / "echoserver.py"), str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        done = client(probe.getsockname()[1], b"x")
    assert done.returncode == 1
    assert b"refused" in done.stderr
    assert b"Traceback" not in done.stderr
