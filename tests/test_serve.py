"""`meari serve` as a person starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from meari.engines import ENGINES

from . import crowd
from .program import MEARI, Serving, alive, children, family, run, until
from .test_net import needs_ipv6


def echo(port: int, data: bytes) -> bytes:
    return crowd.exchange(crowd.connect(port, 1), [data])[0]


def test_a_conversation_in_the_books_words() -> None:
    with Serving("--engine", "iterative", "--lines") as serving:
        assert echo(serving.port, b"hello\nyou\nthere") == b"hello\nyou\nthere"
        serving.wait_for("closed")
        assert serving.stop() == 0
    port = re.escape(str(re.search(r"127\.0\.0\.1, (\d+)", serving.lines[1])[1]))  # type: ignore[index]
    expected = [
        rf"listening on tcp://127\.0\.0\.1:{serving.port}",
        rf"Connected to \(127\.0\.0\.1, {port}\)",
        rf"server received 6 bytes from \(127\.0\.0\.1, {port}\)",
        rf"server received 4 bytes from \(127\.0\.0\.1, {port}\)",
        rf"server received 5 bytes from \(127\.0\.0\.1, {port}\)",
        rf"closed \(127\.0\.0\.1, {port}\) after 3 messages, 15 bytes, \d+\.\d s",
    ]
    assert len(serving.lines) == len(expected)
    for line, pattern in zip(serving.lines, expected, strict=True):
        assert re.fullmatch(pattern, line)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["+10"],
        ["1_0"],
        ["²"],
        ["65536"],
        ["localhost"],
        ["::1:7007"],
        ["udp://localhost:1"],
        ["7007", "--engine", "fork"],
        ["7007", "--workers", "0"],
        ["7007", "--idle", "0"],
        ["7007", "--idle", "nan"],
        ["7007", "--drain", "inf"],
        ["7007", "--drain", "1e999"],
        ["7007", "--connections", "x"],
        ["7007", "--workers", "2", "--once"],
        ["--nonsense"],
        ["메아리"],
        ["\udcff:1"],
    ],
)
def test_a_usage_error_is_a_line_and_the_usage(words: list[str]) -> None:
    done = run("serve", *words)
    assert done.returncode == 2
    assert done.stdout == b""
    error, usage, *rest = done.stderr.decode().splitlines()
    assert error.startswith("meari serve: ")
    assert usage.startswith("Usage: meari serve")
    assert rest == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["0", "--engine", "thread", "--workers", "2"], "only the event engine"),
        (["0", "--connections", "99999999"], "descriptor limit"),
        (["0", "--allow", "nowhere"], "not a network"),
        (["nosuch.invalid:0"], "cannot listen"),
        (["203.0.113.1:0"], "Cannot assign"),
    ],
)
def test_what_cannot_start_says_why_in_a_line(words: list[str], reason: str) -> None:
    done = run("serve", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.decode().splitlines()
    assert reason in line


@pytest.mark.parametrize("options", [[], ["--workers", "2"]])
def test_a_port_in_use_is_told_with_who_holds_it(options: list[str]) -> None:
    with Serving(*options) as first:
        for again in ([], ["--workers", "2"]):
            done = run("serve", *again, f"127.0.0.1:{first.port}")
            assert (done.returncode, done.stdout) == (2, b"")
            (line,) = done.stderr.decode().splitlines()
            assert f"process {first.pid} " in line
            assert "in use" in line


@needs_ipv6
def test_several_addresses_and_a_host_and_its_port_in_two_words() -> None:
    process = subprocess.Popen(
        [*MEARI, "serve", "127.0.0.1:0", "[::1]:0", "127.0.0.1", "0"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [process.stdout.readline().decode() for _ in range(3)]
    assert [re.sub(r"\d+\n", "", line) for line in lines] == [
        f"listening on tcp://{host}:" for host in ("127.0.0.1", "[::1]", "127.0.0.1")
    ]
    process.terminate()
    process.communicate()
    assert process.returncode == 0


@needs_ipv6
def test_a_port_alone_listens_on_both_families_or_on_the_one_asked_for() -> None:
    with Serving(address="0") as serving:
        serving.wait_for(r"\[::\]")
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, serving.port)).close()
    with Serving("-4", address="0") as serving:
        assert echo(serving.port, b"x") == b"x"
    assert not any("::" in line for line in serving.lines)


@pytest.mark.parametrize("engine", list(ENGINES))
def test_once_is_one_connection(engine: str) -> None:
    with Serving("--once", "--engine", engine) as serving:
        assert echo(serving.port, b"the one") == b"the one"
        assert serving.finish() == 0


def test_allow_serves_those_networks_alone_and_counts_the_others() -> None:
    with Serving("--allow", "127.0.0.2/32", "--allow", "::1") as serving:
        for _ in range(15):
            with socket.create_connection(("127.0.0.1", serving.port)) as client:
                assert client.recv(1) == b""
        with socket.create_connection(
            ("127.0.0.1", serving.port), source_address=("127.0.0.2", 0)
        ) as client:
            client.sendall(b"let in")
            assert client.recv(10) == b"let in"
        serving.wait_for(r"refused \(127.0.0.1, \d+\): not allowed")
        assert serving.stop() == 0
    assert "... and 5 more refused" in serving.lines
    assert sum("Connected" in line for line in serving.lines) == 1


def test_json_is_an_object_a_line() -> None:
    with Serving("--json") as serving:
        assert echo(serving.port, b"x" * 100) == b"x" * 100
        serving.wait_for("meari.closed")
        assert serving.stop() == 0
    events = [json.loads(line) for line in serving.lines]
    assert [event["event.name"] for event in events] == [
        f"meari.{kind}" for kind in ("listening", "connected", "received", "closed")
    ]
    assert events[0]["network.local.port"] == serving.port
    assert events[1]["network.peer.address"] == "127.0.0.1"
    assert events[2]["meari.bytes"] == 100


def test_quiet_tells_where_and_what_goes_wrong_alone() -> None:
    with Serving("-q", "--per-source", "1") as serving:
        with socket.create_connection(("127.0.0.1", serving.port)) as client:
            crowd.round_trips(client, 30)
            with (
                socket.create_connection(("127.0.0.1", serving.port)) as second,
                pytest.raises(ConnectionResetError),
            ):
                second.recv(1)
        serving.wait_for("refused")
        assert serving.stop() == 0
    assert len(serving.lines) == 2


@pytest.mark.parametrize("options", [[], ["--workers", "2"], ["--engine", "process"]])
def test_of_many_events_ten_a_second_are_told_and_all_are_counted(options: list[str]) -> None:
    with Serving(*options) as serving:
        clients = crowd.connect(serving.port, 20)
        for client in clients:
            crowd.round_trips(client, 100)
        crowd.exchange(clients, [b""] * 20)
        time.sleep(1.2)  # a second's rest is told when the second is over, not with the next event
        serving.read()
        assert any("more messages" in line for line in serving.lines)
        assert serving.stop() == 0
    text = "\n".join(serving.lines)
    messages = len(re.findall(r"server received", text)) + sum(
        int(n.replace(",", "")) for n in re.findall(r"and ([\d,]+) more messages", text)
    )
    assert messages == 2000
    assert len(re.findall("server received", text)) < 60
    assert len(re.findall("Connected to", text)) < 20
    closed = len(re.findall(r"^closed", text, re.M)) + sum(
        int(n) for n in re.findall(r"and (\d+) more closed", text)
    )
    assert closed == 20
    assert "20 connections" in text or any(
        int(n) <= 20 for n in re.findall(r"from (\d+) connection", text)
    )


def test_verbose_tells_every_connection() -> None:
    with Serving("-v") as serving:
        crowd.exchange(crowd.connect(serving.port, 50), [b"x"] * 50)
        until(lambda: serving.read() and sum("closed" in line for line in serving.lines) == 50)
        assert sum("Connected" in line for line in serving.lines) == 50


def test_resolve_tells_names() -> None:
    with Serving("--resolve") as serving:
        assert echo(serving.port, b"x") == b"x"
        assert socket.getnameinfo(("127.0.0.1", 1), socket.NI_NUMERICSERV)[0] in serving.wait_for(
            "Connected"
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "options",
    [[], ["--workers", "2"], *(["--engine", name] for name in ENGINES if name != "event")],
)
def test_a_signal_stops_it_with_0(options: list[str], number: int) -> None:
    with Serving(*options) as serving:
        assert echo(serving.port, b"x") == b"x"
        began = time.monotonic()
        assert serving.stop(number) == 0
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "options",
    [[], ["--workers", "2"], *(["--engine", name] for name in ENGINES if name != "event")],
)
def test_a_second_signal_ends_it_at_once(options: list[str]) -> None:
    with (
        Serving(*options) as serving,
        socket.create_connection(("127.0.0.1", serving.port)) as client,
    ):
        crowd.round_trips(client, 1)
        below = family(serving.pid)
        serving.process.send_signal(signal.SIGTERM)
        for _ in range(3):
            time.sleep(0.05)
            crowd.round_trips(client, 1)  # it drains, and this one is active
        began = time.monotonic()
        assert serving.stop() == 1
        assert time.monotonic() - began < 2.5
        until(lambda: not any(map(alive, below)))


def test_the_parents_death_stops_the_workers() -> None:
    with Serving("--workers", "2", "--drain", "1") as serving:
        until(lambda: len(family(serving.pid)) == 4)  # two, and the writer
        workers = family(serving.pid)[1:]
        serving.process.kill()
        until(lambda: not any(map(alive, workers)))


@pytest.mark.parametrize(
    "options",
    [[], ["--workers", "2"], pytest.param(["--engine", "process"], marks=pytest.mark.long)],
)
def test_a_log_that_nobody_reads_holds_up_nobody(options: list[str]) -> None:
    with Serving("-v", *options) as serving:
        for _ in range(15):  # more lines than the two pipes hold, which is 64 KiB each
            crowd.exchange(crowd.connect(serving.port, 100), [b"x"] * 100, 10)
        with socket.create_connection(("127.0.0.1", serving.port)) as client:
            assert crowd.round_trips(client, 100)[50] < 0.05
        while len(serving.lines) < 1000:
            serving.read(0.1)
        time.sleep(0.3)
        assert echo(serving.port, b"x") == b"x"
        serving.wait_for(r"[\d,]+ events not written")


def test_a_log_whose_reader_has_gone_ends_nothing() -> None:
    with Serving() as serving:
        serving.out.close()
        for _ in range(5):
            assert echo(serving.port, b"x") == b"x"
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(10) == 0
        serving.process.stdout = None


CLOSED = (
    "import os,sys; [os.close(fd) for fd in (0,1,2)]; os.execv(sys.executable, [sys.executable, "
    "'-m', 'meari', *sys.argv[1:]])"
)


@pytest.mark.parametrize(
    "options",
    [[], ["--workers", "2"], *(["--engine", name] for name in ENGINES if name != "event")],
)
def test_standard_descriptors_closed_at_start_are_never_a_clients(options: list[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", CLOSED, "serve", "-v", *options, f"127.0.0.1:{port}"]
    )
    until(lambda: answers(port))
    clients = crowd.connect(port, 20)
    data = [os.urandom(1000) for _ in clients]
    assert crowd.exchange(clients, data) == data
    process.terminate()
    assert process.wait(10) == 0


def answers(port: int) -> bool:
    try:
        return echo(port, b"x") == b"x"
    except OSError:
        return False


def test_help_is_quick_and_imports_little() -> None:
    code = (
        "import sys; sys.argv=['meari','--help']\nfrom meari.cli import main\ntry: main()\nexcept "
        "SystemExit: pass\nprint(*sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    modules = set(out.splitlines()[-1].split())
    assert not modules & {
        "socket",
        "meari.server",
        "meari.net",
        "asyncio",
        "rich",
        "ipaddress",
        "json",
    }
    assert not children(os.getpid())


@pytest.mark.parametrize(
    "options",
    [
        ["--idle", "1e9"],
        ["--drain", "1e9"],
        ["--engine", "thread", "--idle", "1e9", "--drain", "1e9"],
    ],
)
def test_long_limits_are_no_trouble(options: list[str]) -> None:
    with (
        Serving(*options) as serving,
        socket.create_connection(("127.0.0.1", serving.port)) as client,
    ):
        crowd.round_trips(client, 3)
        assert serving.process.poll() is None
        client.close()
        assert serving.stop() == 0


def test_a_stop_as_soon_as_it_listens_is_heeded() -> None:
    for _ in range(5):
        with Serving() as serving:
            assert serving.stop() == 0


@pytest.mark.parametrize("descriptors", [6, 8, 10, 12, 16, 20])
def test_hardly_any_descriptors_is_a_line_or_a_server(descriptors: int) -> None:
    try:
        with Serving(descriptors=descriptors) as serving:
            assert echo(serving.port, b"x") == b"x"
            assert serving.stop() == 0
    except (ConnectionRefusedError, ConnectionResetError):
        # It listened, and then ended because it could not go on: before or after the client
        # connected.
        pass
    except AssertionError as error:
        assert "Traceback" not in str(error)
        assert "Too many open files" in str(error)
