"""What may stand between two ends, from Debian's packages, in front of the echo on *port*: each
listens on a port of its own.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from meari.sockets import free_port

from .program import until
from .test_peers import listens

PROGRAMS = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "socat": "socat",
    "ssh": "openssh-server",
    "stunnel4": "stunnel4",
    "nft": "nftables",
}


def need(*programs: str) -> None:
    """Skip the test, with the command that installs what is missing."""
    missing = [
        PROGRAMS.get(name, name)
        for name in programs
        if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None
    ]
    if missing:
        pytest.skip(f"{missing[0]} is not installed: apt-get install {missing[0]}")


@contextlib.contextmanager
def running(port: int, *words: str, **popen: typing.Any) -> Iterator[int]:
    """A program that is to listen on *port*, ended with the block."""
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        **popen,
    )
    try:
        until(lambda: listens(port) or process.poll() is not None)
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        yield port
    finally:
        process.terminate()
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def nginx(port: int, directory: Path, *mended: str) -> Iterator[int]:
    """The stream module, as it is without any directive but what names the two ports."""
    need("nginx")
    own = free_port()
    module = next(
        (m for m in ("/usr/lib/nginx/modules/ngx_stream_module.so",) if os.path.exists(m)), None
    )
    if module is None:
        pytest.skip("nginx's stream module is not installed: apt-get install libnginx-mod-stream")
    lines = " ".join(mended)
    (directory / "nginx.conf").write_text(
        f"load_module {module}; daemon off; pid {directory}/nginx.pid; error_log {directory}/"
        "error.log; worker_processes 1;\n"
        f"events {{}}\nstream {{ server {{ listen 127.0.0.1:{own}; proxy_pass 127.0.0.1:{port}; "
        f"{lines} }} }}\n"
    )
    with running(
        own,
        "nginx",
        "-p",
        str(directory),
        "-c",
        str(directory / "nginx.conf"),
        "-e",
        str(directory / "error.log"),
    ):
        yield own


# Debian's haproxy.cfg, defaults.
SHIPPED = "mode http\n timeout connect 5000\n timeout client 50000\n timeout server 50000\n"


@contextlib.contextmanager
def haproxy(port: int, directory: Path, defaults: str = SHIPPED) -> Iterator[int]:
    need("haproxy")
    own = free_port()
    (directory / "haproxy.cfg").write_text(
        f"defaults\n {defaults}\nfrontend near\n bind 127.0.0.1:{own}\n default_backend "
        f"far\nbackend far\n server echo 127.0.0.1:{port}\n"
    )
    with running(own, "haproxy", "-f", str(directory / "haproxy.cfg"), "-db"):
        yield own


@contextlib.contextmanager
def socat(port: int, *options: str, listening: str = "", connecting: str = "") -> Iterator[int]:
    need("socat")
    own = free_port()
    with running(
        own,
        "socat",
        *options,
        f"TCP-LISTEN:{own},bind=127.0.0.1,reuseaddr,fork{listening}",
        f"TCP:127.0.0.1:{port}{connecting}",
    ):
        yield own


@contextlib.contextmanager
def ssh(port: int, directory: Path) -> Iterator[int]:
    """`ssh -L`, to an sshd of the test's own on loopback, with keys of its own."""
    need("ssh", "sshd")
    own, server = free_port(), free_port()
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True
        )
    (directory / "authorized").write_bytes((directory / "user.pub").read_bytes())
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or "sshd"
    Path("/run/sshd").mkdir(exist_ok=True)
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{server}\nHostKey {directory}/host\nAuthorizedKeysFile "
        f"{directory}/authorized\n"
        "StrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\nMaxSessions 100\n"
    )
    user = pwd.getpwuid(os.getuid()).pw_name
    options = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "BatchMode=yes",
        "ExitOnForwardFailure=yes",
        "LogLevel=ERROR",
    ]
    client = [
        "ssh",
        "-F",
        "none",
        "-N",
        "-p",
        str(server),
        "-i",
        str(directory / "user"),
        "-L",
        f"127.0.0.1:{own}:127.0.0.1:{port}",
    ]
    with (
        running(server, sshd, "-D", "-e", "-f", str(directory / "sshd_config")),
        running(
            own,
            *client,
            *(word for option in options for word in ("-o", option)),
            f"{user}@127.0.0.1",
        ),
    ):
        yield own


@contextlib.contextmanager
def stunnel(port: int, directory: Path) -> Iterator[int]:
    """Two of them, TLS in between: our side needs none."""
    need("stunnel4", "openssl")
    own, middle = free_port(), free_port()
    key = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=meari", *key],
        check=True,
        capture_output=True,
    )
    common = "foreground = yes\npid =\ndebug = 3\nsyslog = no\n"
    (directory / "far.conf").write_text(
        f"{common}cert = {directory}/cert.pem\nkey = {directory}/key.pem\n[far]\naccept = "
        f"127.0.0.1:{middle}\nconnect = 127.0.0.1:{port}\n"
    )
    (directory / "near.conf").write_text(
        f"{common}[near]\nclient = yes\naccept = 127.0.0.1:{own}\nconnect = 127.0.0.1:{middle}\n"
    )
    with (
        running(middle, "stunnel4", str(directory / "far.conf")),
        running(own, "stunnel4", str(directory / "near.conf")),
    ):
        yield own
