"""The status page, its numbers, metrics and health: by curl, and in a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meari import Address
from meari.events import Event, Kind
from meari.sockets import free_port
from meari.totals import Totals

from .browser import Browser
from .middleboxes import need
from .program import MEARI, Serving, until
from .test_http_far_end import serving
from .test_peers import listens
from .test_tiny import get


class Status:
    """A far end with --http; *port* is the echo's, *http* the page's."""

    def __init__(self, *options: str) -> None:
        self.server = Serving("-q", *options, "127.0.0.1:0", address="--http=127.0.0.1:0")
        self.server.wait_for("listening on http")
        found = [int(line.rpartition(":")[2]) for line in self.server.lines if "listening" in line]
        self.port, self.http = found

    def get(self, target: str, **headers: str) -> tuple[int, str]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.http, 20)) as client:
            client.request("GET", target, headers=headers)
            answer = client.getresponse()
            return answer.status, answer.read().decode()

    def metrics(self) -> dict[str, float]:
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {
            sample.name + "".join(sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }

    def echo(self, data: bytes, times: int = 1) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 20) as client:
            for _ in range(times):
                client.sendall(data)
                assert client.recv(1 << 16)


@pytest.mark.parametrize("options", [(), ("--workers", "2"), ("--engine", "process")])
def test_the_totals_are_of_all_processes(options: tuple[str, ...]) -> None:
    status = Status(*options)
    with status.server:
        for _ in range(6):
            status.echo(b"hello", 3)
        until(lambda: status.metrics()["meari_messages_total"] >= 18)
        found = status.metrics()
        assert found["meari_messages_total"] == 18 and found["meari_received_bytes_total"] == 90
        until(lambda: status.metrics()["meari_connections_open"] <= 1)
        assert status.metrics()["meari_connections_total"] >= 7
        status.get("/none")
        until(lambda: status.metrics()["meari_http_requests_total4xx"] == 1)


def test_only_the_status_is_served_beside_an_echo() -> None:
    status = Status()
    with status.server:
        assert status.get("/healthz") == (200, "ok\n")
        assert status.get("/readyz") == (200, "ready\n")
        assert status.get("/prefix/")[0] == 200
        for target in ("/echo", "/report", "/close", "/delay/5"):
            assert status.get(target)[0] == 404


def test_a_draining_far_end_is_not_ready() -> None:
    status = Status()
    with (
        status.server,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", status.http, 20)) as client,
        socket.create_connection(("127.0.0.1", status.port), 20) as busy,
    ):
        client.request("GET", "/readyz")
        assert client.getresponse().read() == b"ready\n"
        status.server.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            busy.sendall(b"x")
            assert busy.recv(1) == b"x"
            client.request("GET", "/readyz")
            answer = client.getresponse()
            if (answer.status, answer.read()) == (503, b"draining\n"):
                break
        else:
            pytest.fail("it was never draining")


def test_a_page_that_is_open_does_not_hold_up_a_drain() -> None:
    status = Status()
    with status.server, socket.create_connection(("127.0.0.1", status.http), 20) as page:
        page.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        while found.count(b"data: ") < 2:
            found += page.recv(4096)
        numbers = json.loads(found.split(b"data: ")[2].split(b"\n")[0])
        assert numbers["open"] == 1 and numbers["seconds"] > 0
        status.server.process.send_signal(signal.SIGTERM)
        assert status.server.process.wait(20) == 0


def test_the_page_needs_nothing_from_elsewhere() -> None:
    status = Status()
    with status.server:
        _, page = status.get("/", Accept="text/html")
        assert not re.findall(r'\b(?:src|href)=(?!"data:)|url\(|@import\b', page)
        assert "__FACTS__" not in page and "127.0.0.1" in page
        assert status.get("/")[1].startswith("meari: an HTTP far end")


def test_what_cannot_be_told_is_not_claimed() -> None:
    """A far end of the library, to which nobody has given totals or a stop."""
    with serving() as server:
        assert get(server, "/metrics").status == 503
        assert get(server, "/readyz").status == 503
        assert get(server, "/live", method="HEAD").status == 200  # and it ends


def test_the_totals_do_not_need_an_output() -> None:
    """With standard output closed, and two processes, nothing is lost."""
    words = [*MEARI, "serve", "--workers", "2", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    port, http_port = free_port(), free_port()
    words[-3], words[-1] = f"127.0.0.1:{port}", f"127.0.0.1:{http_port}"
    with subprocess.Popen(["sh", "-c", 'exec "$@" >&-', "sh", *words]) as process:
        try:
            until(lambda: listens(http_port))
            for _ in range(8):
                with socket.create_connection(("127.0.0.1", port), 20) as client:
                    client.sendall(b"hello")
                    assert client.recv(10) == b"hello"
            url = f"http://127.0.0.1:{http_port}/metrics"

            def all_counted() -> bool:
                done = subprocess.run(["curl", "-s", url], capture_output=True, timeout=20)
                return b"meari_messages_total 8.0" in done.stdout

            until(all_counted)
        finally:
            process.terminate()


def test_what_is_counted() -> None:
    totals, peer = Totals(), (Address("a", 1),)
    for event in (
        Event(Kind.CONNECTED, peer, count=3),
        Event(Kind.RECEIVED, peer, messages=2, bytes=10),
        Event(Kind.CLOSED, peer),
        Event(Kind.FAILED, peer),
        Event(Kind.REFUSED, peer),
        Event(Kind.REQUEST, peer, bytes=7, detail='"GET / HTTP/1.1" 404'),
        Event(Kind.REQUEST, peer, detail="- x"),
        Event(Kind.DROPPED, count=5),
        Event(Kind.NOTICE),
    ):
        totals.add(event)
    found = totals.read()
    assert found["open"] == 1 and found["lost"] == 1 and found["refused"] == 1
    assert found["messages"] == 2 and found["bytes"] == 10 and found["dropped"] == 5
    assert found["requests"] == 2 and found["responses_4xx"] == 1 and found["response_bytes"] == 7
    totals.close()


@pytest.mark.long
@pytest.mark.parametrize(("language", "width"), [("en", 1000), ("ko", 360)])
def test_the_page_in_a_browser(language: str, width: int, tmp_path: Path) -> None:
    need("chromium")
    status = Status("--engine", "event")
    with status.server, Browser(tmp_path, width, 900, f"--lang={language}") as browser:
        browser.open(f"http://127.0.0.1:{status.http}/")
        if language == "ko" and browser.run("document.documentElement.lang") != "ko":
            browser.run("document.getElementById('language').click()")
        assert browser.run("document.documentElement.lang") == language
        number = "document.querySelector('[data-name=connections] b').textContent"
        with socket.create_connection(("127.0.0.1", status.port), 20) as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"
            until(lambda: int(browser.run(number)) >= 2, 20)
            until(lambda: int(browser.run(number.replace("connections", "open"))) >= 2, 20)
            listed = "document.getElementById('connections').textContent"
            until(lambda: f"127.0.0.1:{client.getsockname()[1]}" in browser.run(listed), 20)
        browser.run(
            "document.getElementById('text').value = '안녕 echo';"
            "document.getElementById('talk').requestSubmit()"
        )
        until(
            lambda: "안녕 echo (" in browser.run("document.getElementById('echo').textContent"),
            20,
        )
        browser.run("document.getElementById('measure').click()")
        caption = "document.querySelector('#trips figcaption').textContent"
        until(lambda: "p99" in browser.run(caption), 30)
        assert len(browser.run("document.querySelector('#trips path').getAttribute('d')")) > 500
        assert browser.run("document.querySelectorAll('#charts path').length") == 4
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert browser.run(wide)
        assert not browser.complaints
