"""Tiny under a browser that plays a video, under wrk, and under clients that are up to no good."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from meari import Address, Events, Span
from meari.web.cgi import no_cgi
from meari.web.conversation import Conversation
from meari.web.files import Files
from meari.wire.protocol import Connection

from . import crowd
from .browser import Browser
from .middleboxes import need
from .program import Serving, own_memory, until

pytestmark = pytest.mark.long
PAGE = "<!doctype html><meta charset=utf-8><title>video</title><link rel=icon href=data:,>"


def test_a_browser_plays_a_video_and_seeks_in_it(tmp_path: Path) -> None:
    """It requests ranges, and drops connections when it has enough: that harms nobody."""
    need("chromium", "ffmpeg")
    root = tmp_path / "root"
    root.mkdir()
    video = "testsrc2=size=320x240:rate=10:duration=60"
    made = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", video, "-c:v", "libvpx", "-b:v", "2M"]
    fast = ["-deadline", "realtime", "-cpu-used", "8", str(root / "video.webm")]
    subprocess.run([*made, *fast], check=True, timeout=100)
    assert (root / "video.webm").stat().st_size > 1 << 20
    (root / "index.html").write_text(f"{PAGE}<video src=video.webm muted></video>")
    with Serving(command=["tiny", str(root)]) as server:
        with Browser(tmp_path, 800, 600) as browser:
            browser.open(f"http://127.0.0.1:{server.port}/")
            browser.run("window.v = document.querySelector('video'); v.play()")
            until(lambda: browser.run("v.currentTime") > 0.2, 30)
            for place in (50, 10, 30):
                browser.run(f"v.currentTime = {place}")
                until(lambda: not browser.run("v.seeking") and browser.run("v.readyState") >= 2, 30)
                until(lambda at=place: browser.run("v.currentTime") > at, 30)  # type: ignore[misc]
            browser.run("v.src = ''; v.load()")  # leave it in the middle
            assert browser.run("v.error === null || v.error.code === 4")
        server.wait_for(r'"GET /video.webm HTTP/1.1" 206')
        done = subprocess.run(
            ["curl", "-s", f"http://127.0.0.1:{server.port}/"], capture_output=True, timeout=20
        )
        assert b"<video" in done.stdout
        server.process.send_signal(signal.SIGTERM)
        assert server.finish() == 0


@pytest.mark.parametrize("engine", ["event", "thread"])
def test_wrk_finds_every_answer_good(engine: str, tmp_path: Path) -> None:
    need("wrk")
    (tmp_path / "small").write_bytes(b"x" * 1024)
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    with Serving("-q", "--engine", engine, command=["tiny", str(tmp_path)]) as server:
        for name, size in (("small", 1024), ("large", 1 << 20)):
            url = f"http://127.0.0.1:{server.port}/{name}"
            words = ["wrk", "-t", "1", "-c", "16", "-d", "2s", url]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
            found = re.search(r"(\d+) requests in [\d.]+s, ([\d.]+)([KMG])B read", done.stdout)
            assert found is not None
            read = float(found[2]) * {"K": 1e3, "M": 1 << 20, "G": 1 << 30}[found[3]]
            assert int(found[1]) > 20 and read > 0.9 * int(found[1]) * size
        server.process.send_signal(signal.SIGTERM)
        assert server.finish() == 0


def test_ten_gigabytes_leave_memory_flat(tmp_path: Path) -> None:
    need("wrk")
    size = 32 << 20
    (tmp_path / "large").write_bytes(bytes(size))
    with Serving("-q", command=["tiny", str(tmp_path)]) as server:
        url, sent, before = f"http://127.0.0.1:{server.port}/large", 0, 0
        end = time.monotonic() + 90
        while sent < 10_000_000_000 and time.monotonic() < end:
            words = ["wrk", "-t", "1", "-c", "8", "-d", "3s", url]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            found = re.search(r"(\d+) requests in", done.stdout)
            assert found is not None and "Non-2xx" not in done.stdout, done.stdout
            sent += int(found[1]) * size
            before = before or own_memory(server.pid)
        assert sent >= 10_000_000_000
        assert own_memory(server.pid) < before + 4_000_000
        server.process.send_signal(signal.SIGTERM)
        assert server.finish() == 0


@pytest.mark.alone
def test_five_hundred_slow_clients_are_gone_at_their_deadline(tmp_path: Path) -> None:
    """Each sends a byte every 2 s; another visitor is served within 50 ms meanwhile."""
    (tmp_path / "small").write_bytes(b"small")
    request = b"GET /small HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"x" * 100
    with Serving("-q", command=["tiny", str(tmp_path)]) as server:
        slow = crowd.connect(server.port, 500)
        began, took = time.monotonic(), []
        for at in range(40):
            for client in slow if at % 8 == 0 else ():
                with contextlib.suppress(OSError):  # it is gone
                    client.send(request[at // 8 : at // 8 + 1])
            asked = time.monotonic()
            with socket.create_connection(("127.0.0.1", server.port), 20) as other:
                other.sendall(b"GET /small HTTP/1.0\r\n\r\n")
                while other.recv(4096):
                    pass
            took.append(time.monotonic() - asked)
            time.sleep(max(0.0, began + (at + 1) * 0.25 - time.monotonic()))
        until(lambda: descriptors_of(server.pid) < 100, 10)
        assert time.monotonic() - began < 20
        assert sorted(took)[-3] < 0.05, sorted(took)[-5:]
        for client in slow:
            client.close()


def descriptors_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_a_minute_of_mutated_requests(tmp_path: Path) -> None:
    """Nothing is raised, and what comes back are whole responses, whatever was sent."""
    (tmp_path / "index.html").write_text("home")
    pieces = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD /index.html HTTP/1.0\r\n\r\n",
        b"POST /%2e%2e/x?y HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\nIf-None-Match: *\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"\r\n",
        b"Expect: 100-continue\r\n",
        bytes(range(256)),
    ]
    chance = random.Random(12)
    answer = no_cgi(Files(str(tmp_path)))
    end, tried, served = time.monotonic() + 60, 0, 0
    while time.monotonic() < end:
        data = bytearray(b"".join(chance.choices(pieces, k=chance.randint(1, 4))))
        for _ in range(chance.randint(0, 4)):
            at = chance.randint(0, len(data))
            data[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        connection = Connection(Address("127.0.0.1", 1), Events())
        talk = Conversation(connection, answer, lambda *_: None)
        out = bytearray()
        while data and not talk.done:
            n = chance.randint(1, len(data))
            more: bytes | Span = talk.receive(bytes(data[:n]))
            del data[:n]
            while more:
                if isinstance(more, Span):
                    more = os.pread(more.fd, more.count, more.offset)
                out += more
                more = talk.more()
        for head in re.split(rb"(?=HTTP/1\.1 \d)", bytes(out))[1:]:
            assert b"\r\n\r\n" in head
            served += head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 206"))
        tried += 1
    assert tried > 10_000 and served > 1_000
