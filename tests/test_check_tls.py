"""`check tls://`: what is found of a correct far end, and of each fault that a property is for."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import threading
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from meari import Server
from meari.tls_context import server_context

from . import certificates
from .program import Serving, run
from .servers import far_end, reading, sending

QUICK = ("--quick", "--only", "handshake,hello,truncation")


def context() -> ssl.SSLContext:
    return server_context(certificates.path("server.pem"), certificates.path("server.key"))


def pin(name: str) -> str:
    der = ssl.PEM_cert_to_DER_cert(Path(certificates.path(f"{name}.pem")).read_text())
    return hashlib.sha256(der).hexdigest()


@pytest.fixture
def port() -> Iterator[int]:
    with Server("tls://127.0.0.1:0", tls=context()) as server:
        yield server.addresses[0].port


def check(port: int, *options: str) -> dict[str, dict[str, typing.Any]]:
    words = [*options, f"tls://localhost:{port}"]
    if "--pin" not in options and "--insecure" not in options:
        words[:0] = ["--cafile", certificates.path("ca.pem")]
    done = run("check", "--json", *words)
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["holds"] and not found["unjudged"] else 1)
    return {each["name"]: each for each in found["properties"]}


def test_a_correct_far_end_has_no_finding(port: int) -> None:
    found = check(port, "--quick")
    assert {name: each["verdict"] for name, each in found.items()} == dict.fromkeys(found, "ok")
    assert {"handshake", "hello", "truncation", "half-close", "large", "reset"} <= set(found)
    shaken = found["handshake"]["evidence"]
    assert shaken["version"] == "TLSv1.3" and "localhost" in shaken["subject"]
    assert shaken["sha256"] == pin("server")
    assert found["hello"]["evidence"]["large_bytes"] > 2 * 1460


def test_without_the_scheme_they_are_not_tried(port: int) -> None:
    done = run("check", "--only", "hello", str(port))
    assert done.returncode == 2 and b"'hello' is of TLS" in done.stderr


def test_termination_is_told_from_pass_through(port: int) -> None:
    """With --pin alone another certificate is not accepted; beside --cafile it is compared."""
    ca = certificates.path("ca.pem")
    found = check(port, *QUICK, "--pin", pin("server"))
    assert {each["seen"] for each in found.values()} == {"passed-through", "ok"}
    found = check(port, *QUICK, "--cafile", ca, "--pin", pin("client"))
    assert found["handshake"]["seen"] == "terminated"
    assert found["handshake"]["causes"][0]["name"] == "tls-terminated"
    assert found["hello"]["seen"] == "needs"
    found = check(port, *QUICK, "--pin", pin("client"))
    assert found["handshake"]["seen"] == "failed"
    assert found["handshake"]["causes"][0]["name"] == "tls-other-certificate"


def test_a_certificate_that_is_not_trusted(port: int) -> None:
    found = check(port, *QUICK, "--cafile", certificates.path("other.pem"))
    assert found["handshake"]["seen"] == "failed"
    assert found["handshake"]["causes"][0]["name"] == "tls-not-trusted"


def test_a_far_end_without_tls() -> None:
    with Server("127.0.0.1:0") as server:
        found = check(server.addresses[0].port, *QUICK)
    assert found["handshake"]["seen"] == "failed"
    assert found["handshake"]["causes"][0]["name"] == "tls-not-spoken"


@pytest.mark.parametrize(("most", "whole", "seen"), [(1500, False, "large"), (9999, True, "split")])
def test_a_middlebox_that_wants_a_small_or_a_whole_client_hello(
    port: int, most: int, whole: bool, seen: str
) -> None:
    """One drops a ClientHello that is larger than *most*, the other one that is not all there."""

    def relay(sock: socket.socket, over: threading.Event) -> None:
        hello = b""
        for data in reading(sock, over):
            hello += data
            size = 5 + int.from_bytes(hello[3:5], "big")
            if (whole and len(hello) < size) or len(hello) > most:
                return
            if len(hello) >= size:
                break
        with socket.create_connection(("127.0.0.1", port)) as onward:
            onward.settimeout(0.05)
            onward.sendall(hello)
            back = threading.Thread(target=carry, args=(onward, sock, over))
            back.start()
            carry(sock, onward, over)
            back.join()

    def carry(source: socket.socket, sink: socket.socket, over: threading.Event) -> None:
        try:
            for data in reading(source, over):
                sending(sink, data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            over.wait(0)

    with far_end(relay) as address:
        found = check(address.port, *QUICK)
    assert found["hello"]["seen"] == seen, found["hello"]
    assert found["hello"]["causes"][0]["name"] == "hello-in-one-segment"
    assert found["handshake"]["verdict"] == found["truncation"]["verdict"] == "ok"


def test_a_far_end_that_ends_without_close_notify() -> None:
    def echo(sock: socket.socket, over: threading.Event) -> None:
        sock.settimeout(10)
        with context().wrap_socket(sock, server_side=True) as tls:
            while data := tls.recv(65536):
                tls.sendall(data)

    with far_end(echo) as address:
        found = check(address.port, "--quick", "--only", "truncation,half-close,close")
    assert found["truncation"]["seen"] == "missing"
    assert found["truncation"]["causes"][0]["name"] == "closed-without-notify"
    # The bytes came back, and the end came: those properties hold.
    assert found["half-close"]["verdict"] == found["close"]["verdict"] == "ok", found


def test_self_signed_prints_the_pin_that_a_near_end_needs() -> None:
    with Serving("tls://127.0.0.1:0", "--self-signed") as server:
        line = server.wait_for("self-signed certificate, SHA-256 [0-9a-f]{64}")
        digest = line.split("SHA-256 ")[1][:64]
        at = str(server.address)
        assert run("ping", "-c", "1", "--pin", digest, at).returncode == 0
        other = digest[:-1] + ("0" if digest[-1] != "0" else "1")
        refused = run("ping", "-c", "1", "--pin", other, at)
        assert refused.returncode == 2 and digest.encode() in refused.stderr
        assert run("ping", "-c", "1", at).returncode == 2  # no authority signed it
    # A name beyond ASCII is in the certificate in its IDNA form, or left out; no traceback.
    for host in ("bücher.invalid", "x" * 70 + ".invalid", "메아리"):
        done = run("serve", "--self-signed", f"tls://{host}:0")
        assert done.returncode == 2 and b"cannot listen" in done.stderr, done.stderr
    for wrong in (["--self-signed", "0"], ["--self-signed", "--cert", "x", "tls://:0"]):
        done = run("serve", *wrong)
        assert done.returncode == 2 and b"Traceback" not in done.stderr
