"""meari tiny: files over HTTP, by real clients; and what must not be served."""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import os
import re
import socket
import time
import typing
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meari import Address, Events, Server, Span
from meari.web import conversation
from meari.web.conversation import Conversation
from meari.web.files import Files
from meari.wire.protocol import Connection
from meari.wire.request import Request

from . import crowd
from .conftest import descriptors
from .program import Serving, until

ENGINES = ["event", "iterative", "thread", "prethread", "process"]
# The other two serve a connection as the thread engine does.
CONCURRENT = [
    "event",
    "thread",
    pytest.param("prethread", marks=pytest.mark.long),
    pytest.param("process", marks=pytest.mark.long),
]


def ignore(connection: Connection, request: Request | None, *_: object) -> None: ...


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "bare").mkdir()
    (root / "index.html").write_text("<h1>home</h1>")
    (root / "sub" / "index.html").write_text("<h1>sub</h1>")
    (root / "hello.txt").write_text("hello, world")
    (root / "empty").touch()
    (root / "한글 <b>.txt").write_text("korean")
    (root / "large.bin").write_bytes(os.urandom(1 << 20) * 4)
    (root / "a.tar.gz").touch()
    (root / "inside").symlink_to(root / "hello.txt")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "secret").write_text("secret")
    (root / "outside").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to("..")
    os.mkfifo(root / "fifo")
    return root


@contextlib.contextmanager
def serving(root: Path, engine: str = "event", *, listing: bool = False) -> Iterator[Server]:
    files = Files(str(root), listing=listing)
    service = functools.partial(Conversation, answer=files, log=ignore)
    with Server("127.0.0.1:0", engine=engine, service=service) as server:
        yield server


class Answer(typing.NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def get(server: Server, target: str, method: str = "GET", **headers: str) -> Answer:
    port = server.addresses[0].port
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, 20)) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client.request(method, target, headers=named)
        found = client.getresponse()
        names = {name.lower(): value for name, value in found.getheaders()}
        return Answer(found.status, names, found.read())


def raw(server: Server, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.addresses[0].port), 20) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        found = b""
        while data := client.recv(65536):
            found += data
        return found


@pytest.mark.parametrize("engine", ENGINES)
def test_files_on_every_engine(engine: str, root: Path) -> None:
    with serving(root, engine) as server:
        assert get(server, "/").body == b"<h1>home</h1>"
        hello = get(server, "/hello.txt?x=1")
        assert hello.body == b"hello, world"
        assert hello.headers["content-type"] == "text/plain; charset=utf-8"
        assert get(server, "/large.bin").body == (root / "large.bin").read_bytes()
        assert get(server, "/none").status == 404


def test_types_and_names(root: Path) -> None:
    with serving(root) as server:
        assert get(server, "/empty").body == b""
        assert get(server, "/empty").headers["content-type"] == "application/octet-stream"
        assert get(server, "/a.tar.gz").headers["content-type"] == "application/octet-stream"
        assert get(server, "/%ED%95%9C%EA%B8%80%20%3Cb%3E.txt").body == b"korean"
        assert get(server, "/sub/../hello.txt").body == b"hello, world"
        assert get(server, "/inside").body == b"hello, world"
        assert get(server, "http://other/hello.txt").body == b"hello, world"
        moved = get(server, "/sub")
        assert (moved.status, moved.headers["location"]) == (301, "/sub/")
        assert get(server, "/sub/").body == b"<h1>sub</h1>"


def test_head_has_the_headers_of_get(root: Path) -> None:
    with serving(root) as server:
        full, head = get(server, "/hello.txt"), get(server, "/hello.txt", "HEAD")
        assert head.body == b"" and head.headers == full.headers | {"date": head.headers["date"]}
        assert get(server, "/none", "HEAD").body == b""


@pytest.mark.parametrize(
    "target",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/sub/../../secret",
        "/outside",
        "/up/secret",
        "/../root2/secret",
        "/hello.txt/",
        "/hello.txt/x",
        "/" + "x" * 300,
        "/sub/" + "../" * 300 + "etc/passwd",
    ],
)
def test_nothing_outside_is_served(target: str, root: Path) -> None:
    with serving(root) as server:
        answer = get(server, target)
        assert answer.status == 404 and b"secret" not in answer.body.replace(target.encode(), b"")


def test_what_is_no_file(root: Path) -> None:
    with serving(root) as server:
        assert get(server, "/fifo").status == get(server, "/bare/").status == 403
        assert get(server, "/%00").status == 400
        refused = get(server, "/", "DELETE")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


def test_a_redirect_stays_on_this_server(root: Path) -> None:
    with serving(root) as server:
        for target in ("//sub", "///sub", "/%2fsub", "/./sub"):
            where = get(server, target).headers.get("location", "/")
            assert not where.startswith("//") and "://" not in where


def test_an_error_page_shows_the_request_escaped(root: Path) -> None:
    with serving(root) as server:
        page = raw(server, b"GET /<script>alert(1)</script> HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"404" in page and b"<script>" not in page and b"&lt;script&gt;" in page


def test_a_listing_only_if_wanted(root: Path) -> None:
    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value or "" for name, value in attrs if name == "href")

    found: list[str] = []
    (root / "index.html").unlink()
    with serving(root, listing=True) as server:
        page = get(server, "/")
        assert b"<b>" not in page.body and page.status == 200
        Links().feed(page.body.decode())
        assert len(found) == len(list(root.iterdir()))
        for link in found:
            if "fifo" not in link and "outside" not in link and "up" not in link:
                assert get(server, "/" + link.removeprefix("./")).status in (200, 301)
    with serving(root) as server:
        assert get(server, "/").status == 403


# Connections


def test_a_connection_is_kept_and_requests_may_arrive_together(root: Path) -> None:
    one = b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(root) as server:
        assert raw(server, one * 50).count(b"hello, world") == 50
        mixed = one + b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n" + one
        answer = raw(server, mixed)
        large = (root / "large.bin").read_bytes()
        assert large in answer and answer.count(b"hello, world") == 2
        last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert raw(server, last + one).count(b"HTTP/1.1 ") == 1
        old = b"GET /hello.txt HTTP/1.0\r\n\r\n"
        assert b"Connection: close" in raw(server, old + old)
        kept = b"GET /hello.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        assert raw(server, kept * 3).count(b"Connection: keep-alive\r\n") == 3
        assert raw(server, b"") == b""


def test_bodies_are_read_and_have_a_limit(root: Path) -> None:
    with serving(root) as server:
        head = b"POST / HTTP/1.1\r\nHost: x\r\n"
        body = head + b"Content-Length: 5\r\n\r\nhello"
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        assert raw(server, body + chunked + body).count(b"HTTP/1.1 405") == 3
        long = head + b"Content-Length: 99999999\r\n\r\n" + bytes(2 << 20)
        with contextlib.suppress(ConnectionError):
            assert raw(server, long).startswith(b"HTTP/1.1 413")


def test_a_malformed_request_ends_the_connection(root: Path) -> None:
    with serving(root) as server:
        one = b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = raw(server, one + b"GET / HTTP/1.1\r\nHost : x\r\n\r\n" + one)
        assert answer.count(b"HTTP/1.1 ") == 2 and b"\r\nHTTP/1.1 400" not in answer[:20]
        assert b"HTTP/1.1 400 Bad Request" in answer


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_request_has_to_be_complete_in_time(
    engine: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that trickle in do not help; and nobody else waits meanwhile."""
    monkeypatch.setattr(conversation, "REQUEST", 1.0)
    with serving(root, engine) as server:
        slow = crowd.connect(server.addresses[0].port, 5)
        for client in slow:
            client.settimeout(20)
        slow[1].send(b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\nGET ")
        began = time.monotonic()
        while time.monotonic() < began + 1.5:
            for client in slow[1:]:
                with contextlib.suppress(OSError):
                    client.send(b"G")
            assert get(server, "/hello.txt").status == 200
        for client in slow:
            with contextlib.suppress(ConnectionError):
                while client.recv(4096):
                    pass
            client.close()


@pytest.mark.parametrize("engine", ["event", "thread"])
def test_clients_that_leave_in_the_middle_leave_no_file_open(engine: str, root: Path) -> None:
    (root / "huge").touch()
    os.truncate(root / "huge", 1 << 30)
    with serving(root, engine) as server:
        for client in crowd.connect(server.addresses[0].port, 20):
            client.settimeout(20)
            client.send(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            crowd.reset(client)
        until(lambda: str(root / "huge") not in descriptors().values())
        assert get(server, "/hello.txt").status == 200


def test_a_file_that_shrinks_is_a_reset(root: Path) -> None:
    with serving(root) as server:
        (client,) = crowd.connect(server.addresses[0].port, 1)
        client.settimeout(20)
        (root / "huge").touch()
        os.truncate(root / "huge", 1 << 28)
        client.send(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1000)
        os.truncate(root / "huge", 1000)
        with pytest.raises(ConnectionResetError):
            while client.recv(1 << 20):
                pass
        client.close()


def said(pieces: list[bytes], files: Files) -> bytes:
    """Everything that one connection returns to *pieces*, without the dates."""
    connection = Connection(Address("127.0.0.1", 1), Events())
    talk = Conversation(connection, files, ignore)
    found = talk.start()
    for piece in pieces:
        out: bytes | Span = talk.receive(piece)
        while out:
            found += os.pread(out.fd, out.count, out.offset) if isinstance(out, Span) else out
            out = talk.more()
        assert not talk.more()
    return re.sub(rb"Date: [^\r]*", b"", found + talk.eof())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_split_gives_the_same_answers(root: Path, data: st.DataObject) -> None:
    head = b" HTTP/1.1\r\nHost: x\r\n"
    stream = b"GET /hello.txt" + head + b"\r\n" + b"HEAD /large.bin" + head + b"\r\n"
    stream += b"POST /" + head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    stream += b"GET /hello.txt" + head + b"Range: bytes=2-\r\n\r\n" + b"GET /none" + head
    stream += b"\r\n" + b"GET / HTTP/1.0\r\nHost : x\r\n\r\n" + b"GET /" + head + b"\r\n"
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in itertools.pairwise([0, *places, len(stream)])]
    files = Files(str(root))
    answers = said(pieces, files)
    assert answers == said([stream], files)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [
        b"200",
        b"200",
        b"405",
        b"206",
        b"404",
        b"400",
    ]


def test_a_small_file_is_served_as_it_is_now(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept while nothing about it changes, and only once its times can tell."""
    read = os.pread
    reads: list[int] = []

    def counting(fd: int, n: int, offset: int) -> bytes:
        reads.append(n)
        return read(fd, n, offset)

    with serving(root) as server:
        for n in range(20):  # at once: within one tick of the file system's clock
            (root / "small").write_text(f"{n:04}")
            assert get(server, "/small").body == b"%04d" % n
        monkeypatch.setattr("meari.web.files._SETTLED", -1.0)
        monkeypatch.setattr("meari.web.files.os.pread", counting)
        for _ in range(3):
            assert get(server, "/small").body == b"0019"
        assert len(reads) == 1
        monkeypatch.setattr("meari.web.files._TRUSTED", 0.0)
        (root / "small").write_text("0020")  # what is kept is trusted for a second at most
        old = get(server, "/small")
        assert old.body == b"0020"
        time.sleep(0.05)
        times = (root / "small").stat()
        (root / "small").write_text("new0")
        os.utime(root / "small", ns=(times.st_atime_ns, times.st_mtime_ns))  # as cp -p does
        assert get(server, "/small", if_none_match=old.headers["etag"]).body == b"new0"
        (root / "small").write_text("new1")
        assert get(server, "/small").body == b"new1"
        (root / "small").unlink()
        assert get(server, "/small").status == 404
        (root / "small").symlink_to(root.parent / "secret")
        assert get(server, "/small").status == 404


# The command


def test_the_command_logs_each_request(root: Path) -> None:
    def ask(server: Serving, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), 20) as client:
            client.sendall(request + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            return client.recv(4096)

    with Serving(command=["tiny", str(root)]) as server:
        assert ask(server, b"GET /hello.txt").startswith(b"HTTP/1.1 200")
        server.wait_for(r'\(127\.0\.0\.1, \d+\) "GET /hello\.txt HTTP/1\.1" 200, 12 bytes in ')
        assert not any("Connected" in line for line in server.lines)
    with Serving("--json", command=["tiny", str(root)]) as server:
        assert ask(server, b"HEAD /none").startswith(b"HTTP/1.1 404")
        server.wait_for(r"meari\.request")
        event = json.loads(next(line for line in server.lines if "meari.request" in line))
        assert event["http.request.line"] == "HEAD /none HTTP/1.1"
        assert event["http.response.status_code"] == 404
        assert event["http.response.body.size"] == 0
