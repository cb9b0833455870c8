"""What `meari load` prints and saves, also where nothing takes it."""

from __future__ import annotations

import json
import os
import pty
import random
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from meari.client.results import load_results

from .program import MEARI, Serving, children, run, until
from .test_load import VALIDATOR, load


def test_intervals_are_objects_a_line() -> None:
    with Serving("-q") as server:
        done = run(
            "load", str(server.address), "-t", "1", "--interval", "0.25", "--ndjson", "-c", "2"
        )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for row in rows:
        VALIDATOR.validate(row)
    assert [row["type"] for row in rows] == ["interval"] * (len(rows) - 1) + [
        "result"
    ] and 4 <= len(rows) <= 6
    assert sum(row["messages"] for row in rows[:-1]) == rows[-1]["messages"]
    assert rows[1]["at"] == pytest.approx(0.25, abs=0.05)


def test_what_is_saved_can_be_read(tmp_path: Path) -> None:
    with Serving("-q") as server:
        done = run(
            "load",
            str(server.address),
            "-t",
            "0.5",
            "--save",
            str(tmp_path / "r.json"),
            "--html",
            str(tmp_path / "r.html"),
        )
        assert done.returncode == 0
        (result,) = load_results(str(tmp_path / "r.json"))
        assert result.count.messages > 0 and result.far_end == str(server.address)
        VALIDATOR.validate(json.loads((tmp_path / "r.json").read_text()))
        assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
        done = run(
            "load", str(server.address), "-t", "0.2", "--save", str(tmp_path / "no" / "r.json")
        )
        assert done.returncode == 2 and b"No such file" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_early_end_tells_what_was_counted(number: int) -> None:
    with Serving("-q") as server:
        process = subprocess.Popen(
            [*MEARI, "load", str(server.address), "-c", "2", "-t", "60", "--json"],
            stdout=subprocess.PIPE,
        )
        until(lambda: children(process.pid))
        time.sleep(0.7)
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    found = json.loads(out)
    assert process.returncode == 0 and found["messages"] > 0 and found["seconds"] < 10


def test_its_processes_end_when_it_is_killed() -> None:
    with Serving("-q") as server:
        process = subprocess.Popen(
            [*MEARI, "load", str(server.address), "-c", "2", "-t", "60", "--processes", "2"],
            stdout=subprocess.PIPE,
        )
        until(lambda: len(children(process.pid)) == 2)
        pids = children(process.pid)
        process.kill()
        process.communicate()
        until(
            lambda: (
                not any(
                    Path(f"/proc/{pid}/stat").exists()
                    and "Z" not in Path(f"/proc/{pid}/stat").read_text()
                    for pid in pids
                )
            ),
            20,
        )


def test_a_terminal_gets_a_live_display_and_a_pipe_none_of_it() -> None:
    with Serving("-q") as server:
        words = [*MEARI, "load", str(server.address), "-t", "1.5", "--interval", "0.3"]
        piped = subprocess.run(words, capture_output=True, check=True)
        assert (
            b"\x1b" not in piped.stdout and b"time left" not in piped.stdout and piped.stderr == b""
        )
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            words,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "150"},
        )
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 20)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break
        os.close(ours)
        assert process.wait(10) == 0
    for word in (b"time left", b"so far", b"faults", b"p99"):
        assert word in shown
    assert shown.rstrip().endswith(b"every byte came back as it was sent")


def test_connections_cost_little_and_leave_nothing() -> None:
    with Serving("-q") as server:
        found = load(server.address, "-c", 1500, "-t", 1.5)
    assert found["connections"]["opened"] == 1500 and found["faults"] == []


def test_random_sizes_are_random_and_in_range() -> None:
    with Serving("-q") as server:
        found = load(server.address, "-n", 2000, "-s", "10-30")
    assert found["bytes"] / found["messages"] == pytest.approx(20, abs=1)
    assert random.Random(1).randint(10, 30)


def test_an_output_that_nobody_reads_holds_up_no_measuring() -> None:
    with Serving("-q") as server:
        words = [
            *MEARI,
            "load",
            str(server.address),
            "--rate",
            "500",
            "-t",
            "1.5",
            "--interval",
            "0.002",
            "--ndjson",
        ]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        time.sleep(3)  # its pipe is full by now
        out, _ = process.communicate(timeout=20)
    found = json.loads(out.splitlines()[-1])
    assert process.returncode == 0 and found["seconds"] == pytest.approx(1.5, abs=0.2)
    assert found["messages"] + found["near_end"]["not_sent"] == 750 and found["messages"] > 600
    assert found["from_due_us"]["p50"] < 20_000


def test_an_output_that_takes_nothing_is_told_in_a_line() -> None:
    with Serving("-q") as server, open("/dev/full", "w") as full:
        words = [*MEARI, "load", str(server.address), "-t", "0.2"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, timeout=20, check=False)
        assert (
            done.returncode == 2
            and done.stderr == b"meari: standard output: No space left on device\n"
        )
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" >&-', "sh", *words],
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0 and done.stderr == b""


def test_without_descriptors_it_says_so() -> None:
    with Serving("-q") as server:
        command = [
            "sh",
            "-c",
            'ulimit -n 40; exec "$@"',
            "sh",
            *MEARI,
            "load",
            str(server.address),
            "-c",
            "100",
        ]
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr.count(b"\n") == 1 and b"Too many open files (ulimit -n)" in done.stderr


def test_arguments_that_are_not_ascii(tmp_path: Path) -> None:
    with Serving("-q") as server:
        saved = tmp_path / "메아리.json"
        assert run("load", str(server.address), "-t", "0.2", "--save", str(saved)).returncode == 0
        assert load_results(str(saved))[0].count.messages
    for words in (
        ["메아리.invalid:7"],
        ["127.0.0.1:７"],
        ["127.0.0.1:1", "-s", "６４"],
        ["127.0.0.1:1", "--fail-if", "p99>２ms"],
    ):
        for command in ("load", "ping"):
            done = run(command, *words)
            assert (
                done.returncode == 2
                and done.stderr
                and b"Traceback" not in done.stderr
                and b"fault of meari" not in done.stderr
            )
