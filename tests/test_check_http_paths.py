"""check http:// through real proxies, as their documentation begins with them, and with what the
causes propose. docs/paths.md has the table.
"""

from __future__ import annotations

import functools
import http.server
import json
import threading
import typing
from pathlib import Path

import pytest

from .http_caches import apache, squid, varnish
from .http_proxies import CORRECTED, KEPT, PROXIES, Proxy, nginx
from .program import Serving, run

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]
TRIED: dict[str, Proxy] = {
    "apache": apache,
    "varnish": varnish,
    "squid": squid,
    **{name: proxy for name, proxy in PROXIES.items() if name != "nginx, upgrade"},
    "nginx, corrected": lambda port, directory: nginx(
        port, directory, CORRECTED, "underscores_in_headers on;"
    ),
    "nginx, keepalive": lambda port, directory: nginx(port, directory, CORRECTED, KEPT),
}
# What does not simply hold, by property.
EXPECTED: dict[str, dict[str, str]] = {
    "nginx": {
        "bytes": "reframed",
        "body": "limit",
        "rewrite": "lost",
        "address": "not-learnt",
        "headers": "limit",
        "stream": "all-held",
        "upload": "held",
        "abort": "clean",
        "half-close": "lost",
    },
    "nginx, corrected": {"headers": "limit", "half-close": "lost"},
    "nginx, keepalive": {"headers": "limit", "half-close": "lost", "race": "post-failed"},
    "haproxy": {
        "rewrite": "changed",
        "address": "not-learnt",
        "headers": "limit",
        "race": "closed",
    },
    "caddy": {
        "headers": "limit",
        "rewrite": "lost",
        "address": "forged",
        "stream": "held",
        "half-close": "other",
        "race": "post-failed",
    },
    "envoy": {
        "rewrite": "changed",
        "address": "not-learnt",
        "half-close": "lost",
        "race": "failed",
    },
}
EXPECTED |= {
    "apache": {"rewrite": "lost", "address": "forged", "upload": "held", "race": "closed"},
    "varnish": {"address": "forged", "headers": "limit", "race": "post-failed"},
    "squid": {"address": "forged", "half-close": "lost", "race": "failed"},
}
# An echo through Go's proxy is cut only if the response is there early enough.
MAY_BE = {"caddy": {"bytes": "early"}}


@pytest.mark.parametrize("proxy", TRIED)
def test_what_proxies_do_to_http(proxy: str, tmp_path: Path) -> None:
    with (
        Serving("-q", address="http://127.0.0.1:0") as far,
        TRIED[proxy](far.port, tmp_path) as port,
    ):
        done = run("check", f"http://127.0.0.1:{port}/a/prefix", "--quick", "--json", timeout=120)
    found = json.loads(done.stdout)["properties"]
    seen = {each["name"]: each["seen"] for each in found if each["verdict"] != "ok"}
    maybe = MAY_BE.get(proxy, {})
    assert {name: what for name, what in seen.items() if maybe.get(name) != what} == EXPECTED[proxy]
    assert all(each["causes"] for each in found if each["verdict"] == "FAIL")


@pytest.mark.parametrize("proxy", PROXIES)
def test_what_proxies_do_to_websocket(proxy: str, tmp_path: Path) -> None:
    with (
        Serving("-q", address="http://127.0.0.1:0") as far,
        PROXIES[proxy](far.port, tmp_path) as port,
    ):
        done = run("check", f"ws://127.0.0.1:{port}/a/prefix", "--quick", "--json", timeout=120)
    found = json.loads(done.stdout)["properties"]
    seen = {each["name"]: each["seen"] for each in found if each["verdict"] != "ok"}
    refused = {"upgrade": "refused", "messages": "needs", "control": "needs"}
    expected = {"nginx": refused, "nginx, upgrade": {"upgrade": "origin"}}
    assert seen == expected.get(proxy, {})


def test_a_path_is_compared_with_another(tmp_path: Path) -> None:
    with (
        Serving("-q", address="http://127.0.0.1:0") as far,
        nginx(far.port, tmp_path) as port,
    ):
        urls = [f"http://127.0.0.1:{each}" for each in (port, far.port)]
        done = run("check", urls[0], "--quick", "--against", urls[1], timeout=120)
    text = done.stdout.decode()
    assert done.returncode == 1 and f"what {urls[0]}" in text
    assert "stream" in text.partition("what http")[2]


def test_a_stranger_is_not_blamed(tmp_path: Path) -> None:
    """What needs our far end is said in one line; the rest is tried, and holds."""
    handler = functools.partial(Quiet, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        done = run("check", url, "--quick", "--json", timeout=60)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    found: list[dict[str, typing.Any]] = json.loads(done.stdout)["properties"]
    verdicts = {each["name"]: each["verdict"] for each in found}
    assert "FAIL" not in verdicts.values()
    assert verdicts["request"] == "ok" and verdicts["stream"] == "can't tell"
    assert {each["seen"] for each in found if each["verdict"] == "can't tell"} == {"not-meari"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
