"""The HTTP far end: what it returns, reports and does to a connection, on every engine."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.client
import json
import socket
import subprocess
import threading
import time
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from meari import Limits, Server
from meari.errors import UsageError
from meari.stream.pattern import Stream
from meari.web.far_end import Bounds, FarEnd

from .program import MEARI, Serving
from .test_tiny import CONCURRENT, ENGINES, get, ignore, raw


@contextlib.contextmanager
def serving(
    engine: str = "event", *, bounds: Bounds | None = None, limits: Limits | None = None
) -> Iterator[Server]:
    service = FarEnd(ignore, bounds)
    with Server("http://127.0.0.1:0", engine=engine, http=service, limits=limits) as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.addresses[0].port), 20)


def report(server: Server, request: bytes) -> dict[str, typing.Any]:
    found = raw(server, request)
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), found
    answer: dict[str, typing.Any] = json.loads(body)
    return answer


@pytest.mark.parametrize("engine", ENGINES)
def test_every_name_on_every_engine(engine: str) -> None:
    with serving(engine) as server:
        assert get(server, "/a/b/echo").body == b""
        assert json.loads(get(server, "/report").body)["target"] == "/report"
        assert get(server, "/bytes/100000?run=7&connection=3").body == Stream(7, 3, 1).read(
            0, 100_000
        )
        assert get(server, "/prefix/status/503").status == 503
        assert get(server, "/delay/10ms").body == b"after 0.01 s\n"
        assert get(server, "/stream?pieces=3&every=1ms").body.count(b"\n") == 3
        assert get(server, "/").body.startswith(b"meari:")
        assert get(server, "/none").status == 404


@pytest.mark.parametrize("engine", CONCURRENT)
@pytest.mark.parametrize("chunked", [False, True])
def test_the_echo_comes_while_the_body_arrives(engine: str, chunked: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 60"
    with serving(engine) as server, connect(server) as client:
        kind = b"Content-Type: text/x; a=b\r\n"
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + kind + framing + b"\r\n\r\n")
        found = b""
        for n in range(6):
            line = b"piece %03d\n" % n
            client.sendall(b"a\r\n%b\r\n" % line if chunked else line)
            while line not in found:
                found += client.recv(4096)
        if chunked:
            client.sendall(b"0\r\n\r\n")
            while not found.endswith(b"0\r\n\r\n"):
                found += client.recv(4096)
        assert b"Content-Type: text/x; a=b\r\n" in found
        client.sendall(b"GET /status/204 HTTP/1.1\r\nHost: x\r\n\r\n")  # the connection lives on
        assert client.recv(4096).startswith(b"HTTP/1.1 204")


@pytest.mark.parametrize("engine", ENGINES)
def test_large_bodies_come_back_whole(engine: str) -> None:
    body = Stream(1, 1).read(0, 5_000_000)
    with serving(engine) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.addresses[0].port, 20)
        with contextlib.closing(client):
            found: list[bytes] = []
            client.putrequest("PUT", "/echo")
            client.putheader("Content-Length", str(len(body)))
            client.endheaders()
            sending = threading.Thread(target=client.send, args=(body,))
            sending.start()
            found.append(client.getresponse().read())
            sending.join()
        assert found == [body]


def test_the_report_is_exact() -> None:
    request = b"PATCH /x/report?a=%20b&a HTTP/1.1\r\nhOST: x\r\nX-A: 1\r\nx-a:  2 \r\n"
    request += b"X-Bytes: \xea\xb0\x80\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    request += b"3\r\nabc\r\n5;x=y\r\nhello\r\n0\r\nT-1: end\r\n\r\n"
    with serving() as server:
        found = report(server, request)
    assert found["request_line"] == "PATCH /x/report?a=%20b&a HTTP/1.1"
    assert found["headers"] == [
        ["hOST", "x"],
        ["X-A", "1"],
        ["x-a", "2 "],
        ["X-Bytes", {"base64": base64.b64encode("가".encode()).decode()}],
        ["Transfer-Encoding", "chunked"],
        ["Connection", "close"],
    ]
    assert found["body"] == {
        "framing": "chunked",
        "bytes": 8,
        "chunks": [3, 5],
        "trailers": [["T-1", "end"]],
        "sha256": hashlib.sha256(b"abchello").hexdigest(),
    }
    assert found["tls"] is None and found["connection"] == 1 and found["request"] == 1


def test_the_report_tells_when_each_piece_arrived() -> None:
    with serving() as server, connect(server) as client:
        client.sendall(b"POST /report HTTP/1.1\r\n")
        time.sleep(0.5)
        client.sendall(b"Host: x\r\nConnection: close\r\nContent-Length: 6\r\n\r\nabc")
        time.sleep(1.0)
        client.sendall(b"def")
        found = b""
        while data := client.recv(65536):
            found += data
        arrival = json.loads(found.partition(b"\r\n\r\n")[2])["arrival"]
    assert 0.25 < arrival["head_seconds"] <= arrival["pieces"][0][0] <= arrival["pieces"][1][0]
    assert [n for _, n in arrival["pieces"]] == [3, 3]
    assert arrival["pieces"][1][0] - arrival["pieces"][0][0] > 0.5 < arrival["seconds"]


def test_the_report_counts_connections_and_requests() -> None:
    request = b"GET /report HTTP/1.1\r\nHost: x\r\nForwarded: for=192.0.2.1\r\n\r\n"
    with serving() as server:
        found = []
        for _ in range(2):
            with connect(server) as client:
                for _ in range(2):
                    client.sendall(request)
                    answer = http.client.HTTPResponse(client)
                    answer.begin()
                    found.append(json.loads(answer.read()))
    assert [(each["connection"], each["request"]) for each in found] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert len({each["instance"] for each in found}) == 1
    assert found[0]["announced"]["forwarded"] == ["for=192.0.2.1"]
    assert found[0]["peer"]["address"] == "127.0.0.1"


def test_the_report_of_tls(tmp_path: Path) -> None:
    with Serving("--self-signed", address="https://127.0.0.1:0") as server:
        request = b"GET /report HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
        done = subprocess.run(
            [
                *("openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{_port(server)}"),
                *("-servername", "a.example", "-alpn", "h2,http/1.1", "-tls1_2"),
            ],
            input=request,
            capture_output=True,
            timeout=20,
        )
        found = json.loads(done.stdout.partition(b"\r\n\r\n")[2])["tls"]
        assert found["version"] == "TLSv1.2" and found["alpn"] == "http/1.1"
        assert found["sni"] == "a.example" and found["client_certificate_sha256"] is None


def _port(server: Serving) -> int:
    line = next(line for line in server.lines if "listening on" in line)
    return int(line.rpartition(":")[2])


@pytest.mark.parametrize("shape", ["chunked", "sse", "length", "close"])
@pytest.mark.parametrize("engine", ["event", "thread"])
def test_pieces_come_in_time(engine: str, shape: str) -> None:
    with serving(engine) as server, connect(server) as client:
        target = f"/stream?pieces=3&every=600ms&as={shape}"
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        began = time.monotonic()
        head = client.recv(4096)
        assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n")
        assert time.monotonic() - began < 0.6  # before the first piece
        times, found = [], b""
        while found.count(b'"piece"') < 3:
            found += client.recv(4096)
            times.append(time.monotonic() - began)
        assert len(times) >= 3
        for n, at in enumerate(times[:3], 1):
            assert at >= 0.6 * n - 0.01
        for n in range(1, 4):
            assert b'"piece": %6d' % n in found


def test_compressed_pieces_can_be_read_as_they_come() -> None:
    with serving() as server:
        found = get(server, "/stream?pieces=3&every=1ms&gzip=1")
        assert found.headers["content-encoding"] == "gzip"
        assert gzip.decompress(found.body).count(b'"piece"') == 3
        assert get(server, "/stream?pieces=1&every=1ms&gzip=1&as=length").status == 400


@pytest.mark.parametrize("engine", CONCURRENT)
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_connections_end_as_asked(engine: str, how: str) -> None:
    def ask(client: socket.socket, target: str) -> bytes:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        found = b""
        try:
            while data := client.recv(65536):
                found += data
        except ConnectionResetError:
            return found + b"RST"
        return found + b"FIN"

    with serving(engine) as server:
        with connect(server) as client:
            assert ask(client, f"/close?how={how}") == how.upper().encode()
        with connect(server) as client:
            found = ask(client, f"/close?how={how}&after=100000")
            # What was sent before a reset may be lost with it.
            assert found.endswith(how.upper().encode())
            assert how == "rst" or (found.count(b"x") >= 100_000 and b"\r\n0\r\n\r\n" not in found)
        with connect(server) as client:
            client.sendall(f"GET /once?how={how} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b"the next request" in client.recv(4096)
            assert ask(client, "/echo") == how.upper().encode()


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_connection_ends_after_its_own_silence(engine: str) -> None:
    with serving(engine) as server, connect(server) as client:
        client.sendall(b"GET /idle/0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"after 0.5 s of silence" in client.recv(4096)
        began = time.monotonic()
        assert client.recv(4096) == b""
        assert 0.4 < time.monotonic() - began < 5


def test_headers_are_what_was_asked_for() -> None:
    with serving() as server:
        found = raw(server, b"GET /headers?X-A=1&X-A=2&Set-Cookie=a%3Db HTTP/1.0\r\n\r\n")
        assert b"\r\nX-A: 1\r\nX-A: 2\r\nSet-Cookie: a=b\r\n" in found


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_content_has_none(status: int) -> None:
    with serving() as server:
        found = raw(server, b"GET /status/%d HTTP/1.1\r\nHost: x\r\n\r\n" % status * 2)
        assert found.count(b"HTTP/1.1 %d" % status) == 2
        assert all(not part for part in found.split(b"\r\n\r\n")[1::2] if b"HTTP" not in part)


@pytest.mark.parametrize(
    "target",
    [
        "/headers?X-A=1%0d%0aX-B:2",
        "/headers?X%20A=1",
        "/headers?Content-Length=1",
        "/headers?=x",
        "/headers?X=%ff",
        "/stream?pieces=-1",
        "/stream?pieces=1e3",
        "/stream?pieces=100001",
        "/stream?every=nan",
        "/stream?every=inf",
        "/stream?pieces=100&every=60",
        "/stream?as=xml",
        "/stream?pieces=1&pieces=2",
        "/echo?x=1",
        "/bytes/x",
        "/bytes/1073741825",
        "/bytes/" + "9" * 1000,
        "/bytes/1?run=4294967296",
        "/delay/3601",
        "/delay/-1",
        "/status/100",
        "/status/600",
        "/status/٣٠٠",
        "/idle/x",
        "/close?how=tls",
        "/close?after=x",
        "/once?how=",
    ],
)
def test_what_is_asked_for_is_bounded(target: str) -> None:
    with serving() as server:
        assert raw(server, b"GET %b HTTP/1.0\r\n\r\n" % target.encode()).startswith(b"HTTP/1.1 400")


def test_names_can_be_turned_off() -> None:
    with serving(bounds=Bounds(only=("echo", "report"))) as server:
        assert get(server, "/echo").status == 200
        for target in ("/", "/status/200", "/stream", "/delay/1"):
            assert get(server, target).status == 404
    with pytest.raises(UsageError, match="no 'ech'"):
        Bounds(only=("ech",))


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_slow_answer_delays_nobody_and_outlives_the_idle_limit(engine: str) -> None:
    with serving(engine, limits=Limits(idle=0.5)) as server, connect(server) as client:
        client.sendall(b"GET /delay/1.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 0.3:
            assert get(server, "/echo").status == 200
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        assert client.recv(4096) == b""  # then the idle limit


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_drain_waits_for_an_answer(engine: str) -> None:
    with serving(engine) as server, connect(server) as client:
        client.sendall(b"GET /stream?pieces=8&every=200ms HTTP/1.1\r\nHost: x\r\n\r\n")
        found = client.recv(4096)
        server.stop()
        while data := client.recv(4096):
            found += data
        assert b'"piece":      8' in found


def test_http_and_an_echo_beside_each_other() -> None:
    """One command serves both."""
    with subprocess.Popen(
        [*MEARI, "serve", "127.0.0.1:0", "http://127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        ports = [int(process.stdout.readline().rpartition(":")[2]) for _ in range(2)]
        try:
            with socket.create_connection(("127.0.0.1", ports[0]), 20) as plain:
                plain.sendall(b"GET /echo HTTP/1.1\r\n\r\n")
                assert plain.recv(100) == b"GET /echo HTTP/1.1\r\n\r\n"
            url = f"http://127.0.0.1:{ports[1]}/echo"
            done = subprocess.run(
                ["curl", "-s", "--data-binary", "@/bin/sh", url], capture_output=True, timeout=20
            )
            assert done.stdout == Path("/bin/sh").read_bytes()
        finally:
            process.terminate()


def test_options_that_do_not_fit() -> None:
    for options, text in (
        (["--http-only", "ech", "http://:0"], "no 'ech'"),
        (["--http-only", "echo", "7007"], "--http-only is of http://"),
        (["https://127.0.0.1:0"], "https:// needs a certificate"),
        (["--lie", "flip", "http://127.0.0.1:0"], "goes without"),
    ):
        done = subprocess.run(
            [*MEARI, "serve", *options], capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 2 and text in done.stderr, done.stderr


def test_answers_of_one_connection_are_in_order() -> None:
    request = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d"
    late = b"GET /delay/0.2 HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving() as server:
        found = raw(server, request % 1 + late + request % 2 + late.replace(b"x\r", b"y\r"))
    bodies = [part.split(b"\r\n\r\n")[1] for part in found.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"1", b"after 0.2 s\n", b"2", b"after 0.2 s\n"]
