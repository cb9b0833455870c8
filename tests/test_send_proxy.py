"""--send-proxy: the header that a near end sends first, read by our far end and by HAProxy."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meari import Address
from meari.wire.proxy_header import header
from meari.wire.proxy_protocol import Announced, parse

from . import certificates
from .middleboxes import need
from .program import Serving, run, until
from .test_proxy_protocol import listens

PORTS = st.integers(0, 65535)


@given(
    st.sampled_from((1, 2)),
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
        st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
    ),
    PORTS,
    PORTS,
)
def test_what_is_sent_is_what_is_read(
    version: int, hosts: tuple[object, object], port: int, other: int
) -> None:
    ends = Address(str(hosts[0]), port), Address(str(hosts[1]), other)
    made = header(version, *ends)
    assert parse(made) == (Announced(version, *ends), len(made))


@pytest.mark.parametrize("version", [1, 2])
def test_another_kind_of_connection_is_not_announced(version: int) -> None:
    made = header(version, None, None)
    assert parse(made) == (Announced(version), len(made))


WAYS = {
    "talk": (["talk"], b"hello\n"),
    "ping": (["ping", "-c", "3", "-i", "0"], b""),
    "load": (["load", "-n", "50", "-c", "3"], b""),
    "load of new connections": (["load", "-n", "20", "-c", "3", "--new-connections"], b""),
    "check": (["check", "--only", "connect,bytes"], b""),
}


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("way", WAYS)
def test_each_near_end_announces_itself(way: str, version: str) -> None:
    words, data = WAYS[way]
    with Serving("--proxy-from", "127.0.0.1", "-v", "--json") as serving:
        address = f"127.0.0.1:{serving.port}"
        done = run(*words, address, "--send-proxy", version, data=data)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        serving.wait_for("meari.connected")
    connected = [json.loads(line) for line in serving.lines if "meari.connected" in line]
    for event in connected:  # its own address was announced
        assert event["meari.via"].endswith(f":{event['network.peer.port']}")


@pytest.mark.parametrize("scheme", ["tls", "https", "http", "ws", "wss"])
def test_it_comes_before_every_layer(scheme: str) -> None:
    path = certificates.path
    options = ["--proxy-from", "127.0.0.1"]
    if scheme in ("tls", "https", "wss"):
        options += ["--cert", str(path("server.pem")), "--key", str(path("server.key"))]
    listened = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    with Serving(*options, address=f"{listened}://127.0.0.1:0") as serving:
        near = ["--cafile", str(path("ca.pem"))] if "--cert" in options else []
        where = f"{scheme}://localhost:{serving.port}"
        for words in (["load", "-n", "20", "-c", "2"], ["ping", "-c", "2", "-i", "0"]):
            done = run(*words, "-4", where, "--send-proxy", "v2", *near)
            assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        # Without it there is no service.
        assert run("ping", "-4", "-c", "1", "-W", "1", "-w", "2", where, *near).returncode


def test_over_a_unix_socket(tmp_path: Path) -> None:
    with Serving(address=f"unix:{tmp_path}/echo"):
        done = run("talk", f"unix:{tmp_path}/echo", "--send-proxy", "v1", data=b"hello\n")
    assert done.stdout == b"PROXY UNKNOWN\r\nhello\n"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_takes_it(version: str, tmp_path: Path) -> None:
    need("haproxy")
    with Serving() as server, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        (tmp_path / "haproxy.cfg").write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"
            f"frontend f\n bind 127.0.0.1:{port} accept-proxy\n default_backend b\n"
            f"backend b\n server s 127.0.0.1:{server.port}\n"
        )
        free.close()
        with subprocess.Popen(["haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")]) as haproxy:
            try:
                until(lambda: listens(port))
                words = ["load", f"127.0.0.1:{port}", "-n", "50", "-c", "2"]
                assert run(*words, "--send-proxy", version).returncode == 0
                assert run(*words, "--timeout", "2").returncode != 0
            finally:
                haproxy.terminate()
