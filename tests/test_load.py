"""meari load, run as a person runs it: its figures, its verdicts, its ends."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time
import typing
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from meari import Server
from meari.client.results import Result
from meari.histogram import Histogram

from . import servers
from .program import MEARI, Serving, children, own_memory, run, until
from .servers import far_end

SCHEMA = json.loads(files("meari.report").joinpath("result.schema.json").read_text())
INVERT = bytes(255 - i for i in range(256))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def load(*words: object, code: int = 0, timeout: float = 60) -> dict[str, typing.Any]:
    """The result of `meari load`, as JSON; it is what the schema says."""
    done = run("load", *map(str, words), "--json", timeout=timeout)
    assert done.returncode == code, (done.returncode, done.stderr.decode(), done.stdout[:2000])
    found: dict[str, typing.Any] = json.loads(done.stdout)
    VALIDATOR.validate(found)
    again = Result.from_json(found).to_json()
    for same in (
        "messages",
        "bytes",
        "seconds",
        "plan",
        "faults",
        "fault_counts",
        "damaged_messages",
        "connections",
        "histograms",
    ):
        assert again[same] == found[same], same
    return found


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


PLANS: dict[str, list[object]] = {
    "one": [],
    "many": ["-c", 50],
    "deep": ["-c", 3, "--depth", 16],
    "bytes": ["-s", 1, "-c", 2],
    "ranges": ["-s", "1-20000", "-c", 5, "--depth", 3],
    "large": ["-s", "3M", "-c", 2],
    "bulk": ["-s", "64K", "-c", 8],
    "processes": ["-c", 5, "--processes", 2],
    "open": ["-c", 3, "--rate", 2000],
    "open on two": ["-c", 3, "--rate", 2000, "--processes", 2, "-s", "1-3000"],
    "new connections": ["-c", 4, "--new-connections", "-s", "10-100000"],
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.alone if "open" in name else ()) for name in PLANS],
)
def test_every_kind_of_load_verifies_an_honest_echo(name: str) -> None:
    with Server("127.0.0.1:0") as server:
        found = load(server.addresses[0], "-t", 0.6, *PLANS[name])
    assert found["faults"] == [] and found["fault_counts"] == {} and found["damaged_messages"] == 0
    assert found["messages"] > 0 and found["bytes"] > 0 and 0.55 < found["seconds"] < 2
    assert found["messages_per_second"] == pytest.approx(
        (found["messages"] - found["late_messages"]) / found["seconds"], rel=1e-3
    )
    assert found["connections"]["lost"] == 0
    # With those that came back after the end.
    timed = Histogram.decode(found["histograms"]["round_trip"]).total
    assert (
        found["messages"]
        <= timed
        <= found["messages"] + found["plan"]["connections"] * found["plan"]["depth"]
    )
    assert (
        sum(point["messages"] for point in found["over_time"])
        == found["messages"] - found["late_messages"]
    )
    trip = found["round_trip_us"]
    assert 0 < trip["p50"] <= trip["p90"] <= trip["p99"] <= trip["p999"] <= trip["max"]
    if "open" in name:
        near = found["near_end"]
        # A busy machine may be too slow for it.
        assert near["kept_its_rate"] or near["lag_us"]["p99"] > 1000
        assert not near["kept_its_rate"] or found["messages"] == pytest.approx(1200, abs=60)
        assert found["from_due_us"]["p50"] >= trip["p50"] * 0.99
    if name == "new connections":
        assert (
            found["connections"]["opened"] >= found["messages"] and found["connect_us"]["p50"] > 0
        )
        assert found["first_byte_us"]["p50"] <= trip["p50"]


@pytest.mark.parametrize(
    "more",
    [[], ["--processes", "2"], ["--depth", "7"], ["--rate", "3000"], ["--new-connections"]],
    ids=" ".join,
)
def test_so_many_messages_are_sent_and_no_more(more: list[str]) -> None:
    with Server("127.0.0.1:0") as server:
        found = load(server.addresses[0], "-c", 4, "-n", 777, "-s", 100, *more)
        assert found["messages"] == 777 and found["bytes"] == 77_700
        assert found["seconds"] < 5


@pytest.mark.parametrize("size", [64, 1000, 65536, "1-100000"])
def test_megabytes_of_honest_echo_have_no_fault(size: object) -> None:
    n = {64: 50_000, 1000: 50_000, 65536: 1000, "1-100000": 1000}[size]
    with Serving("-q") as server:
        found = load(server.address, "-c", 8, "-s", size, "-n", n, "--depth", 4)
    assert found["faults"] == [] and found["bytes"] >= 3_200_000


def test_the_warm_up_is_not_counted() -> None:
    with Serving("-q") as server:
        found = load(server.address, "-c", 2, "-t", 0.5, "--warmup", 0.5, "--rate", 1000)
    assert found["messages"] == pytest.approx(500, abs=25) and 0.45 < found["seconds"] < 0.7


@pytest.mark.long
def test_the_open_loop_does_not_hide_a_stall() -> None:
    """A far end that stops for 500 ms, once in 10 s: 5 % of the messages wait, evenly from 0 to 500
    ms.
    """
    with far_end(servers.Stalling(at=5.0, seconds=0.5)) as address:
        found = load(address, "-c", 4, "--rate", 1000, "-t", 10)
    assert (
        found["messages"] == pytest.approx(10_000, abs=20)
        and found["near_end"]["kept_its_rate"] is True
    )
    due = Histogram.decode(found["histograms"]["from_due"])
    for q in (0.96, 0.97, 0.98, 0.99, 0.995):
        expected = (q - 0.95) / 0.05 * 500  # milliseconds
        assert due.quantile(q) / 1e6 == pytest.approx(expected, abs=12), q
    assert due.quantile(0.90) / 1e6 < 10


def test_a_closed_loop_would_have_hidden_it() -> None:
    with far_end(servers.Stalling(at=0.5, seconds=0.5)) as address:
        found = load(address, "-c", 1, "-t", 2)
    assert found["round_trip_us"]["p99"] < 100_000 and found["round_trip_us"]["max"] > 400_000


@pytest.mark.long
def test_a_rate_that_cannot_be_kept_is_marked() -> None:
    with far_end(servers.Stalling(at=0.2, seconds=2.5)) as address:
        done = run("load", str(address), "-c", "2", "--rate", "500", "-t", "1")
    assert done.returncode == 0
    assert b"RATE NOT KEPT" in done.stdout and b"the far end, or the path" in done.stdout


@pytest.mark.alone
def test_the_near_end_says_when_it_was_the_limit() -> None:
    with Serving("-q", "--workers", "2") as server:
        found = load(server.address, "-c", 64, "-t", 1)
        assert found["near_end"]["was_the_limit"] is (found["near_end"]["busy"] > 0.9)
        assert (
            load(server.address, "-c", 1, "-t", 1, "--rate", 100)["near_end"]["was_the_limit"]
            is False
        )


ODD: dict[str, tuple[servers.Serve, list[str]]] = {
    "one byte at a time": (servers.bytewise, ["-s", "1-3000"]),
    "line by line": (servers.lines, ["-s", "20000", "--depth", "4", "--timeout", "2"]),
    "late": (servers.Stalling(0.1, 1.5), ["--depth", "3"]),
}


@pytest.mark.parametrize("name", ODD)
def test_honest_but_odd_far_ends_have_no_fault(name: str) -> None:
    serve, words = ODD[name]
    with far_end(serve) as address:
        found = load(address, "-c", 3, "-n", 60, *words)
    assert 57 <= found["messages"] <= 60  # what is held until the end comes after it


WRONG: dict[str, tuple[servers.Serve, str]] = {
    "never answers": (servers.swallow, "stalled"),
    "never reads": (servers.deaf, "stalled"),
    "ends with a FIN": (servers.breaking(5000, cleanly=True), "truncated"),
    "ends with a reset": (servers.breaking(5000, cleanly=False), "reset"),
    "is no echo": (servers.chatter, "flipped"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_and_exits_1(name: str) -> None:
    serve, kind = WRONG[name]
    with far_end(serve) as address:
        found = load(address, "-c", 2, "-t", 1, "-s", 1000, "--timeout", 1, code=1, timeout=20)
    assert kind in found["fault_counts"], found["fault_counts"]
    assert all(fault["offset"] >= 0 for fault in found["faults"])


def test_a_far_end_that_dies_is_told_and_one_that_comes_back_is_used() -> None:
    with Serving("-q") as first, contextlib.ExitStack() as stack:
        port, fds = first.port, Path(f"/proc/{first.pid}/fd")
        before = len(list(fds.iterdir()))
        process = stack.enter_context(
            subprocess.Popen(
                [*MEARI, "load", f"127.0.0.1:{port}", "-c", "3", "-t", "4", "--json"],
                stdout=subprocess.PIPE,
            )
        )
        until(lambda: len(list(fds.iterdir())) >= before + 3)
        time.sleep(0.5)
        first.process.kill()
        first.process.wait()
        with Serving("-q", address=f"127.0.0.1:{port}"):
            out, _ = process.communicate(timeout=30)
    found = json.loads(out)
    assert process.returncode == 1
    # One may be replaced while the listener of the dying process still takes it, and lost again.
    assert 3 <= found["connections"]["lost"] <= 6 and found["connections"]["opened"] >= 6
    assert found["over_time"][-1]["messages"] > 0


def test_nobody_there_exits_2() -> None:
    with Serving("-q") as server:
        port = server.port
    done = run("load", f"127.0.0.1:{port}", "-t", "1", "--processes", "2", "-c", "2")
    assert (
        done.returncode == 2
        and b"Connection refused" in done.stderr
        and b"meari serve" in done.stderr
    )
    assert done.stdout == b""


def test_a_message_that_was_damaged_is_not_timed() -> None:
    with Serving("--lie", "drop", "--lie-every", "10000", "--seed", "3") as server:
        found = load(server.address, "-c", 2, "-n", 40, "-s", 4096, code=1)
    assert found["fault_counts"].get("dropped", 0) >= 5
    assert 5 <= found["damaged_messages"] <= found["fault_counts"]["dropped"]
    assert found["messages"] + found["damaged_messages"] == 40
    # With those that came back after the end.
    timed = Histogram.decode(found["histograms"]["round_trip"]).total
    assert (
        found["messages"]
        <= timed
        <= found["messages"] + found["plan"]["connections"] * found["plan"]["depth"]
    )


def test_a_damaged_message_takes_no_others_with_it() -> None:
    with Serving("--lie", "flip", "--lie-every", "100000", "--seed", "1") as server:
        found = load(server.address, "-n", 20_000, "-s", 64, "--depth", 500, code=1)
    flipped = found["fault_counts"]["flipped"]
    damaged = found["damaged_messages"]  # a flip may reach over the end of a message
    assert (
        flipped > 5 and flipped <= damaged <= 2 * flipped and found["messages"] == 20_000 - damaged
    )


@pytest.mark.long
def test_a_path_that_changes_every_byte_costs_no_memory(tmp_path: Path) -> None:
    def inverted(sock: socket.socket, over: threading.Event) -> None:
        for data in servers.reading(sock, over):
            servers.sending(sock, bytes(data).translate(INVERT))

    with far_end(inverted) as address:
        command = [*MEARI, "load", str(address), "-c", "2", "-s", "64K", "--depth", "4", "-t", "3"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        until(lambda: children(process.pid))
        time.sleep(2.5)
        used = own_memory(children(process.pid)[0])
        out, _ = process.communicate(timeout=30)
    assert used < 30_000_000 and process.returncode == 1
    assert b"damaged" in out and b"flipped" in out


def test_a_second_ctrl_c_tells_what_there_is() -> None:
    with far_end(servers.swallow) as address:
        process = subprocess.Popen(
            [*MEARI, "load", str(address), "-t", "60"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        until(lambda: children(process.pid))
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None and b"stopping" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=5)
    assert process.returncode == 1 and b"messages     0 in" in out


def test_thresholds() -> None:
    with Serving("-q") as server:
        words = ["load", str(server.address), "-t", "0.3"]
        done = run(*words, "--fail-if", "p99>1ns", "--fail-if", "rate<1", "--fail-if", "faults>0")
        assert done.returncode == 3 and b"p99>1ns: p99 is" not in done.stdout
        assert done.stderr.count(b"\n") == 1 and b"p99>1ns: p99 is" in done.stderr
        assert (
            run(
                *words, "--fail-if", "p99.9<1us", "--fail-if", "max>1h".replace("h", "000s")
            ).returncode
            == 0
        )
    for wrong in ("p99", "p98>1ms", "p99>2", "rate>2ms", "p99=2ms", "p99>ms"):
        done = run("load", "127.0.0.1:1", "--fail-if", wrong)
        assert done.returncode == 2 and wrong.encode() in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "0"], ["-s", "0"], ["-s", "9-3"], ["-s", "x"], ["-s", "2G"],
        ["--depth", "2", "--rate", "1"],
        ["--rate", "0"],
        ["--rate", "nan"],
        ["-t", "nan"], ["-c", "2", "--processes", "3"], ["--new-connections", "--rate", "5"],
        ["-n", "1", "--processes", "2", "-c", "2"],
        ["--json", "--ndjson"], ["--interval", "0"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be_asked_for_exits_2(words: list[str]) -> None:
    done = run("load", "127.0.0.1:1", *words)
    assert (
        done.returncode == 2
        and done.stderr
        and b"Traceback" not in done.stderr
        and b"fault of meari" not in done.stderr
    )
