"""The textbook's Tiny, run as a reader would run it; and the faults of the book's that it fixes."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from meari.sockets import free_port

from . import crowd
from .program import children, until

EXAMPLES = Path(__file__).parent.parent / "examples"


class Tiny(typing.NamedTuple):
    port: int
    pid: int
    root: Path

    def get(self, target: str, method: str = "GET") -> tuple[int, str, bytes]:
        """The status, the type and the body."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, 20)) as client:
            client.putrequest(method, target, skip_host=True)
            client.endheaders()
            answer = client.getresponse()
            return answer.status, answer.headers.get_content_type(), answer.read()

    def raw(self, request: bytes, *, end: bool = False) -> bytes:
        """Everything that *request* is answered with; *end*: a FIN follows it."""
        with socket.create_connection(("127.0.0.1", self.port), 20) as client:
            client.sendall(request)
            if end:
                client.shutdown(socket.SHUT_WR)
            found = b""
            while data := client.recv(65536):
                found += data
            return found


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Tiny]:
    root = tmp_path / "root"
    shutil.copytree(EXAMPLES, root)
    (root / "empty.txt").touch()
    (root / "large.bin").write_bytes(bytes(8 << 20))
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "tiny.py", str(port)], cwd=root, stdout=subprocess.PIPE
    )

    def listens() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    try:
        until(listens)
        yield Tiny(port, server.pid, root)
        assert server.poll() is None
    finally:
        server.kill()
        server.communicate()


def test_files_have_their_types(tiny: Tiny) -> None:
    home = (EXAMPLES / "home.html").read_bytes()
    assert tiny.get("/") == tiny.get("/home.html?x=1") == (200, "text/html", home)
    assert tiny.get("/tiny.py")[2] == (EXAMPLES / "tiny.py").read_bytes()
    assert tiny.get("/large.bin") == (200, "application/octet-stream", bytes(8 << 20))
    assert tiny.get("/empty.txt") == (200, "text/plain", b"")


def test_the_adder(tiny: Tiny) -> None:
    for target in ("/cgi-bin/adder?15000&213", "/cgi-bin/adder?first=15000&second=213"):
        status, kind, page = tiny.get(target)
        assert (status, kind) == (200, "text/html") and b"15000 + 213 = 15213" in page
    assert b"Two numbers are needed" in tiny.get("/cgi-bin/adder?x")[2]
    until(lambda: children(tiny.pid) == [])  # no zombie


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/link.txt",
        "/cgi-bin/../../secret.txt",
        "/cgi-bin/../tiny.py",
        "secret.txt",
        "/none",
        "/%00",
        "/" + "x" * 5000,
    ],
)
def test_what_is_not_there(tiny: Tiny, target: str) -> None:
    status, _, page = tiny.get(target)
    assert status == 404 and b"secret\n" not in page


def test_what_may_not_be_read_or_run(tiny: Tiny) -> None:
    os.mkfifo(tiny.root / "fifo")
    (tiny.root / "cgi-bin" / "data").touch(0o644)
    for target in ("/cgi-bin", "/fifo", "/cgi-bin/data?x"):
        assert tiny.get(target)[0] == 403


def test_other_methods_and_no_request_line_are_answered_with_a_page(tiny: Tiny) -> None:
    assert tiny.get("/", "POST")[0] == 501
    page = tiny.raw(b"<script>alert(1)</script> / HTTP/1.0\r\n\r\n")
    assert b"501 Not Implemented" in page and b"<script>" not in page
    assert b"&lt;script&gt;" in page
    assert b"400 Bad Request" in tiny.raw(b"GET /\r\n\r\n")


def test_a_line_may_end_with_a_bare_newline(tiny: Tiny) -> None:
    assert tiny.raw(b"GET /empty.txt HTTP/1.0\n\n").startswith(b"HTTP/1.0 200 OK\r\n")


def test_clients_that_end_early_harm_no_other(tiny: Tiny) -> None:
    assert tiny.raw(b"", end=True) == b""
    assert tiny.raw(b"GET / HTTP/1.0\r\nHost: x\r\n", end=True) == b""
    assert tiny.raw(b"GET / HTTP/1.0\r\n" + b"X: y\r\n" * 1000, end=True) == b""
    for _ in range(3):
        (unlucky,) = crowd.connect(tiny.port, 1)
        unlucky.settimeout(20)
        unlucky.send(b"GET /large.bin HTTP/1.0\r\n\r\n")
        assert unlucky.recv(1000)
        crowd.reset(unlucky)
    assert tiny.get("/")[0] == 200


@pytest.mark.long
def test_a_client_that_sends_nothing_is_given_up(tiny: Tiny) -> None:
    with socket.create_connection(("127.0.0.1", tiny.port)):
        assert tiny.get("/")[0] == 200
