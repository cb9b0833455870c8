"""Check names just the fault of each far end in C, and of the right one none."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import typing
from pathlib import Path

import pytest

from meari.check.printed import Printed
from meari.sockets import free_port

from .far_ends import FAULTS, PERHAPS, SOURCES, built
from .program import MEARI, children, run, until
from .test_peers import listens

QUICK = ["--quick", "--clients", "12"]
SLOW = {"impatient": ["--only", "idle", "--idle", "3"], "slots": ["--only", "churn,concurrency"]}


def checked(name: str, *options: str) -> dict[str, typing.Any]:
    done = run("check", "--spawn", f"{built(name)} {{port}}", "--json", *options, timeout=120)
    assert done.stderr == b"", done.stderr.decode()
    found: dict[str, typing.Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["holds"] else 1)
    return found


def named(found: dict[str, typing.Any]) -> set[str]:
    return {each["name"] for each in found["properties"] if each["verdict"] in ("FAIL", "warn")}


def test_each_source_has_its_faults_written_down() -> None:
    assert {path.stem for end in ("c", "py", "js") for path in SOURCES.glob(f"*.{end}")} == set(
        FAULTS
    )


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS)
def test_its_fault_is_named_and_no_other(name: str) -> None:
    found = checked(name, *SLOW.get(name, QUICK))
    assert named(found) - PERHAPS.get(name, set()) == FAULTS[name], [
        (each["name"], each["sentence"]) for each in found["properties"] if each["verdict"] != "ok"
    ]


@pytest.mark.long
def test_the_right_one_holds_whole() -> None:
    found = checked("right", "--idle", "5")
    assert {each["verdict"] for each in found["properties"]} == {"ok"}
    assert len(found["properties"]) == 23


def long(*values: str | None) -> typing.Any:
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.mark.parametrize(
    ("name", "only", "seen", "cause"),
    [
        ("right", "partial", "ok", None),
        long("string", "bytes", "values", "nul-ends-a-string"),
        long("by_value", "pipelined", "lost", "buffer-copied-by-value"),
        long("held", "pipelined", "held", "ready-in-its-own-buffer"),
        long("lines", "partial", "lines", "book-echo-reads-lines"),
        ("sigpipe", "reset", "died", "sigpipe"),
        long("exits", "reset", "exited", "exits-at-any-error"),
        ("one_answer", "repeat", "closes-first", "answers-once"),
        long("returns", "share", "exited", "returns-from-main"),
        long("child_dies", "large", "ended", "child-died"),
        long("wrong_byte", "small", "different", "another-byte-comes-back"),
        long("stalls_large", "small", "stuck-large", "stops-in-the-middle"),
        long("digits", "pipelined", "changed", None),
        long("last_bytes", "half-close", "lost", "returns-before-writing-the-rest"),
        long("decodes", "bytes", "values", "decodes-text"),
        long("decodes_node", "bytes", "values", "decodes-text"),
        long("raises", "reset", "exited", "exits-at-any-error"),
        ("iterative", "concurrency", "one-by-one", "iterative"),
        long("prethreaded", "concurrency", "some-at-a-time", "all-threads-held"),
        long("resets", "close", "reset", "closed-with-unread-data"),
        ("exit_0", "exit-code", "zero", "exit-0-on-failure"),
        ("ipv4", "connect", "ipv4-alone", "ipv4-alone"),
        long("spins", "processor", "spins", "spins"),
        long("nagle", "small", "nagle", "nagle"),
    ],
)
def test_what_was_seen_and_the_likely_cause(
    name: str, only: str, seen: str, cause: str | None
) -> None:
    found = checked(name, "--quick", "--clients", "6", "--only", only)
    assert [each["name"] for each in found["properties"]] == [only]
    (told,) = found["properties"]
    assert told["seen"] == seen, told
    assert [each["name"] for each in told["causes"]][:1] == ([cause] if cause else [])


@pytest.mark.long
def test_one_accept_for_several_connections_is_the_likely_cause() -> None:
    """How many of them meet an event of their own differs from run to run."""
    (told,) = checked("edge", "--quick", "--clients", "16", "--only", "concurrency")["properties"]
    assert told["seen"] in ("some-at-a-time", "one-by-one", "nobody"), told
    assert told["evidence"]["later"] == 0
    assert told["causes"][0]["name"] == "accepted-and-forgotten"


def test_nothing_that_was_spawned_is_left() -> None:
    program = built("zombies")
    done = run(
        "check", "--spawn", f"{program} {{port}}", "--only", "zombies,churn", "--quick", "--json"
    )
    assert done.returncode == 1
    assert named(json.loads(done.stdout)) == {"zombies"}
    assert marked(program) == []


def marked(part: str) -> list[str]:
    """The processes that a check has started, with *part* in their command."""
    there = [
        pid for pid in os.listdir("/proc") if pid.isdigit() and part.encode() in _of(pid, "cmdline")
    ]
    return [pid for pid in there if b"MEARI_SPAWNED=" in _of(pid, "environ")]


def _of(pid: str, what: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{what}", "rb") as file:
            return file.read()
    except OSError:
        return b""


BACKGROUND = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(0.2)
if os.fork():
    os._exit(0)
os.setsid()
time.sleep(60)
"""


@pytest.mark.long
def test_a_server_that_puts_itself_in_the_background_is_told_so_and_ended() -> None:
    done = run(
        "check",
        "--spawn",
        f"{sys.executable} -c {shlex.quote(BACKGROUND)} {{port}}",
        "--only",
        "partial",
        "--quick",
    )
    assert done.returncode == 2
    assert b"puts itself in the background" in done.stderr
    assert marked("os.setsid()") == []


def test_a_signal_is_no_verdict() -> None:
    words = [*MEARI, "check", "--spawn", f"{built('right')} {{port}}", "--only", "processor"]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: children(running.pid))
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=10)
    assert (running.returncode, errors) == (130, b"interrupted: 0 of 1 tried\n")
    assert b"hold" not in out
    assert marked(built("right")) == []


@pytest.mark.long
def test_a_reset_that_ends_the_far_end_does_not_spoil_what_is_idle(tmp_path: Path) -> None:
    """Not spawned: one that dies is gone for all."""
    port = free_port()
    far = subprocess.Popen([built("sigpipe"), str(port)])
    try:
        until(lambda: listens(port))
        done = run("check", str(port), "--only", "reset,idle", "--idle", "2", "--json")
    finally:
        far.kill()
        far.wait()
    found = {
        each["name"]: (each["verdict"], each["seen"])
        for each in json.loads(done.stdout)["properties"]
    }
    assert found == {"reset": ("FAIL", "gone"), "idle": ("ok", "ok")}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/no/such/server {port}", "cannot start /no/such/server: No such file or directory"),
        ("sleep 5", "{port} is missing"),
        ("sh -c 'echo oops >&2; exit 3' {port}", "exit code 3, before it listened on port"),
        ("sh -c 'kill -9 $$' {port}", "SIGKILL, before it listened"),
        ("'{port}", "No closing quotation"),
        ("cat {port} | cat", "no shell reads this, and '|' needs one: sh -c 'cat {port} | cat'"),
        ("./echo {port} > log 2>&1", "no shell reads this"),
    ],
)
def test_a_server_that_does_not_start_is_one_clear_line(command: str, said: str) -> None:
    done = run("check", "--spawn", command)
    assert done.returncode == 2
    assert done.stdout == b""
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


# What is seen of the process


def one(command: str, *options: str) -> dict[str, typing.Any]:
    """The only property that is asked for, of a server of this command."""
    done = run("check", "--spawn", command, "--quick", "--clients", "6", "--json", *options)
    assert done.stderr == b"", done.stderr.decode()
    (found,) = json.loads(done.stdout)["properties"]
    return typing.cast(dict[str, typing.Any], found)


def test_the_last_output_and_the_language_of_a_server_that_ends() -> None:
    found = one(f"{built('raises')} {{port}}", "--only", "reset")
    assert found["server"]["language"] == "python"
    assert found["server"]["printed"].startswith("ConnectionResetError")
    assert "in Python: `except OSError`" in found["causes"][0]["do"]


def test_a_remedy_is_in_the_language_of_the_server() -> None:
    in_c = one(f"{built('exits')} {{port}}", "--only", "reset")
    assert in_c["server"]["language"] == "c"
    assert "Rio_writen" in in_c["causes"][0]["do"]


@pytest.mark.long
def test_a_child_that_dies_of_a_signal_is_named() -> None:
    found = one(f"{built('child_dies')} {{port}}", "--only", "large")
    assert found["server"]["child"] == "SIGABRT"


@pytest.mark.parametrize(("name", "doing"), [("stalls_large", "spins"), ("iterative", "sleeps")])
def test_a_server_that_does_not_answer_sleeps_or_spins(name: str, doing: str) -> None:
    found = one(
        f"{built(name)} {{port}}", "--only", "small" if name == "stalls_large" else "neighbour"
    )
    assert (found["verdict"], found["server"]["doing"]) == ("FAIL", doing)


def test_standard_input_stays_open_and_silent() -> None:
    found = one(f"{built('select_stdin')} {{port}}", "--only", "partial")
    assert found["verdict"] == "ok"


@pytest.mark.long
def test_a_server_on_a_port_of_its_own() -> None:
    port = free_port()
    assert (
        one(f"{built('right')} {port}", "--port", str(port), "--only", "partial")["verdict"] == "ok"
    )
    whole = run(
        "check",
        "--spawn",
        f"{built('right')} {port}",
        "--port",
        str(port),
        "--idle",
        "1",
        "--json",
        timeout=100,
    )
    # Every property, one server at a time.
    said = {each["name"]: each["verdict"] for each in json.loads(whole.stdout)["properties"]}
    assert (whole.returncode, set(said.values())) == (0, {"ok"}), said
    with socket.create_server(("127.0.0.1", port)):
        done = run(
            "check", "--spawn", f"{built('right')} {port}", "--port", str(port), "--only", "partial"
        )
    assert (done.returncode, b"is in use already" in done.stderr) == (2, True)


def test_the_time_until_it_has_to_listen_is_an_option() -> None:
    began = time.monotonic()
    done = run("check", "--spawn", "sleep 30 {port}", "--start", "0.5")
    assert time.monotonic() - began < 5
    assert (done.returncode, b"within 0.5 s (--start)" in done.stderr) == (2, True)


CLEARED = """
import os, socket, sys
port = int(sys.argv[1])
if "again" not in sys.argv:
    if os.fork() == 0:
        os.setsid()
        words = [sys.executable, "-c", "import time; time.sleep(50)", "cleared-its-environment"]
        os.execve(sys.executable, words, {})
listener = socket.create_server(("127.0.0.1", port))
while True:
    sock, _ = listener.accept()
    while data := sock.recv(100):
        sock.sendall(data)
    sock.close()
"""


def test_a_child_with_another_session_and_no_environment_is_ended_too() -> None:
    one(f"{sys.executable} -c {shlex.quote(CLEARED)} {{port}}", "--only", "partial")
    assert [
        pid
        for pid in filter(str.isdigit, os.listdir("/proc"))
        if b"\0cleared-its-environment" in _of(pid, "cmdline")
    ] == []


def test_what_a_server_prints_without_end_is_kept_to_its_end() -> None:
    printed = Printed()
    block = b"x" * 1023 + b"\n"
    try:
        for _ in range(100_000):
            os.write(printed.write, block)
        os.write(printed.write, b"the last line\n\n")
        assert printed.last() == "the last line"
        assert len(printed._kept) <= 65536
    finally:
        printed.close()
