"""Requests that must not be served, sent to a server: each gets an error, and nothing is served."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from .test_tiny import ENGINES, raw, serving
from .test_wire_http import GET, REJECTED


@pytest.mark.parametrize("engine", ENGINES)
def test_none_is_served(engine: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("served")
    (tmp_path / "a").write_text("served")
    with serving(tmp_path, engine) as server:
        for name, (request, status) in REJECTED.items():
            try:
                answer = raw(server, request + GET + b"\r\n")  # nor what is smuggled behind it
            except ConnectionError:
                continue  # closed with bytes unread
            assert b"served" not in answer, name
            found = [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", answer)]
            assert len(found) == 1 and found[0] >= 400 and status in (None, found[0]), name
        served = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert raw(server, served).endswith(b"served")


def test_a_slow_request_is_served_once_it_is_complete(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("served")
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with serving(tmp_path) as server:
        address = ("127.0.0.1", server.addresses[0].port)
        with socket.create_connection(address, 20) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(request)):
                client.sendall(request[i : i + 1])
            found = b""
            while data := client.recv(4096):
                found += data
        assert found.endswith(b"served")
