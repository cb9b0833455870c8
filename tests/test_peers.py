"""Our ends against other people's: netcat and socat, as Debian ships them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meari import LineEcho, Server
from meari.sockets import free_port

from .program import MEARI, run, until

DATA = random.Random(11).randbytes(2_000_000) + b"\nno newline"


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(program) is None,
        reason=f"{program} is not installed: apt-get install {program}",
    )


@pytest.fixture(params=["event", "thread", "process"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with Server("127.0.0.1:0", engine=request.param) as server:
        yield server.addresses[0].port


@needs("ncat")
def test_ncat_as_the_near_end(port: int) -> None:
    done = subprocess.run(
        ["ncat", "127.0.0.1", str(port)], input=DATA, capture_output=True, timeout=20, check=True
    )
    assert done.stdout == DATA


@needs("socat")
def test_socat_as_the_near_end(port: int) -> None:
    command = ["socat", "-t", "10", "-", f"TCP:127.0.0.1:{port}"]
    assert (
        subprocess.run(command, input=DATA, capture_output=True, timeout=20, check=True).stdout
        == DATA
    )


@needs("socat")
def test_socat_with_crlf_lines() -> None:
    with Server("127.0.0.1:0", service=LineEcho) as server:
        command = ["socat", "-t", "10", "-", f"TCP:127.0.0.1:{server.addresses[0].port},crnl"]
        done = subprocess.run(
            command, input=b"one\ntwo\nlast", capture_output=True, timeout=20, check=True
        )
    assert done.stdout == b"one\ntwo\nlast"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@needs("socat")
def test_socat_as_the_far_end() -> None:
    port = free_port()
    far = subprocess.Popen(
        ["socat", "-t", "10", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork", "EXEC:cat"]
    )
    try:
        until(lambda: listens(port))
        done = run("talk", "127.0.0.1", str(port), data=DATA)
    finally:
        far.terminate()
        far.wait(10)
    assert done.stdout == DATA
    assert done.returncode == 0


@needs("ncat")
def test_ncat_as_the_far_end() -> None:
    # With more, ncat writes to its program while that writes to ncat, and both wait for ever.
    data = DATA[:5000]
    port = free_port()
    far = subprocess.Popen(
        ["ncat", "-l", "127.0.0.1", str(port), "--keep-open", "--exec", "/bin/cat"]
    )
    try:
        until(lambda: listens(port))
        done = run("talk", "127.0.0.1", str(port), "--timeout", "5", data=data)
    finally:
        far.terminate()
        far.wait(10)
    # At our half-close ncat may end before the program that it runs has said all: then that is what
    # talk tells.
    assert data.startswith(done.stdout)
    assert done.returncode == (0 if done.stdout == data else 1)
    lost = len(data) - len(done.stdout)
    assert (
        "identical" if not lost else f"the last {lost:,} never came back"
    ) in done.stderr.decode()


# Other people's far ends, found without a fault


@contextlib.contextmanager
def started(command: list[str], inside: list[str]) -> Iterator[None]:
    """A server's process, from when it listens until the end of the block; *inside* asks whether it
    does.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until(lambda: subprocess.run(inside, capture_output=True, check=False).returncode == 0)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def no_fault(prefix: list[str], port: int, most: int = 1_000_000) -> None:
    """What ping and load say of the far end on *port*, run by way of *prefix*, with messages of
    *most* bytes at the most.
    """
    address = f"127.0.0.1:{port}"

    def meari(*words: str) -> dict[str, object]:
        done = subprocess.run(
            [*prefix, *MEARI, *words, "--json"], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr)
        found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return found

    assert meari("ping", address, "-c", "20", "-i", "0")["returned"] == 20
    assert meari("ping", address, "-c", "3", "-i", "0", "-s", str(most))["returned"] == 3
    for words in (
        ["-c", "8"],
        ["-c", "4", "-s", f"1-{most // 10}", "--depth", "4"],
        ["--rate", "200"],
        ["--new-connections", "-n", "30"],
    ):
        found = meari("load", address, "-t", "2", *words)  # inetd takes its time to begin
        assert found["faults"] == [] and found["messages"]


FAR_ENDS = {
    "socat": ["socat", "TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=64", "EXEC:cat"],
    "ncat": ["ncat", "--listen", "--keep-open", "127.0.0.1", "{port}", "--exec", "/bin/cat"],
}


@pytest.mark.long
@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in FAR_ENDS])
def test_an_honest_far_end_has_no_fault(name: str) -> None:
    port = free_port()
    with started(
        [word.format(port=port) for word in FAR_ENDS[name]],
        [*MEARI, "ping", f"127.0.0.1:{port}", "-c", "1"],
    ):
        # With more, ncat and its program wait for each other.
        no_fault([], port, 5000 if name == "ncat" else 1_000_000)


NAMESPACE = ["unshare", "--map-root-user", "--net"]
FORBIDDEN = (
    shutil.which("unshare") is None
    or subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0
)


@pytest.mark.long
@needs("inetutils-inetd")
@pytest.mark.skipif(FORBIDDEN, reason="the kernel allows no network namespace here")
def test_inetds_own_echo_has_no_fault(tmp_path: Path) -> None:
    """On port 7, which is its own, in a network of its own."""
    conf, pid = tmp_path / "inetd.conf", tmp_path / "pid"
    conf.write_text("echo stream tcp nowait root internal\n")
    script = (
        f"ip link set lo up && echo $$ > {pid} && exec inetutils-inetd -d -R 100000 -p{tmp_path}/"
        f"inetd.pid {conf}"
    )
    inside = [
        "sh",
        "-c",
        f"exec nsenter -t $(cat {pid}) --user --preserve-credentials --net " + '"$@"',
        "sh",
    ]
    with started(
        [*NAMESPACE, "sh", "-c", script], [*inside, *MEARI, "ping", "127.0.0.1:7", "-c", "1"]
    ):
        no_fault(inside, 7)
