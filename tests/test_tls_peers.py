"""TLS and Unix sockets with peers of other makes: what ends TLS on a path, and what passes it."""

from __future__ import annotations

import json
import ssl
import subprocess
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from meari import Server
from meari.sockets import free_port
from meari.tls_context import server_context

from . import certificates
from .middleboxes import haproxy, need, nginx, running
from .program import MEARI, run, until
from .test_check_tls import pin

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

TCP = "mode tcp\n timeout connect 5000\n timeout client 50000\n timeout server 50000\n"


def context() -> ssl.SSLContext:
    return server_context(certificates.path("server.pem"), certificates.path("server.key"))


@pytest.fixture
def plain() -> Iterator[int]:
    with Server("127.0.0.1:0") as server:
        yield server.addresses[0].port


@pytest.fixture
def secure() -> Iterator[int]:
    with Server("tls://127.0.0.1:0", tls=context()) as server:
        yield server.addresses[0].port


def both(directory: Path) -> str:
    """The proxy's certificate and its key in one file, as HAProxy wants it."""
    pem = directory / "both.pem"
    parts = (Path(certificates.path(name)).read_text() for name in ("server.pem", "server.key"))
    pem.write_text("".join(parts))
    return str(pem)


def check(port: int, *options: str) -> dict[str, dict[str, typing.Any]]:
    """With the authority, so that a proxy's certificate is accepted too, and the far end's pin."""
    words = ["--cafile", certificates.path("ca.pem"), *options, f"tls://localhost:{port}"]
    done = run("check", "--quick", "--json", *words, timeout=120)
    found = json.loads(done.stdout)
    return {each["name"]: each for each in found["properties"]}


def test_haproxy_passes_tls_through(secure: int, tmp_path: Path) -> None:
    with haproxy(secure, tmp_path, TCP) as port:
        found = check(port, "--pin", pin("server"), "--only", "handshake,hello,truncation,bytes")
    assert found["handshake"]["seen"] == "passed-through"
    assert {each["verdict"] for each in found.values()} == {"ok"}


def test_haproxy_terminates_tls(plain: int, tmp_path: Path) -> None:
    """The far end's certificate is another one: its pin tells that TLS ends on the path."""
    defaults = TCP.replace("mode tcp\n", "mode tcp\n default-server inter 1s\n")
    with haproxy(plain, tmp_path, defaults) as first:
        own = free_port()
        config = (tmp_path / "haproxy.cfg").read_text()
        tls = config.replace(
            f"bind 127.0.0.1:{first}", f"bind 127.0.0.1:{own} ssl crt {both(tmp_path)}"
        )
        (tmp_path / "tls.cfg").write_text(tls)
        with running(own, "haproxy", "-f", str(tmp_path / "tls.cfg"), "-db"):
            found = check(own, "--pin", pin("client"), "--only", "handshake,bytes,hello")
    assert found["handshake"]["seen"] == "terminated"
    assert found["handshake"]["causes"][0]["name"] == "tls-terminated"


def test_nginx_terminates_tls(plain: int, tmp_path: Path) -> None:
    with nginx(plain, tmp_path) as first:
        own = free_port()
        config = (tmp_path / "nginx.conf").read_text()
        files = f"ssl_certificate {both(tmp_path)}; ssl_certificate_key {both(tmp_path)};"
        tls = config.replace(
            f"listen 127.0.0.1:{first};", f"listen 127.0.0.1:{own} ssl; {files}"
        ).replace("nginx.pid", "tls.pid")
        (tmp_path / "tls.conf").write_text(tls)
        log = str(tmp_path / "tls.log")
        with running(
            own, "nginx", "-p", str(tmp_path), "-c", str(tmp_path / "tls.conf"), "-e", log
        ):
            found = check(own, "--pin", pin("client"), "--only", "handshake")
            held = check(own, "--only", "handshake,bytes,hello,pipelined,large")
    assert found["handshake"]["seen"] == "terminated"
    assert {each["verdict"] for each in held.values()} == {"ok"}, held


def test_stunnel_terminates_tls(plain: int, tmp_path: Path) -> None:
    need("stunnel4")
    own = free_port()
    (tmp_path / "far.conf").write_text(
        f"foreground = yes\npid =\ndebug = 3\nsyslog = no\ncert = {both(tmp_path)}\n"
        f"[far]\naccept = 127.0.0.1:{own}\nconnect = 127.0.0.1:{plain}\n"
    )
    with running(own, "stunnel4", str(tmp_path / "far.conf")):
        found = check(own, "--pin", pin("client"), "--only", "handshake")
        held = check(own, "--only", "handshake,bytes,hello")
    assert found["handshake"]["seen"] == "terminated"
    assert {each["verdict"] for each in held.values()} == {"ok"}, held


def test_socat_as_a_far_end_over_tls(tmp_path: Path) -> None:
    need("socat")
    own = free_port()
    listening = f"OPENSSL-LISTEN:{own},bind=127.0.0.1,reuseaddr,fork,cert={both(tmp_path)},verify=0"
    with running(own, "socat", listening, "EXEC:cat"):
        at = f"tls://localhost:{own}"
        ca = ["--cafile", certificates.path("ca.pem")]
        assert run("ping", *ca, "-c", "3", "-i", "0.05", at).returncode == 0
        done = run("load", *ca, "-c", "4", "-n", "400", "-s", "1-20000", at, timeout=60)
        assert done.returncode == 0, done.stdout.decode()


def test_socat_as_a_near_end_over_tls(secure: int) -> None:
    need("socat")
    data = bytes(range(256)) * 1000
    ca = certificates.path("ca.pem")
    words = ["socat", "-t", "10", "-", f"OPENSSL:localhost:{secure},cafile={ca}"]
    done = subprocess.run(words, input=data, capture_output=True, timeout=60, check=False)
    assert done.stdout == data, done.stderr.decode()


def test_openssl_s_server_answers_a_ping(tmp_path: Path) -> None:
    """s_server -rev returns each line reversed: a line that reads the same both ways is an echo."""
    need("openssl")
    own = free_port()
    files = ["-cert", certificates.path("server.pem"), "-key", certificates.path("server.key")]
    with running(own, "openssl", "s_server", "-accept", str(own), *files, "-rev", "-quiet"):
        done = subprocess.run(
            [*MEARI, "talk", "--cafile", certificates.path("ca.pem"), f"tls://localhost:{own}"],
            input=b"level\n",
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.stdout == b"level\n", done.stderr.decode()


def test_socat_over_unix_sockets_as_a_middle_and_a_far_end(tmp_path: Path) -> None:
    need("socat")
    path = tmp_path / "echo"
    with Server(f"unix:{path}") as server:
        port = free_port()
        words = [
            "socat",
            f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork",
            f"UNIX-CONNECT:{path}",
        ]
        with running(port, *words):
            done = run("load", "-c", "4", "-n", "400", f"localhost:{port}", timeout=60)
            assert done.returncode == 0, done.stdout.decode()
        assert server.addresses[0].scheme == "unix"
    other = tmp_path / "cat"
    with subprocess.Popen(["socat", f"UNIX-LISTEN:{other},fork", "EXEC:cat"]) as process:
        try:
            until(other.exists)
            assert run("ping", "-c", "3", "-i", "0.05", f"unix:{other}").returncode == 0
        finally:
            process.terminate()
