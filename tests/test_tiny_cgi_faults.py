"""CGI programs and clients that do wrong, are slow, or go on."""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from meari import Limits
from meari.web import conversation

from .program import until
from .test_tiny import CONCURRENT, Answer, get, raw
from .test_tiny_cgi import TYPE, gone, program, root, serving

__all__ = ["root"]  # a fixture


def test_output_shorter_than_its_length_is_a_reset(root: Path) -> None:
    program(root, "short", f"echo 'Content-Length: 100'; {TYPE} echo short")
    with serving(root) as server, pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        get(server, "/cgi-bin/short")


@pytest.mark.parametrize("lack", [errno.EMFILE, errno.ENOMEM, errno.EAGAIN])
def test_without_descriptors_memory_or_processes_it_is_tried_later(
    lack: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(root, "p", TYPE + "echo ok")
    popen = subprocess.Popen

    def fails(*_: object, **__: object) -> None:
        raise OSError(lack, os.strerror(lack))

    with serving(root) as server:
        for _ in range(3):
            monkeypatch.setattr("meari.web.program.subprocess.Popen", fails)
            assert get(server, "/cgi-bin/p").status == 503
            monkeypatch.setattr("meari.web.program.subprocess.Popen", popen)
            assert get(server, "/cgi-bin/p").body == b"ok\n"


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_client_that_never_reads_ends_the_program(engine: str, root: Path) -> None:
    """At the idle limit: what it does not take is not read from the program."""
    program(root, "endless", f"echo $$ > {root}/pid\n{TYPE} yes")
    with serving(root, engine, limits=Limits(idle=1.0)) as server:
        with socket.create_connection(("127.0.0.1", server.addresses[0].port), 20) as client:
            client.sendall(b"GET /cgi-bin/endless HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: (root / "pid").exists() and (root / "pid").read_text())
            gone(int((root / "pid").read_text()))
        assert get(server, "/").body == b"home"


def test_a_program_that_cannot_be_run_is_an_error_page(root: Path) -> None:
    program(root, "lost", "echo", interpreter="/no/such/interpreter")
    said: list[str] = []
    with serving(root, said=said) as server:
        assert get(server, "/cgi-bin/lost").status == 500
        assert said == ["/cgi-bin/lost: cannot be run: No such file or directory"]
        program(root, "none", "").chmod(0o644)
        assert get(server, "/cgi-bin/none").status == 403
        assert get(server, "/").body == b"home"


def test_the_standard_error_is_logged_and_bounded(root: Path) -> None:
    program(root, "loud", f"echo one >&2; printf two >&2; {TYPE} echo ok")
    program(root, "flood", f"yes flood | head -c 300000 >&2; {TYPE} echo ok")
    said: list[str] = []
    with serving(root, said=said) as server:
        assert get(server, "/cgi-bin/loud").body == b"ok\n"
        assert said == ["/cgi-bin/loud: one", "/cgi-bin/loud: two"]
        assert get(server, "/cgi-bin/flood").body == b"ok\n"
        assert len(said) < 12_000 and said[-1].endswith("is not logged")


def test_keep_alive_and_pipelining_across_programs(root: Path) -> None:
    program(root, "p", TYPE + 'sleep 0.1; echo "$QUERY_STRING"')
    request = b"GET /cgi-bin/p?%d HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(root) as server:
        whole = b"".join(request % n for n in range(3))
        whole += b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        found = raw(server, whole)
        assert found.count(b"HTTP/1.1 200") == 4
        assert re.findall(rb"\r\n(\d)\n\r\n0\r\n", found) == [b"0", b"1", b"2"]
        assert found.endswith(b"home")
        old = raw(server, b"GET /cgi-bin/p?7 HTTP/1.0\r\n\r\n")
        assert b"chunked" not in old and old.endswith(b"\r\n\r\n7\n")


def test_head_and_other_methods(root: Path) -> None:
    program(root, "p", TYPE + 'echo "$REQUEST_METHOD" >&2; echo body')
    said: list[str] = []
    with serving(root, said=said) as server:
        answer = get(server, "/cgi-bin/p", method="HEAD")
        assert answer.status == 200 and answer.body == b""
        until(lambda: said == ["/cgi-bin/p: HEAD"])  # the client has its answer before
        assert get(server, "/cgi-bin/p", method="PUT").status == 405
        chunked = b"POST /cgi-bin/p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        assert raw(server, chunked + b"\r\n0\r\n\r\n").startswith(b"HTTP/1.1 411")


def test_expect_continue(root: Path) -> None:
    program(root, "cat", f"x=$(head -c 3); {TYPE} printf $x")
    head = b"POST /cgi-bin/cat HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
    with (
        serving(root) as server,
        socket.create_connection(("127.0.0.1", server.addresses[0].port), 20) as client,
    ):
        client.sendall(head + b"\r\n")
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        found = b""
        while b"0\r\n\r\n" not in found:
            found += client.recv(4096)
        assert b"abc" in found
    # The whole body would be too long: it need not be sent.
    with serving(root, body=2) as server:
        assert raw(server, head + b"\r\n").startswith(b"HTTP/1.1 413")


def test_a_body_that_is_too_long_or_too_slow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "REQUEST", 0.5)
    program(root, "cat", f"echo $$ > {root}/pid; read line; {TYPE} cat")
    head = b"POST /cgi-bin/cat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with serving(root, body=1000) as server:
        assert raw(server, head % 1001).startswith(b"HTTP/1.1 413")
        with socket.create_connection(("127.0.0.1", server.addresses[0].port), 20) as client:
            client.sendall(head % 1000 + b"abc")
            assert client.recv(4096).startswith(b"HTTP/1.1 408")
            gone(int((root / "pid").read_text()))


def test_a_program_may_not_outlive_its_request(root: Path) -> None:
    """Neither one that closes its output and stays, nor what it started."""
    program(root, "stays", f"{TYPE} echo $$; sleep 1000 >&- 2>&- & exec sleep 1000 >&- 2>&-")
    with serving(root) as server:
        began = time.monotonic()
        body = get(server, "/cgi-bin/stays").body
        gone(int(body))
        assert 0.5 < time.monotonic() - began < 10


def test_what_a_program_leaves_behind_does_not_hold_up_its_response(root: Path) -> None:
    program(root, "forks", f"{TYPE} sleep 1000 & echo $$")
    with serving(root) as server:
        began = time.monotonic()
        gone(int(get(server, "/cgi-bin/forks").body))
        assert time.monotonic() - began < 10


def test_a_hundred_programs_at_once_and_no_more(root: Path) -> None:
    program(root, "wait", f"{TYPE} while [ ! -e {root}/go ]; do sleep 0.1; done")
    with serving(root) as server:
        clients = [
            socket.create_connection(("127.0.0.1", server.addresses[0].port), 30)
            for _ in range(104)
        ]
        for client in clients:
            client.sendall(b"GET /cgi-bin/wait HTTP/1.0\r\n\r\n")
        refused = [client for client in clients if client.recv(12) == b"HTTP/1.1 503"]
        assert len(refused) == 4
        (root / "go").touch()
        for client in clients:
            while client.recv(4096):
                pass
            client.close()
        assert get(server, "/cgi-bin/wait").status == 200


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_drain_waits_for_a_program(engine: str, root: Path) -> None:
    program(root, "slow", f"{TYPE} touch {root}/ran; sleep 1.5; echo done")
    with serving(root, engine) as server:
        found: list[Answer] = []
        asking = threading.Thread(target=lambda: found.append(get(server, "/cgi-bin/slow")))
        asking.start()
        until((root / "ran").exists)
        server.stop()
        asking.join()
        assert found[0].body == b"done\n"
