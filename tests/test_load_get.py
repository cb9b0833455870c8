"""load --get: any web server, whose responses have to stay the same."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import servers
from .program import Serving, run


class Answers(http.server.BaseHTTPRequestHandler):
    """A page of 1,000 bytes; from the hundredth request on something else."""

    protocol_version = "HTTP/1.1"
    then = (200, 1000)
    asked = 0

    def do_GET(self) -> None:
        cls = type(self)
        cls.asked += 1
        status, length = (200, 1000) if cls.asked < 100 else cls.then
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(bytes(length))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def answering(status: int, length: int, protocol: str = "HTTP/1.1") -> Iterator[str]:
    values = {"then": (status, length), "asked": 0, "protocol_version": protocol}
    made = type("Made", (Answers,), values)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), made)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/page"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_any_server_is_loaded(tmp_path: Path) -> None:
    page = tmp_path / "load.html"
    with answering(200, 1000) as url:
        done = run("load", "--get", url, "-n", "300", "-c", "3", "--html", str(page))
    assert done.returncode == 0, done.stderr
    assert "GET, responses of 1,000 bytes" in done.stdout.decode()
    assert "/s of content" in done.stdout.decode()
    assert "none: every response has the status and the length of the first" in done.stdout.decode()
    assert "None: every response has the status" in page.read_text()


@pytest.mark.parametrize(
    ("status", "length", "said"), [(503, 1000, "status 503"), (200, 999, "length")]
)
def test_another_status_or_length_is_a_fault(status: int, length: int, said: str) -> None:
    with answering(status, length) as url:
        done = run("load", "--get", url, "-n", "150", "-c", "2")
    assert done.returncode == 1
    assert f" {said}" in done.stdout.decode()
    assert "none: every response" not in done.stdout.decode()


def test_a_server_that_keeps_no_connection_is_loaded_with_new_ones() -> None:
    with answering(200, 1000, "HTTP/1.0") as url:
        done = run("load", "--get", url, "-n", "10")
        assert done.returncode == 2
        assert "use --new-connections" in done.stderr.decode()
        done = run("load", "--get", url, "-n", "50", "--new-connections")
    assert done.returncode == 0, done.stdout
    assert "messages     50 in" in done.stdout.decode()


def test_an_announced_end_is_no_fault() -> None:
    def serve(sock: socket.socket, over: threading.Event) -> None:
        sock.settimeout(20)
        kept = b""
        for n in range(20):
            while b"\r\n\r\n" not in kept:
                data = sock.recv(65536)
                if not data:
                    return
                kept += data
            kept = kept.partition(b"\r\n\r\n")[2]
            last = b"Connection: close\r\n" if n == 19 else b""
            sock.sendall(b"HTTP/1.1 200 OK\r\n%bContent-Length: 5\r\n\r\nhello" % last)

    with servers.far_end(serve) as address:
        done = run("load", "--get", f"http://127.0.0.1:{address.port}", "-n", "100", "-c", "2")
    assert done.returncode == 0, done.stdout
    assert b"messages     100 in" in done.stdout


def test_a_slow_response_is_no_stall() -> None:
    def serve(sock: socket.socket, over: threading.Event) -> None:
        sock.settimeout(20)
        while sock.recv(65536):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
            for _ in range(20):
                over.wait(0.1)
                sock.sendall(b"x")

    with servers.far_end(serve) as address:
        url = f"http://127.0.0.1:{address.port}"
        done = run("load", "--get", url, "-n", "1", "--timeout", "5")
        assert done.returncode == 0, done.stdout


def test_a_response_without_a_length_is_not_loaded() -> None:
    def serve(sock: socket.socket, over: threading.Event) -> None:
        sock.settimeout(20)
        if sock.recv(65536):
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")

    with servers.far_end(serve) as address:
        done = run("load", "--get", f"http://127.0.0.1:{address.port}", "-n", "5")
    assert done.returncode == 2 and b"the response has no length" in done.stderr


def test_an_error_is_not_loaded() -> None:
    with Serving("-q", address="http://127.0.0.1:0") as serving:
        url = f"http://127.0.0.1:{serving.port}"
        done = run("load", "--get", f"{url}/status/404", "-n", "10")
        assert (done.returncode, "status 404 Not Found" in done.stderr.decode()) == (2, True)
        done = run("load", "--get", f"{url}/close", "-n", "10")
        assert (done.returncode, "ended before the answer did" in done.stderr.decode()) == (2, True)
        done = run("load", "--get", f"{url}/delay/5", "-n", "10", "--timeout", "0.3")
        assert (done.returncode, "no response within 0.3 s" in done.stderr.decode()) == (2, True)


@pytest.mark.parametrize(
    "words", [("127.0.0.1:1",), ("ws://127.0.0.1:1",), ("http://127.0.0.1:1", "-s", "64")]
)
def test_what_does_not_go_with_it_is_said(words: tuple[str, ...]) -> None:
    done = run("load", "--get", *words)
    assert done.returncode == 2
    assert "--get" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
