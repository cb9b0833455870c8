"""The TLS layer: both ends of it against each other, without a socket; then over every engine, with
openssl(1) and ssl.
"""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meari import Address, ConnectError, Events, Server, StreamEcho, UsageError
from meari.channel import FIN, Channel, open_channel
from meari.engines import ENGINES
from meari.net import resolve
from meari.tls_context import client_context, server_context
from meari.wire.secured import secured
from meari.wire.tls import Tls

from . import certificates
from .test_channel import read_all

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def contexts(
    version: str = "1.3", *, client_ca: bool = False, cert: str | None = None
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A far end's and a near end's, of one version; the near end shows *cert*."""
    path = certificates.path
    far = server_context(
        path("server.pem"), path("server.key"), path("ca.pem") if client_ca else None
    )
    shown = (None, None) if cert is None else (path(f"{cert}.pem"), path(f"{cert}.key"))
    near = client_context(path("ca.pem"), cert=shown[0], key=shown[1])
    far.maximum_version = near.maximum_version = VERSIONS[version]
    far.minimum_version = near.minimum_version = VERSIONS[version]
    return far, near


def pair(version: str = "1.3", **options: object) -> tuple[Tls, Tls]:
    far, near = contexts(version, **options)  # type: ignore[arg-type]
    return Tls(near, host="localhost"), Tls(far)


def carry(one: Tls, other: Tls, cut: random.Random | None = None) -> tuple[bytes, bytes]:
    """Take wire bytes from each to the other, in pieces, until none is left; the plaintext that
    came to each.
    """
    came = [b"", b""]
    moving = True
    while moving:
        moving = False
        for i, (source, sink) in enumerate(((one, other), (other, one))):
            wire = source.take()
            moving |= bool(wire)
            while wire:
                n = len(wire) if cut is None else cut.randint(1, max(1, len(wire) // 2))
                came[1 - i] += sink.feed(wire[:n])
                wire = wire[n:]
    return came[0], came[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_handshake_an_echo_and_two_ends(version: str) -> None:
    near, far = pair(version)
    near.send(b"early")  # kept until the handshake is over
    assert carry(near, far) == (b"", b"early")
    assert near.ready and far.ready and near.within is None and far.within is None
    assert (near.version, near.alpn, bool(near.cipher)) == (f"TLSv{version}", "echo", True)
    assert near.certificate() and far.certificate() is None
    far.send(b"echo")
    assert carry(near, far) == (b"echo", b"")
    near.close()
    near.close()  # once
    carry(near, far)
    assert far.ended and not near.ended and far.error is None
    far.send(b"after your end")  # each direction ends by itself
    far.close()
    assert carry(near, far) == (b"after your end", b"")
    assert near.ended and near.error is None
    near.eof()
    far.eof()
    assert near.error is None and far.error is None


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 1 << 30),
    st.sampled_from(list(VERSIONS)),
    st.lists(st.binary(max_size=40_000), max_size=4),
)
def test_any_split_of_the_wire_gives_the_same_plaintext(
    seed: int, version: str, messages: list[bytes]
) -> None:
    near, far = pair(version)
    cut = random.Random(seed)
    carry(near, far, cut)
    for message in messages:
        near.send(message)
    near.close()
    assert carry(near, far, cut) == (b"", b"".join(messages))
    assert far.ended and far.error is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_without_close_notify_is_truncated(version: str) -> None:
    near, far = pair(version)
    far.eof()
    assert "in the handshake" in str(far.error)
    near, far = pair(version)
    carry(near, far)
    near.send(b"x")
    carry(near, far)
    near.eof()
    assert "truncated" in str(near.error)


def test_what_is_no_tls_is_an_error_and_an_alert() -> None:
    _, far = pair()
    far.feed(b"GET / HTTP/1.0\r\n\r\n")
    assert "http request" in str(far.error) and far.feed(b"more") == b""
    _, far = pair()
    far.wake()
    assert "not over in time" in str(far.error)


def test_a_flipped_bit_is_an_error() -> None:
    near, far = pair()
    carry(near, far)
    near.send(b"x" * 1000)
    wire = bytearray(near.take())
    wire[500] ^= 1
    assert far.feed(bytes(wire)) == b"" and far.error is not None and far.take()  # an alert


def test_certificates_are_verified_both_ways() -> None:
    far, _ = contexts()
    near = Tls(client_context(certificates.path("other.pem")), host="localhost")
    carry(near, Tls(far))
    assert "certificate verify failed" in str(near.error)
    wrong = Tls(contexts()[1], host="elsewhere.example")
    carry(wrong, Tls(far))
    assert "elsewhere.example" in str(wrong.error)
    for cert, well in (("client", True), ("stranger", False), (None, False)):
        near, server = pair(client_ca=True, cert=cert)
        carry(near, server)
        assert (server.error is None, near.error is None) == (well, well), cert
        assert near.ready  # a TLS 1.3 client has finished before it is judged
    assert Tls(client_context(insecure=True), host="localhost").error is None


def test_files_that_cannot_be_used_are_told_in_a_line() -> None:
    with pytest.raises(UsageError, match=r"none\.pem: No such file"):
        server_context("none.pem")
    with pytest.raises(UsageError, match="key values mismatch"):
        server_context(certificates.path("server.pem"), certificates.path("client.key"))
    with pytest.raises(UsageError):
        client_context(certificates.path("server.key"))


# Over engines


def opened(server: Server, near: ssl.SSLContext, host: str = "localhost") -> Channel:
    (endpoint,) = resolve(server.addresses[0])
    return open_channel([replace(endpoint, layer=lambda: Tls(near, host=host))], 20).channel


def exchange(channel: Channel, data: bytes) -> bytes:
    """Write all of *data*, end our direction, and read to the end of the other."""
    left, came = memoryview(data), b""
    while left:
        left = left[channel.write(left) :]
        came += channel.read() or b""
    channel.half_close()
    return came + read_all(channel, 60)


@pytest.mark.long
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("engine", list(ENGINES))
def test_half_closed_transfers_come_back_whole(engine: str, version: str) -> None:
    far, near = contexts(version)
    data = random.Random(1).randbytes(1 << 20)
    with Server("127.0.0.1:0", engine=engine, service=secured(far, StreamEcho)) as server:
        for _ in range(5):
            with opened(server, near) as channel:
                assert exchange(channel, data) == data
                assert channel.end == FIN


@pytest.mark.parametrize("engine", ["event", "process", "thread", "prethread"])
def test_silent_clients_delay_nobody(engine: str) -> None:
    far, near = contexts()
    with Server(
        "127.0.0.1:0", engine=engine, service=secured(far, StreamEcho, patience=2.0)
    ) as server:
        silent = [
            socket.create_connection(("127.0.0.1", server.addresses[0].port)) for _ in range(20)
        ]
        with opened(server, near) as channel:
            assert exchange(channel, b"quick") == b"quick"
        for sock in silent:
            sock.settimeout(20)
            assert sock.recv(1) == b""  # the handshake was not over in time
            sock.close()


@pytest.mark.parametrize("engine", ["event", "thread"])
def test_a_handshake_that_comes_in_drops_is_over_in_time_too(engine: str) -> None:
    far, _ = contexts()
    service = secured(far, StreamEcho, patience=0.5, clock=time.monotonic)
    with (
        Server("127.0.0.1:0", engine=engine, service=service) as server,
        socket.create_connection(("127.0.0.1", server.addresses[0].port), timeout=0.1) as sock,
    ):
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in b"\x16\x03\x01\x40\x00" + bytes(200):  # the head of a record of 16 KiB
                sock.sendall(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    if not sock.recv(1):
                        break
        assert 0.3 < time.monotonic() - began < 5


def test_ends_are_told_from_each_other_in_the_events() -> None:
    far, near = contexts()
    reported: list[tuple[str, str]] = []
    events = Events(lambda event: reported.append((str(event.kind), event.detail)))
    with Server("127.0.0.1:0", service=secured(far, StreamEcho), events=events) as server:
        with opened(server, near) as channel:
            assert exchange(channel, b"x") == b"x"
        with opened(server, near) as channel:
            channel.sock.shutdown(socket.SHUT_WR)  # no close_notify
            assert read_all(channel) == b""
        with socket.create_connection(("127.0.0.1", server.addresses[0].port)) as plain:
            plain.sendall(b"hello\n" * 100)
            while plain.recv(1000):
                pass
    ends = [(kind, detail) for kind, detail in reported if kind in ("closed", "failed")]
    assert ends[0] == ("closed", "")
    assert ends[1][0] == "failed" and "truncated" in ends[1][1]
    assert ends[2][0] == "failed" and "wrong version" in ends[2][1]


def test_a_server_that_is_no_tls_is_no_connection() -> None:
    _, near = contexts()
    with Server("127.0.0.1:0") as server, pytest.raises(ConnectError, match="the handshake failed"):
        opened(server, near)


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_s_client(version: str) -> None:
    far, _ = contexts(version)
    with Server("127.0.0.1:0", service=secured(far, StreamEcho)) as server:
        words = [
            "openssl",
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-CAfile",
            certificates.path("ca.pem"),
        ]
        words += ["-connect", f"127.0.0.1:{server.addresses[0].port}"]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as client:
            assert client.stdin is not None and client.stdout is not None
            client.stdin.write(b"hello\n")
            client.stdin.flush()
            assert client.stdout.readline() == b"hello\n"
            client.terminate()


def test_against_the_ssl_module_s_own_server() -> None:
    """A server of another make: it echoes what one read gives, and unwraps."""
    far, near = contexts()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            sock, _ = listening.accept()
            sock.settimeout(20)
            with far.wrap_socket(sock, server_side=True) as secure:
                while data := secure.recv(65536):
                    secure.sendall(data)
                secure.unwrap()

        thread = threading.Thread(target=serve)
        thread.start()
        (endpoint,) = resolve(Address("127.0.0.1", listening.getsockname()[1]))
        with open_channel(
            [replace(endpoint, layer=lambda: Tls(near, host="localhost"))], 20
        ).channel as channel:
            data = bytes(range(256)) * 200
            assert exchange(channel, data) == data
        thread.join(20)
