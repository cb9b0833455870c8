"""The battery itself: what is chosen, what is said, in which form, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import time
import typing
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from meari import Server
from meari.check.battery import Battery, Result, choose
from meari.check.finding import Verdict, ok
from meari.check.path import Plan
from meari.check.tables import PROPERTIES
from meari.cli import sides
from meari.cli.sides import Side
from meari.sockets import free_port
from meari.stop import Stop

from . import servers
from .program import MEARI, run

NAMES = [each.name for each in PROPERTIES]
SCHEMA = json.loads(resources.files("meari.report").joinpath("check.schema.json").read_text())


# The command


@pytest.fixture
def port() -> Iterator[int]:
    with Server("127.0.0.1:0") as server:
        yield server.addresses[0].port


def told(port: int, *options: str) -> dict[str, typing.Any]:
    done = run("check", str(port), "--json", *options)
    assert done.stderr == b"", done.stderr.decode()
    found: dict[str, typing.Any] = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    assert done.returncode == (0 if found["holds"] and not found["unjudged"] else 1)
    return found


def verdicts(found: dict[str, typing.Any]) -> dict[str, str]:
    return {each["name"]: each["verdict"] for each in found["properties"]}


@pytest.mark.alone
def test_our_own_far_end_holds_quickly(port: int, tmp_path: Path) -> None:
    began = time.monotonic()
    found = told(port, "--quick", "--junit", str(tmp_path / "check.xml"))
    assert time.monotonic() - began < 12  # 4 s, where nothing else runs
    assert set(verdicts(found).values()) == {"ok"}
    assert list(verdicts(found)) == [each.name for each in choose(quick=True)]
    suite = ElementTree.parse(tmp_path / "check.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("18", "0", "0")


@pytest.mark.long
@pytest.mark.parametrize("engine", ["event", "process", "thread", "prethread", "iterative"])
def test_every_engine_holds_whole(engine: str) -> None:
    options = ["--threads", "8"] if engine == "prethread" else []
    command = f"{MEARI[0]} -m meari serve --engine {engine} {' '.join(options)} {{port}}"
    done = run("check", "--spawn", command, "--idle", "5", "--json", timeout=150)
    found = verdicts(json.loads(done.stdout))
    excused = {"concurrency", "neighbour"} if engine in ("iterative", "prethread") else set()
    assert {name for name, verdict in found.items() if verdict != "ok"} == excused, (
        done.stdout.decode()
    )


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_on_a_busy_machine_nothing_is_taken_for_a_fault(port: int) -> None:
    busy = [
        subprocess.Popen([MEARI[0], "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        for _ in range(50):
            done = run("check", str(port), "--quick", "--json", timeout=100)
            wrong = [
                each for each in json.loads(done.stdout)["properties"] if each["verdict"] != "ok"
            ]
            assert (done.returncode, wrong) == (0, [])
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.long
def test_the_book_s_server_holds_what_it_means_to() -> None:
    with Server("127.0.0.1:0", engine="iterative") as server:
        found = told(server.addresses[0].port, "--quick", "--clients", "4")
    assert {name for name, verdict in verdicts(found).items() if verdict != "ok"} == {
        "concurrency",
        "neighbour",
    }


def test_text_in_both_languages(port: int) -> None:
    english = run("check", str(port), "--only", "connect,partial", "--lang", "en").stdout.decode()
    first, *rest, last = english.splitlines()
    assert first == f"tcp://localhost:{port}"
    assert [line[:21] for line in rest] == ["  ok    connect      ", "  ok    partial      "]
    assert last.startswith("all 2 properties hold (")
    korean = run(
        "check",
        str(port),
        "--only",
        "partial",
        env={**os.environ, "LANG": "ko_KR.UTF-8", "LC_ALL": ""},
    ).stdout.decode()
    assert "줄바꿈 없는 한 바이트" in korean
    assert "속성이 성립합니다" in korean


def test_korean_where_the_locale_has_no_korean(port: int) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = run("check", str(port), "--only", "partial", "--lang", "ko", env=environment)
    assert done.returncode == 0, done.stderr


def test_the_list() -> None:
    done = run("check", "--list", "--lang", "en")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == NAMES


def test_both_paths_beside_each_other(port: int, tmp_path: Path) -> None:
    file = tmp_path / "both.xml"
    with servers.far_end(servers.lines) as address:
        words = [
            str(address.port),
            "--against",
            str(port),
            "--quick",
            "--only",
            "partial,middle",
            "--junit",
            str(file),
        ]
        done = run("check", *words, "--lang", "en")
        found = json.loads(run("check", *words, "--json").stdout)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0  # a warning is no failure
    assert lines[0] == f"tcp://localhost:{address.port}"
    assert f"tcp://localhost:{port}" in lines
    (heading,) = (i for i, line in enumerate(lines) if line.startswith("what "))
    assert lines[heading + 1].startswith("  warn  partial")
    jsonschema.validate(found, SCHEMA)
    assert (verdicts(found)["partial"], verdicts(found["against"])["partial"]) == ("warn", "ok")
    assert len(ElementTree.parse(file).getroot()) == 2


@pytest.mark.parametrize(
    ("serve", "name", "what"),
    [
        (servers.swallow, "partial", "nothing"),
        pytest.param(servers.deaf, "partial", "nothing", marks=pytest.mark.long),
        (servers.chatter, "partial", "different"),
        (lambda sock, over: None, "partial", "ended"),
        (lambda sock, over: servers.reset(sock), "partial", "ended"),
    ],
    ids=["swallow", "deaf", "chatter", "closes", "resets"],
)
def test_far_ends_that_are_no_echo(serve: servers.Serve, name: str, what: str) -> None:
    with servers.far_end(serve) as address:
        found = told(address.port, "--quick")
    failed = [each for each in found["properties"] if each["verdict"] == "FAIL"]
    assert [(each["name"], each["seen"]) for each in failed] == [(name, what)]
    assert {each["verdict"] for each in found["properties"]} <= {"ok", "FAIL", "can't tell"}


@pytest.mark.parametrize(("cleanly", "how"), [(True, "FIN"), (False, "RST")])
def test_a_far_end_that_ends_in_the_middle(cleanly: bool, how: str) -> None:
    with servers.far_end(servers.breaking(1_000_000, cleanly=cleanly)) as address:
        found = told(address.port, "--quick", "--only", "bytes")
    (bulk,) = found["properties"]
    assert (bulk["verdict"], bulk["seen"], bulk["evidence"]["ended"]) == ("FAIL", "faults", how)


def test_an_honest_echo_of_single_bytes_is_all_right() -> None:
    with servers.far_end(servers.bytewise) as address:
        found = told(address.port, "--only", "partial,pipelined,close")
    assert set(verdicts(found).values()) == {"ok"}


# How it ends


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "either HOST PORT"),
        (["7", "--spawn", "x {port}"], "either HOST PORT"),
        (["--spawn", "x {port}", "--against", "7"], "either HOST PORT"),
        (["7", "--only", "nothing"], "there is no property 'nothing'"),
        (["7", "--idle", "0"], "not a number of seconds"),
        (["7", "--clients", "1"], "--clients"),
        (["no.such.host.invalid:7"], "cannot connect to"),
        (["7", "--junit", "/no/such/directory/file"], "/no/such/directory/file: No such file"),
    ],
)
def test_what_cannot_be_is_one_clear_line(words: list[str], said: str) -> None:
    done = run("check", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()


def test_nobody_there() -> None:
    done = run("check", str(free_port()), "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    assert verdicts(found)["connect"] == "FAIL"
    assert re.fullmatch(
        r"meari check: cannot connect to tcp://localhost:\d+: .*Connection refused; does a server "
        r"listen there\?\n",
        done.stderr.decode(),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_soon(port: int, number: int) -> None:
    running = subprocess.Popen(
        [*MEARI, "check", str(port), "--idle", "60", "--lang", "en"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    assert any(b"concurrency" in line for line in running.stdout)
    began = time.monotonic()
    running.send_signal(number)
    _, errors = running.communicate(timeout=10)
    assert running.returncode == 128 + number
    assert re.fullmatch(rb"interrupted: (9|1\d) of 19 tried\n", errors)
    assert time.monotonic() - began < 3


def test_what_was_tried_before_a_signal_is_written(port: int, tmp_path: Path) -> None:
    words = [
        *MEARI,
        "check",
        str(port),
        "--idle",
        "60",
        "--json",
        "--junit",
        str(tmp_path / "check.xml"),
    ]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(3.0)
    running.send_signal(signal.SIGTERM)
    out, errors = running.communicate(timeout=10)
    assert running.returncode == 143
    found = json.loads(out)
    jsonschema.validate(found, SCHEMA)
    assert found["interrupted"] and 0 < len(found["properties"]) < 19
    assert errors == f"interrupted: {len(found['properties'])} of 19 tried\n".encode()
    (suite,) = ElementTree.parse(tmp_path / "check.xml").getroot()
    assert [case.get("name") for case in suite] == [each["name"] for each in found["properties"]]


def test_whoever_has_read_enough_is_no_error(port: int) -> None:
    done = subprocess.run(
        f"{MEARI[0]} -m meari check {port} --only connect,partial,pipelined | head -1",
        shell=True,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.stderr == b""


def test_on_a_terminal_it_shows_what_it_does(port: int) -> None:
    near, far = pty.openpty()
    words = [*MEARI, "check", str(port), "--quick", "--only", "connect,slow-reader", "--lang", "en"]
    running = subprocess.Popen(
        words, stdout=far, stderr=far, env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    )
    os.close(far)
    shown = b""
    while True:
        try:
            data = os.read(near, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(near)
    assert running.wait(20) == 0
    assert b"...   slow-reader" in shown
    assert re.search(rb"  ok    slow-reader  [\d.]+ MB", shown)


def test_out_of_descriptors_is_no_fault_of_the_far_end(port: int) -> None:
    done = subprocess.run(
        ["bash", "-c", (
            f'ulimit -n 24; exec "$0" -m meari check {port} --only concurrency --clients 100 '
            '--json'
        ), MEARI[0]],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    (found,) = json.loads(done.stdout)["properties"]
    assert (found["verdict"], found["seen"]) == (str(Verdict.UNKNOWN), "here")


def test_an_output_that_nobody_reads_holds_up_no_measuring(port: int) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    filled = 0
    while True:
        try:
            filled += os.write(write, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(write, True)
    running = subprocess.Popen(
        [*MEARI, "check", str(port), "--only", "connect,partial,close", "--lang", "en"],
        stdout=write,
    )
    os.close(write)
    time.sleep(1.5)
    assert running.poll() is None
    with os.fdopen(read, "rb") as pipe:
        lines = pipe.read()[filled:].decode().splitlines()
    assert running.wait(10) == 0
    assert len(lines) == 5
    assert float(lines[-1].partition("(")[2].split()[0]) < 1  # seconds that it took to measure


def test_a_property_that_finishes_during_a_look_is_not_left_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The look at what is finished, and the end of all, are two moments."""
    chosen = choose(["partial", "close"], ())
    with contextlib.closing(Stop()) as stop:
        side = Side("path", Battery([], chosen, Plan(), stop), chosen)
        results = side.battery.results
        results["partial"] = Result("partial", ok("ok", took_s=0.1), 0.1)
        side.began = time.monotonic()
        look = Side.in_order

        def slow(self: Side) -> list[Result]:
            found: list[Result] = look.__get__(self)
            if len(found) < 2:
                results["close"] = Result("close", ok("ok", least_s=0.1, most_s=0.2), 0.1)
                side.over.set()
            return found

        monkeypatch.setattr(Side, "in_order", property(slow))
        shown = sides._Shown([side], "en")
        shown.update()
        shown.close()
    out = capfd.readouterr().out
    assert "close" in out and "all 2 properties hold" in out


@pytest.mark.parametrize(
    "word", ["메아리:7", "--only=메아리", "--spawn=메아리 {port}", "--spawn=\udcff {port}"]
)
def test_arguments_that_are_not_ascii(word: str) -> None:
    done = run("check", *(["7"] if word.startswith("--only") else []), word)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") <= 2
    assert b"Traceback" not in done.stderr and b"fault of meari" not in done.stderr
