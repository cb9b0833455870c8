"""Attacks on a web server: slow readers, a lack of descriptors, a log that is not read."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
import socket
import time
from pathlib import Path

import pytest

from meari import Limits, Server
from meari.web.conversation import Conversation
from meari.web.files import Files

from . import crowd
from .conftest import descriptors
from .program import Serving, run, until
from .test_tiny import CONCURRENT, get, ignore, serving

HUGE = b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n"
SMALL = b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "한글"
    root.mkdir()
    (root / "small").write_bytes(b"small")
    (root / "huge").touch()
    os.truncate(root / "huge", 1 << 30)
    return root


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(SMALL)
        found = b""
        while data := client.recv(4096):
            found += data
        return found


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_client_that_never_reads_is_ended_and_delays_nobody(engine: str, root: Path) -> None:
    service = functools.partial(Conversation, answer=Files(str(root)), log=ignore)
    limits = Limits(idle=1.0)
    with Server("127.0.0.1:0", engine=engine, service=service, limits=limits) as server:
        deaf = crowd.connect(server.addresses[0].port, 5)
        for client in deaf:
            client.send(HUGE)
        resets = select.poll()
        for client in deaf:
            resets.register(client, 0)
        end = time.monotonic() + 20
        while len(resets.poll(0)) < len(deaf) and time.monotonic() < end:
            assert get(server, "/small").body == b"small"
        for client in deaf:
            with pytest.raises(ConnectionResetError):
                while client.recv(1 << 20):
                    pass
            client.close()
        until(lambda: str(root / "huge") not in descriptors().values())


def test_without_descriptors_clients_wait_and_no_file_is_missing(root: Path) -> None:
    """Each connection may hold two: so as many are admitted as can have their file."""
    with Serving(command=["tiny", str(root)], descriptors=60) as server:
        clients = crowd.connect(server.port, 40)
        for client in clients:
            client.send(HUGE)
        server.wait_for("wait")  # the others are in the backlog
        for client in clients:
            client.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                assert client.recv(1000).startswith(b"HTTP/1.1 200")
        for client in clients:
            crowd.reset(client)
        assert ask(server.port).endswith(b"small")


def test_a_lack_of_descriptors_is_no_missing_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with serving(root) as server:
        monkeypatch.setattr("meari.web.files.os.open", fails)
        answer = get(server, "/small")
        assert answer.status == 503 and b"Too many open files" in answer.body


def test_a_log_that_is_not_read_holds_up_no_request(root: Path) -> None:
    with Serving(command=["tiny", str(root)]) as server:
        many = SMALL.replace(b"close", b"keep-alive") * 4000
        for _ in range(2):
            (client,) = crowd.connect(server.port, 1)
            assert crowd.exchange([client], [many])
        assert ask(server.port).endswith(b"small")


def test_on_a_unix_socket(root: Path, tmp_path: Path) -> None:
    where = f"unix:{tmp_path}/socket"
    service = functools.partial(Conversation, answer=Files(str(root)), log=ignore)
    with Server(where, service=service), socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/socket")
        client.sendall(SMALL)
        found = b""
        while data := client.recv(4096):
            found += data
        assert found.endswith(b"small")


def test_what_cannot_be_is_one_clear_line(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, said in (
            ([str(root / "없음")], "does not exist"),
            ([str(root / "small")], "is a file"),
            ([str(root), "127.0.0.1", port], "held by process"),
            ([str(root), "tls://127.0.0.1:0"], "tls:// needs a certificate"),
            ([str(root), "--cert", "x", "127.0.0.1:0"], "are of tls:// and https:// addresses"),
            ([str(root), "nonsense:x"], "port"),
        ):
            done = run("tiny", *words)
            assert (done.returncode, done.stdout) == (2, b""), words
            assert said in done.stderr.decode() and b"Traceback" not in done.stderr
