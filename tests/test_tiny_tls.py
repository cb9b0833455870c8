"""Files over TLS: the kernel cannot send them through a layer, so they are read in pieces."""

from __future__ import annotations

import functools
import os
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from meari import Server
from meari.certificates import self_sign
from meari.tls_context import client_context, server_context
from meari.web.conversation import Conversation
from meari.web.files import Files

from . import certificates
from .conftest import descriptors
from .middleboxes import need
from .program import until
from .test_tiny import ENGINES, ignore


@pytest.mark.parametrize("engine", ENGINES)
def test_files_over_tls(engine: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(1 << 20) * 5)
    (tmp_path / "small").write_bytes(b"small")
    context = server_context(None)
    self_sign(context, ["localhost"])
    service = functools.partial(Conversation, answer=Files(str(tmp_path)), log=ignore)
    with Server("tls://127.0.0.1:0", engine=engine, service=service, tls=context) as server:
        with ssl_client(server) as client:
            small = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"
            last = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            client.sendall(small + last.replace(b"close", b"keep-alive") + small + last)
            found = b""
            while data := client.recv(1 << 20):
                found += data
            large = (tmp_path / "large").read_bytes()
            assert found.count(large) == 2 and found.count(b"\r\n\r\nsmall") == 2
            assert found.endswith(large)
        with ssl_client(server) as client:  # it leaves in the middle
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1000)
        until(lambda: str(tmp_path / "large") not in descriptors().values())


def ssl_client(server: Server) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", server.addresses[0].port), 20)
    return client_context(insecure=True).wrap_socket(plain)


def test_openssl_is_served(tmp_path: Path) -> None:
    need("openssl")
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    context = server_context(certificates.path("server.pem"), certificates.path("server.key"))
    service = functools.partial(Conversation, answer=Files(str(tmp_path)), log=ignore)
    with Server("tls://127.0.0.1:0", service=service, tls=context) as server:
        done = subprocess.run(
            [
                *("openssl", "s_client", "-quiet", "-verify_return_error"),
                *("-CAfile", certificates.path("ca.pem"), "-verify_hostname", "localhost"),
                *("-connect", f"127.0.0.1:{server.addresses[0].port}"),
            ],
            input=b"GET /file HTTP/1.0\r\n\r\n",
            capture_output=True,
            timeout=30,
            check=False,
        )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK") and body == data, done.stderr
