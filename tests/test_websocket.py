"""The WebSocket echo, with the websockets library as its client, and with frames of our own."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import struct
import subprocess
import time
import zlib
from collections.abc import Sequence

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from meari import Server
from meari.web.far_end import Bounds

from .program import MEARI, Serving
from .test_http_far_end import serving
from .test_tiny import CONCURRENT, ENGINES, get, raw

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
)


def url(server: Server, rest: str = "/ws") -> str:
    return f"ws://127.0.0.1:{server.addresses[0].port}{rest}"


def frame(
    opcode: int, data: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """A client's frame; its mask is zero."""
    head = bytes([fin << 7 | rsv << 4 | opcode])
    mask = 0x80 if masked else 0
    if len(data) < 126:
        head += bytes([mask | len(data)])
    elif len(data) < 65536:
        head += struct.pack("!BH", mask | 126, len(data))
    else:
        head += struct.pack("!BQ", mask | 127, len(data))
    return head + bytes(4 * masked) + data


def opened(server: Server, extensions: bytes = b"", target: bytes = b"/ws") -> socket.socket:
    """A connection after the handshake."""
    client = socket.create_connection(("127.0.0.1", server.addresses[0].port), 20)
    client.sendall(UPGRADE.replace(b"/ws", target) + extensions + b"\r\n")
    head = client.recv(4096)
    assert head.startswith(b"HTTP/1.1 101") and head.endswith(b"\r\n\r\n"), head
    return client


def rest(client: socket.socket) -> bytes:
    with client:
        found = b""
        while data := client.recv(65536):
            found += data
        return found


def close_code(found: bytes) -> int:
    """The code of the last frame, a close frame."""
    at = found.rindex(b"\x88")
    return int(struct.unpack_from("!H", found, at + 2)[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_messages_come_back_on_every_engine(engine: str) -> None:
    messages: Sequence[str | bytes] = ["", "hello", "가나다" * 50_000, b"", os.urandom(1 << 20)]
    with serving(engine) as server:
        for compression in ("deflate", None):
            # The client's own limit is for what arrives, which is a little more.
            with connect(
                url(server, "/prefix/ws"), compression=compression, max_size=None
            ) as client:
                for message in messages:
                    client.send(message)
                    assert client.recv(20) == message
                client.send(["frag", "men", "ted"])
                assert list(client.recv_streaming()) == ["frag", "men", "ted", ""]
                assert client.ping().wait(20)
                client.close(4001, "enough")
                assert client.close_code == 4001 and client.close_reason == "enough"
        assert get(server, "/echo").status == 200


@pytest.mark.parametrize("engine", CONCURRENT)
def test_first_words_and_pings(engine: str) -> None:
    with serving(engine) as server:
        with connect(url(server, "/ws?first=%EA%B0%80"), compression=None) as client:
            assert client.recv(20) == "가"
        with opened(server, target=b"/ws?ping=100ms") as pinged:
            found = b""
            while found.count(b"\x89\x05meari") < 2:
                found += pinged.recv(4096)


def test_subprotocols() -> None:
    with serving() as server:
        for offered, agreed in ((["x", "echo"], "echo"), (["x"], None), ([], None)):
            protocols = [Subprotocol(name) for name in offered]
            with connect(url(server), subprotocols=protocols or None) as client:
                assert client.subprotocol == agreed
                client.send("a")
                assert client.recv(20) == "a"


def test_origins() -> None:
    with serving(bounds=Bounds(origins=("https://good.example",))) as server:
        port = server.addresses[0].port
        for origin, expected in (
            (f"http://127.0.0.1:{port}", 101),
            ("https://good.example", 101),
            ("https://evil.example", 403),
            (f"http://127.0.0.1:{port + 1}", 403),
            ("null", 403),
        ):
            try:
                with connect(url(server), origin=Origin(origin)):
                    found = 101
            except InvalidStatus as refused:
                found = refused.response.status_code
            assert found == expected, origin


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(1, b"\xff"), 1007),
        (frame(1, b"\xea\xb0", fin=False) + frame(0, b"x"), 1007),
        (frame(1, b"\xea\xb0"), 1007),
        (frame(3, b""), 1002),
        (frame(1, b"a", rsv=4), 1002),
        (frame(2, b"a", masked=False), 1002),
        (frame(0, b"a"), 1002),
        (frame(1, b"a", fin=False) + frame(1, b"b"), 1002),
        (frame(9, b"a", fin=False), 1002),
        (frame(9, bytes(126)), 1002),
        (frame(8, b"\x03"), 1002),
        (frame(8, struct.pack("!H", 1005)), 1002),
        (frame(8, struct.pack("!H", 1000) + b"\xff"), 1007),
        (frame(2, bytes((1 << 20) + 1)), 1009),
        (frame(2, bytes(1 << 20), fin=False) + frame(0, b"x"), 1009),
        (frame(8, struct.pack("!H", 3000)), 3000),
    ],
)
def test_what_breaks_the_rules_is_closed_with_its_code(frames: bytes, code: int) -> None:
    with serving() as server:
        client = opened(server)
        client.sendall(frames)
        assert close_code(rest(client)) == code
        assert get(server, "/echo").status == 200


def test_text_may_be_cut_inside_a_character() -> None:
    with serving() as server, opened(server) as client:
        client.sendall(frame(1, b"\xea\xb0", fin=False) + frame(0, b"\x80"))
        found = b""
        while len(found) < 7:
            found += client.recv(100)
        assert found == b"\x01\x02\xea\xb0\x80\x01\x80"


def test_data_before_a_close_or_a_fault_comes_back() -> None:
    with serving() as server:
        for last, code in ((frame(8, struct.pack("!H", 1000)), 1000), (frame(3, b""), 1002)):
            client = opened(server)
            client.sendall(frame(1, b"one") + frame(2, b"two") + last)
            found = rest(client)
            assert found.startswith(b"\x81\x03one\x82\x03two\x88")
            assert close_code(found) == code


def test_what_inflates_beyond_the_limit_is_refused() -> None:
    """A hundred megabytes in a few kilobytes."""
    deflate = zlib.compressobj(9, wbits=-15)
    bomb = deflate.compress(bytes(100 << 20)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    with serving() as server:
        client = opened(server, b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
        client.sendall(frame(2, bomb[:-4], rsv=4))
        assert close_code(rest(client)) == 1009


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"GET", b"POST"), b"405"),
        ((b"Upgrade: websocket\r\n", b""), b"426"),
        ((b"Connection: Upgrade\r\n", b""), b"426"),
        ((b"Version: 13", b"Version: 8"), b"400"),
        ((b"AAAAAAAAAAAAAAAAAAAAAA==", b"AAAA"), b"400"),
        ((b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b""), b"400"),
        ((b"HTTP/1.1", b"HTTP/1.0"), b"505"),
        ((b"/ws", b"/ws?ping=x"), b"400"),
    ],
)
def test_handshakes_that_are_refused(change: tuple[bytes, bytes], status: bytes) -> None:
    with serving() as server:
        found = raw(server, UPGRADE.replace(*change) + b"\r\n")
        assert found.split()[1] == status, found


def test_data_before_the_answer_is_a_fault() -> None:
    with serving() as server:
        client = socket.create_connection(("127.0.0.1", server.addresses[0].port), 20)
        client.sendall(UPGRADE + b"\r\n" + frame(1, b"early"))
        with pytest.raises(ConnectionResetError):
            rest(client)


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_drain_says_going_away(engine: str) -> None:
    with serving(engine) as server, connect(url(server)) as client:
        client.send("a")
        assert client.recv(20) == "a"
        server.stop()
        with pytest.raises(ConnectionClosed):
            client.recv(20)
        assert client.close_code == 1001


def test_frames_byte_by_byte() -> None:
    with serving() as server, opened(server) as client:
        for byte in frame(1, b"hello"):
            client.sendall(bytes([byte]))
            time.sleep(0.001)
        assert client.recv(100) == b"\x81\x05hello"


def test_over_tls_and_as_the_command_logs_it() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with Serving("--self-signed", address="https://127.0.0.1:0") as server:
        line = next(line for line in server.lines if "listening on" in line)
        port = int(line.rpartition(":")[2])
        with connect(f"wss://127.0.0.1:{port}/ws", ssl=context) as client:
            client.send("hello")
            assert client.recv(20) == "hello"
        server.wait_for('"GET /ws HTTP/1.1" 101')
        server.wait_for("server received 5 bytes")


def test_a_key_is_answered_as_the_rfc_says() -> None:
    """The example of RFC 6455, 1.3."""
    with serving() as server:
        key = base64.b64encode(b"the sample nonce")
        found = raw(server, UPGRADE.replace(b"AAAAAAAAAAAAAAAAAAAAAA==", key) + b"\r\n")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in found


def test_an_echo_does_not_wait_for_the_library() -> None:
    """It is imported for http:// alone."""
    code = (
        "import sys, meari.cli.serve; print(any(m.startswith('websockets') for m in sys.modules))"
    )
    done = subprocess.run([MEARI[0], "-c", code], capture_output=True, text=True, timeout=20)
    assert done.stdout == "False\n"
