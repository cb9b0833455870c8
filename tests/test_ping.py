"""meari ping: round trips, losses, outages."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from meari import Server
from meari.client.ping_events import Summary
from meari.report import ping as report

from . import servers
from .program import MEARI, Serving, run
from .servers import far_end


def rows(out: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_line_for_each_reply_and_a_summary() -> None:
    with Server("127.0.0.1:0") as server:
        address = str(server.addresses[0])
        done = run("ping", address, "-c", "3", "-i", "0.05")
        assert done.returncode == 0 and done.stderr == b""
        first, *replies = done.stdout.decode().splitlines()
        assert re.fullmatch(rf"connected to {re.escape(address)} in [0-9.]+ [um]s", first)
        for i in range(3):
            assert re.fullmatch(
                rf"64 bytes from {re.escape(address)}: seq={i + 1} time=[0-9.]+ [um]s", replies[i]
            )
        assert replies[3] == f"--- {address} ping statistics ---"
        assert replies[4].startswith("3 sent, 3 returned, 0 lost (0 %)")
        assert replies[5].startswith("round trip min/avg/max/mdev = ")
        assert replies[6].startswith("round trip p50/p90/p99/p99.9 = ")
        assert replies[7].startswith("connect ")
        quiet = run(
            "ping", "127.0.0.1", str(server.addresses[0].port), "-c", "3", "-i", "0", "-q"
        ).stdout.decode()
        assert "seq=" not in quiet and "3 sent, 3 returned" in quiet


@pytest.mark.parametrize(
    "words",
    [[], ["--spin"], ["-s", "1"], ["-s", "100K"], ["-s", "1M", "-i", "0.001"]],
    ids=" ".join,
)
def test_as_fast_as_they_come(words: list[str]) -> None:
    with Server("127.0.0.1:0") as server:
        done = run("ping", str(server.addresses[0]), "-c", "50", "-i", "0", "--json", *words)
    assert done.returncode == 0
    found = rows(done.stdout)
    summary = found[-1]
    assert [row["seq"] for row in found if row["type"] == "reply"] == list(range(1, 51))
    assert (summary["sent"], summary["returned"], summary["lost"], summary["faults"]) == (
        50,
        50,
        0,
        0,
    )
    times = summary["round_trip_us"]
    assert isinstance(times, dict)
    assert times["min"] <= times["p50"] <= times["p90"] <= times["p99"] <= times["max"]


def test_the_interval_is_kept() -> None:
    with Server("127.0.0.1:0") as server:
        began = time.monotonic()
        done = run("ping", str(server.addresses[0]), "-c", "6", "-i", "0.2", "-q", "--json")
        assert time.monotonic() - began >= 1.0
        assert 1.0 <= rows(done.stdout)[-1]["seconds"] < 1.3  # type: ignore[operator]
        done = run("ping", str(server.addresses[0]), "-w", "2.5", "-i", "1", "-q", "--json")
        assert rows(done.stdout)[-1]["sent"] == 3


def test_ctrl_c_sums_up_and_quit_tells_how_it_stands() -> None:
    with Server("127.0.0.1:0") as server:
        process = subprocess.Popen(
            [*MEARI, "ping", str(server.addresses[0]), "-i", "0.05"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        process.send_signal(signal.SIGQUIT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert re.fullmatch(
        r"\d+ sent, \d+ returned, 0 lost \(0 %\), in [0-9.]+ s, p50 [0-9.]+ [um]s\n", errors
    )
    assert "ping statistics" in out


def test_nothing_comes_back() -> None:
    with far_end(servers.swallow) as address:
        done = run("ping", str(address), "-c", "2", "-W", "0.3", "-i", "0.1")
    out = done.stdout.decode()
    assert done.returncode == 1
    assert (
        "lost: seq=1: 0 of 64 bytes were back within 0.3 s" in out
        and "2 sent, 0 returned, 2 lost (100 %)" in out
    )


def test_a_lost_connection_is_made_anew_and_its_outage_told() -> None:
    with Serving("-q") as first:
        process = subprocess.Popen(
            [*MEARI, "ping", str(first.address), "-i", "0.1", "-c", "30", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        first.process.kill()
        first.process.wait()
        time.sleep(0.7)
        with Serving("-q", address=f"127.0.0.1:{first.port}"):
            out, errors = process.communicate(timeout=20)
    assert process.returncode == 1 and errors == b""
    found = rows(out)
    # More than one if the listener died last.
    again = [row["outage_ms"] for row in found if row["type"] == "connected"]
    assert 500 < again[-1] < 4000  # type: ignore[operator]
    summary = found[-1]
    assert summary["connections"] == 1 + len(again)
    assert summary["outage_ms"] == pytest.approx(sum(again))  # type: ignore[arg-type]
    assert 0 < summary["lost"] < 30 and summary["sent"] == 30  # type: ignore[operator]
    assert any(row["type"] == "lost" and row["reason"] == "not connected" for row in found)


@pytest.mark.parametrize(
    "kind", ["flip", pytest.param("drop", marks=pytest.mark.long), "insert", "duplicate", "replay"]
)
def test_a_lie_is_found(kind: str) -> None:
    with Serving("--lie", kind, "--lie-every", "1024") as server:
        done = run(
            "ping", str(server.address), "-s", "500", "-i", "0", "-c", "60", "-W", "0.5", "--json"
        )
    assert done.returncode == 1
    found = rows(done.stdout)
    faults = [row["kind"] for row in found if row["type"] == "fault"]
    expected = {
        "flip": "flipped",
        "drop": "dropped",
        "insert": "inserted",
        "duplicate": "duplicated",
        "replay": "replayed",
    }[kind]
    if kind == "drop":  # a reply that is short is lost, and the connection with it
        assert expected in faults or any(row["type"] == "lost" for row in found)
    else:
        assert faults and set(faults) == {expected}


def test_a_reply_that_differs_is_told_at_once_and_not_timed() -> None:
    def reversing(sock: socket.socket, over: threading.Event) -> None:
        for data in servers.reading(sock, over):
            servers.sending(sock, data[::-1])

    with far_end(reversing) as address:
        done = run("ping", str(address), "-c", "3", "-i", "0")
    out = done.stdout.decode()
    assert (
        done.returncode == 1
        and out.count(" DIFFERS\n") == 3
        and "3 returned (3 DIFFER)" in out
        and "round trip" not in out
    )
    with Serving("--lie", "drop", "--lie-every", "1024") as server:
        lines = (
            run("ping", str(server.address), "-s", "500", "-i", "0", "-c", "20", "-W", "0.5")
            .stdout.decode()
            .splitlines()
        )
    first = next(i for i, line in enumerate(lines) if "DIFFERS" in line or line.startswith("lost"))
    assert any(line.startswith("FAULT") for line in lines[first - 1 : first + 8])


def test_who_accepts_and_closes_is_not_asked_in_a_hot_loop() -> None:
    with far_end(lambda sock, over: None) as address:
        done = run("ping", str(address), "-i", "0", "-w", "1", "--json", "-q")
    assert rows(done.stdout)[-1]["connections"] < 30  # type: ignore[operator]


def test_ctrl_c_ends_it_also_where_sending_never_ends() -> None:
    with Server("127.0.0.1:0") as server:
        process = subprocess.Popen(
            [*MEARI, "ping", str(server.addresses[0]), "-i", "0.000001", "-q"],
            stdout=subprocess.PIPE,
        )
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)


def test_nobody_there_exits_2() -> None:
    with Serving("-q") as server:
        pass
    done = run("ping", str(server.address), "-c", "1")
    assert done.returncode == 2 and b"Connection refused" in done.stderr
    for words in (["-s", "1-9"], ["-s", "0"], ["-c", "0"], ["-i", "-1"], ["-W", "0"]):
        assert run("ping", "127.0.0.1:1", *words).returncode == 2


def test_something_nearer_is_noticed() -> None:
    summary = Summary(sent=10, returned=10, connections=1)
    summary.connect.add([200_000])
    summary.round_trip.add([31_000_000] * 10)
    assert summary.nearer and "something nearer answered" in "\n".join(report.closing(summary, "x"))
    summary.connect.add([20_000_000] * 3)
    assert not summary.nearer


def test_a_wall_clock_that_steps_changes_nothing() -> None:
    source = (servers.__file__ or "").replace("tests/servers.py", "src/meari/")
    for name in ("client/ping", "client/load", "client/flows", "net"):
        with open(f"{source}{name}.py") as file:
            assert "time.time" not in file.read()
