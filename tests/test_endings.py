"""That every command ends, and that nothing it had to say is lost then."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from . import crowd, servers
from .program import MEARI, Serving, run
from .test_load_verdicts import trickle

# Events


def test_dropped_events_are_counted_when_no_other_follows() -> None:
    n = 900
    with Serving("-v") as server:
        for _ in range(3):  # 2,700 events, and nobody reads them: two pipes hold 64 KiB each
            crowd.exchange(crowd.connect(server.port, n // 3), [b"x"] * (n // 3), 30)
        time.sleep(0.5)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            server.read(0.1)
            if _counted(server.lines) >= 2 * n:
                break
        assert _counted(server.lines) >= 2 * n  # connected and closed, one by one or in a number


def _counted(lines: list[str]) -> int:
    """Events about connections, with those that were not shown."""
    shown = sum(line.startswith(("Connected", "closed", "lost")) for line in lines)
    left_out = sum(
        int(match[1].replace(",", ""))
        for line in lines
        if (match := re.match(r"\.\.\. ([\d,]+) events? not", line))
    )
    return shown + left_out


DEAD_DNS = """
set -e; ip link set lo up; echo nameserver 127.0.0.53 > "$1"; mount --bind "$1" /etc/resolv.conf
"$PY" -c 'import socket,time; s=socket.socket(type=socket.SOCK_DGRAM); s.bind(("127.0.0.53",53));
time.sleep(40)' & dns=$!
trap "kill $dns; wait $dns" EXIT; sleep 0.3
"""


def with_dead_dns(script: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    """Run *script* where the resolver is a socket that never answers."""
    unshare = ["unshare", "--map-root-user", "--net", "--mount"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip("the kernel gives no namespaces here")
    words = [
        *unshare,
        "bash",
        "-c",
        f'PATH="$PATH:/usr/sbin:/sbin"; {DEAD_DNS}{script}',
        "bash",
        str(directory / "resolv.conf"),
    ]
    return subprocess.run(
        words, capture_output=True, timeout=60, check=False, env={**os.environ, "PY": MEARI[0]}
    )


@pytest.mark.parametrize(
    "command",
    [
        "ping -w 2 nosuch.example 7007",
        "talk --timeout 2 nosuch.example 7007",
        "load --timeout 2 nosuch.example 7007",
    ],
)
def test_name_resolution_respects_the_limit(command: str, tmp_path: Path) -> None:
    script = (
        f'began=$(date +%s%N); "$PY" -m meari {command} </dev/null || code=$?; echo $code $(( '
        "($(date +%s%N) - began) / 1000000 ))"
    )
    done = with_dead_dns(script, tmp_path)
    code, milliseconds = map(int, done.stdout.split())
    assert (code, milliseconds < 8000) == (2, True), done.stderr.decode()
    assert b"no answer from the resolver within 2 s" in done.stderr
    assert b"does a server listen there" not in done.stderr


def test_a_stop_abandons_the_lookups_not_the_lines(tmp_path: Path) -> None:
    script = (
        '"$PY" -m meari serve -v --resolve 127.0.0.1:7007 > "$1.log" & far=$!\n'
        "until ss -ltn | grep -q 127.0.0.1:7007; do sleep 0.05; done\n"
        '"$PY" -c \'import socket\nfor n in range(2, 57):\n'
        ' s = socket.create_connection(("127.0.0.1", 7007), source_address=("127.0.0.%d" % n, 0));'
        " s.close()'\n"
        'sleep 0.3; kill $far; wait $far; cat "$1.log"'
    )
    done = with_dead_dns(script, tmp_path)
    lines = done.stdout.decode().splitlines()
    assert sum(line.startswith("Connected to") for line in lines) == 55, done.stderr.decode()
    assert sum(line.startswith("closed") for line in lines) == 55


# Endings


@pytest.mark.parametrize(
    "command",
    ["ping {port} -i 0.05", "load {port} -t 60 --interval 0.1 --ndjson"],
    ids=["ping", "load"],
)
def test_a_reader_that_has_read_enough_ends_it(command: str) -> None:
    with Serving("-q") as server:
        began = time.monotonic()
        words = command.format(port=server.port)
        done = subprocess.run(
            f"{MEARI[0]} -m meari {words} | head -2",
            shell=True,
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert time.monotonic() - began < 10
    assert done.stdout.count(b"\n") == 2 and done.stderr == b""


def test_talk_ends_though_bytes_come_now_and_then() -> None:
    def now_and_then(sock: socket.socket, over: threading.Event) -> None:
        while not over.wait(0.1):
            servers.sending(sock, b"x")

    with servers.far_end(now_and_then) as address:
        began = time.monotonic()
        done = run("talk", str(address), "--timeout", "0.3", data=b"hello\n", timeout=30)
    assert done.returncode == 1 and time.monotonic() - began < 8
    assert b"not over 3 s after the end of the input" in done.stderr


@pytest.mark.long
def test_a_quick_check_ends_though_a_byte_comes_now_and_then() -> None:
    with servers.far_end(trickle) as address:
        began = time.monotonic()
        done = run("check", str(address), "--quick", "--json", timeout=200)
    assert time.monotonic() - began < 120
    assert done.returncode == 1
    json.loads(done.stdout)


def test_talk_sends_a_line_that_is_longer_than_its_window() -> None:
    with servers.far_end(servers.lines) as address:
        data = b"x" * (20 << 20) + b"\n"
        done = run("talk", str(address), "--timeout", "8", data=data, timeout=60)
    assert done.returncode == 0 and done.stdout == data


@pytest.mark.parametrize("words", ["--help", "--version", "check --list", "explain --list"])
def test_an_output_that_takes_nothing_is_one_line_and_a_code(words: str) -> None:
    """Also for text that is written at the end: no traceback of the interpreter, and no 120."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*MEARI, *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment,
            timeout=20,
            check=False,
        )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr.decode()
    assert b"No space left on device" in done.stderr
