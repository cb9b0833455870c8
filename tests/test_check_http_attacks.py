"""check http:// and ws:// against servers that mean no good: bounded in time and memory, one
verdict for each property, no traceback, and never a 0.
"""

from __future__ import annotations

import json
import resource
import socket
import threading
import time
from collections.abc import Callable

import pytest

from . import servers
from .program import run

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Serve = Callable[[socket.socket, threading.Event], None]


def endless(piece: bytes, first: bytes = b"") -> Serve:
    """Sends *piece* for ever once a request has come."""

    def serve(sock: socket.socket, over: threading.Event) -> None:
        sock.settimeout(5)
        sock.recv(65536)
        sock.sendall(first)
        while not over.is_set():
            sock.sendall(piece)

    return serve


def answering(answer: bytes, how: str = "") -> Serve:
    """Answers each read with *answer*: a byte at a time ("slowly"), or with a reset behind it."""

    def serve(sock: socket.socket, over: threading.Event) -> None:
        sock.settimeout(5)
        while sock.recv(65536) and not over.is_set():
            for piece in [answer[i : i + 1] for i in range(len(answer))] if how else [answer]:
                sock.sendall(piece)
                if how == "slowly":
                    time.sleep(0.002)
            if how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                return

    return serve


def silent(sock: socket.socket, over: threading.Event) -> None:
    """Reads nothing, and answers nothing."""
    over.wait(60)


def fake(**parts: object) -> bytes:
    """What looks like a report, but for some of its parts."""
    report: dict[str, object] = {
        "instance": "x",
        "request_line": "GET / HTTP/1.1",
        "method": "GET",
        "target": "/",
        "headers": [],
        "body": {"bytes": 0},
        "arrival": {"pieces": []},
        "announced": {},
        "peer": {},
        "request": 1,
        "met": [],
    }
    body = json.dumps(report | parts).encode()
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


DEEP = b"[" * 100_000
ATTACKS: dict[str, Serve] = {
    "silent": silent,
    "garbage": answering(b"SSH-2.0-OpenSSH\r\n"),
    "a byte at a time": answering(HEAD + b"Content-Length: 2\r\n\r\n{}", "slowly"),
    "reset in the middle": answering(HEAD + b"Content-Length: 999\r\n\r\n{", "reset"),
    "endless headers": endless(b"X: " + b"x" * 1000 + b"\r\n", HEAD),
    "endless interim": endless(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "endless body": endless(b"x" * 65536, HEAD + b"\r\n"),
    "deep": answering(HEAD + b"Content-Length: %d\r\n\r\n" % len(DEEP) + DEEP),
    "fake": answering(fake()),
    "fake peer": answering(fake(peer={"port": []}, headers=[[1, None]])),
    "fake headers": answering(fake(headers="none")),
    "fake body": answering(fake(body=[])),
}


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_server_is_judged(attack: str) -> None:
    began = time.monotonic()
    with servers.far_end(ATTACKS[attack]) as address:
        url = f"http://127.0.0.1:{address.port}"
        done = run("check", url, "--quick", "--json", timeout=100, preexec_fn=limited)
    assert done.returncode == 1, done.stderr
    assert not done.stderr, done.stderr
    assert len(json.loads(done.stdout)["properties"]) == 17
    assert time.monotonic() - began < 75


@pytest.mark.parametrize(
    "serve", [silent, endless(b"\x81\x02hi", b"HTTP/1.1 101 x\r\n\r\n"), answering(b"\xff" * 99)]
)
def test_a_hostile_websocket_is_judged(serve: Serve) -> None:
    with servers.far_end(serve) as address:
        url = f"ws://127.0.0.1:{address.port}"
        done = run("check", url, "--quick", "--json", timeout=100, preexec_fn=limited)
    assert (done.returncode, done.stderr) == (1, b"")


def test_without_descriptors_it_is_this_machine_s_limit() -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))

    with servers.far_end(answering(fake())) as address:
        url = f"http://127.0.0.1:{address.port}"
        done = run("check", url, "--quick", timeout=60, preexec_fn=few)
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/경로", "http://127.0.0.1:1/a?b=c"])
def test_what_is_no_prefix_is_said(url: str) -> None:
    done = run("check", url)
    assert done.returncode == 2 and b"Traceback" not in done.stderr
