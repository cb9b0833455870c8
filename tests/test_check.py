"""The battery itself: what is chosen, what is said, in which form, and how it ends."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import signal
import socket
import string
import subprocess
import time
import tomllib
import typing
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from meari import Server
from meari.check import properties
from meari.check.battery import PROPERTIES, Result, choose, with_needs
from meari.check.finding import Finding, Verdict, fail, ok, unknown, warn
from meari.check.known import LANGUAGES, about, causes, size_of, time_of
from meari.errors import UsageError
from meari.report import check as report
from meari.report.junit import Case, junit

from . import servers
from .program import MEARI, run

PACKAGE = resources.files("meari.check")
SENTENCES = tomllib.loads(PACKAGE.joinpath("sentences.toml").read_text(encoding="utf-8"))
CAUSES = tomllib.loads(PACKAGE.joinpath("causes.toml").read_text(encoding="utf-8"))["cause"]
NAMES = [each.name for each in PROPERTIES]
SOURCE = Path(properties.__file__).parent
SCHEMA = json.loads(resources.files("meari.report").joinpath("check.schema.json").read_text())
OF_ANY = {"needs", "needs-more", "unreachable", "here", "stuck", "broke", "died", "unfinished"}  # what the battery itself may find


def strings(name: str) -> set[str]:
    """Every text in the file of a property: what it may have seen is among them."""
    tree = ast.parse((SOURCE / f"{name.replace('-', '_')}.py").read_text())
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def names_in(call: ast.Call) -> set[str]:
    """What its first argument may be."""
    first = call.args[0] if call.args else ast.Constant("ok")
    parts = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
    return {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def seen(name: str) -> set[str]:
    """The first arguments of ok, warn, fail and unknown in the file of a property."""
    tree = ast.parse((SOURCE / f"{name.replace('-', '_')}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return {what for call in calls if getattr(call.func, "id", "") in ("ok", "warn", "fail", "unknown") for what in names_in(call)}


# What is said


@pytest.mark.parametrize("name", NAMES)
def test_all_that_may_be_seen_has_a_sentence(name: str) -> None:
    told = set(SENTENCES[name]) | set(SENTENCES["any"])
    assert seen(name) <= told
    assert set(SENTENCES[name]) <= strings(name), "a sentence that nothing leads to"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_sentence_says_is_in_its_evidence(name: str) -> None:
    tree = ast.parse((SOURCE / f"{name.replace('-', '_')}.py").read_text())
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("ok", "warn", "fail", "unknown")):
            continue
        given = {word.arg for word in node.keywords if word.arg}
        if any(word.arg is None for word in node.keywords):
            given |= strings(name)  # of the dicts that are unpacked
        for what in names_in(node):
            text = (SENTENCES[name].get(what) or SENTENCES["any"][what])["en"]
            assert {field for _, field, _, _ in string.Formatter().parse(text) if field} <= given, what


@pytest.mark.parametrize("path", [(name, what) for name, group in SENTENCES.items() for what in group], ids="/".join)
def test_every_sentence_is_in_both_languages_with_the_same_numbers(path: tuple[str, str]) -> None:
    texts = SENTENCES[path[0]][path[1]]
    assert set(texts) == set(LANGUAGES)
    assert set(re.findall(r"{[^}]*}", texts["en"])) == set(re.findall(r"{[^}]*}", texts["ko"]))
    assert re.search("[가-힣]", texts["ko"])
    assert not re.search("[가-힣]", texts["en"])


def test_every_property_is_listed_in_both_languages() -> None:
    assert set(SENTENCES["about"]) == set(NAMES)
    assert about("idle", "ko") != about("idle", "en")


@pytest.mark.parametrize("name", NAMES)
def test_whatever_fails_has_a_likely_cause(name: str) -> None:
    """Of what may be seen, of a server of ours or of any path."""
    tree = ast.parse((SOURCE / f"{name.replace('-', '_')}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    bad = {what for call in calls if getattr(call.func, "id", "") in ("fail", "warn") for what in names_in(call)} | {"died"}
    known = {what for cause in CAUSES if name in cause["property"] for what in cause["seen"]}
    assert bad - known <= {"none"}, "that nobody answers ends the check"


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: str(cause["name"]))
def test_every_cause_is_of_something_that_can_be_seen(cause: dict[str, typing.Any]) -> None:
    assert set(cause["property"]) <= set(NAMES)
    for what in cause["seen"]:
        assert any(what in SENTENCES[name] or what in OF_ANY for name in cause["property"]), what
    for name in cause["property"]:
        assert any(what in SENTENCES[name] or what in OF_ANY for what in cause["seen"]), name
    for text in ("cause", "remedy"):
        assert set(cause[text]) == set(LANGUAGES)
        assert re.search("[가-힣]", cause[text]["ko"])
    assert cause["source"]["title"]
    assert re.fullmatch(r"https?://\S+", cause["source"]["url"])
    assert set(cause) <= {"name", "property", "seen", "when", "spawned", "cause", "remedy", "source"}


def test_there_are_causes_enough_and_none_twice() -> None:
    assert len(CAUSES) >= 25
    assert len({cause["name"] for cause in CAUSES}) == len(CAUSES)


def named(result: Result, *, spawned: bool = False) -> list[str]:
    return [cause.name for cause in causes(result, "en", spawned=spawned)]


@pytest.mark.parametrize(
    ("alive", "dead", "what", "expected"),
    [
        (340.0, 360.0, "reset-when-used", "aws-350"),
        (240.0, 270.0, "silence", "conntrack"),  # 240 lived: it is not the 4 minutes
        (228.0, 240.0, "silence", "azure-4-minutes"),
        (40.0, 50.1, "closed", "haproxy-debian-50-seconds"),
        (40.0, 47.0, "closed", "idle-timeout-of-a-proxy"),
        (50.0, 60.2, "reset", "classic-elb-60-seconds"),
    ],
)
def test_the_evidence_chooses_among_the_causes(alive: float, dead: float, what: str, expected: str) -> None:
    found = Result("idle", fail(what, longest_alive_s=alive, dead_s=dead), 1.0)
    assert named(found)[0] == expected


def test_what_holds_and_what_cannot_be_told_has_no_cause() -> None:
    assert named(Result("half-close", ok(sent=1), 1.0)) == []
    assert named(Result("half-close", unknown("needs", property="bytes"), 1.0)) == []


def test_a_cause_of_servers_of_somebodys_own_is_told_of_those_alone() -> None:
    found = Result("half-close", fail("lost", way="data", sent=10, missing=1, how="FIN", patience_s=3.0), 1.0)
    assert "nginx-half-close" in named(found)
    assert "nginx-half-close" not in named(found, spawned=True)
    assert "returns-before-writing-the-rest" in named(found, spawned=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0000581, "58.1 us"), (0.00231, "2.31 ms"), (1.5, "1.5 s"), (0, "0 us"), (0.9998, "1 s"), (0.00099984, "1 ms"), (3600, "3,600 s")],
)
def test_times_as_people_read_them(seconds: float, text: str) -> None:
    assert time_of(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1 byte"), (64, "64 bytes"), (999_960, "1.0 MB"), (16_777_216, "16.8 MB"), (1e9, "1.0 GB"), (2600, "2.6 kB")]
)
def test_sizes_as_people_read_them(count: float, text: str) -> None:
    assert size_of(count) == text


def test_what_could_not_be_tried_is_one_line() -> None:
    results = [Result(name, unknown("needs", property="partial"), 0.0) for name in ("bytes", "close")]
    assert list(report.unjudged(results, "en")) == ["  ?     bytes, close", "                     can't tell: partial does not hold"]


@pytest.mark.parametrize(
    ("findings", "english"),
    [
        ([ok(), ok()], "all 2 properties hold (1.5 s)"),
        ([ok(), warn("x")], "all 2 properties hold, 1 with a warning (1.5 s)"),
        ([fail("x"), warn("x"), unknown("x")], "1 of 3 properties does not hold, 1 with a warning, 1 can't be told (1.5 s)"),
        ([ok(), unknown("x")], "none of 2 properties fails, 1 can't be told (1.5 s)"),
    ],
)
def test_the_last_line(findings: list[Finding], english: str) -> None:
    results = [Result("close", finding, 0.1) for finding in findings]
    assert report.closing(results, 1.5, "en") == english
    assert re.search("[가-힣]", report.closing(results, 401.0, "ko"))


# What is chosen


def test_by_default_all_but_those_of_a_server_of_our_own() -> None:
    assert [each.name for each in choose()] == [each.name for each in PROPERTIES if not each.spawned]
    assert [each.name for each in choose(spawned=True)] == NAMES
    assert "idle" not in [each.name for each in choose(quick=True)]
    assert [each.name for each in choose(["idle", "bytes"], quick=True)] == ["bytes", "idle"]
    assert "idle" not in [each.name for each in choose(skip=["idle"])]


@pytest.mark.parametrize(("name", "said"), [("", "there is no property"), ("nothing", "there is no property"), ("descriptors", "--spawn")])
def test_a_property_that_there_is_not(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose([name])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_property_needs_is_tried_before_it(name: str) -> None:
    (each,) = choose([name], spawned=True)
    order = [other.name for other in with_needs([each])]
    assert order == [other for other in NAMES if other in order]
    wanted = {name}
    while more := {need for other in PROPERTIES if other.name in wanted for need in other.needs + other.after} - wanted:
        wanted |= more
    assert set(order) == wanted


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
    assert done.returncode == (0 if found["holds"] else 1)
    return found


def verdicts(found: dict[str, typing.Any]) -> dict[str, str]:
    return {each["name"]: each["verdict"] for each in found["properties"]}


def test_our_own_far_end_holds_quickly(port: int, tmp_path: Path) -> None:
    began = time.monotonic()
    found = told(port, "--quick", "--junit", str(tmp_path / "check.xml"))
    assert time.monotonic() - began < 5
    assert set(verdicts(found).values()) == {"ok"}
    assert list(verdicts(found)) == [each.name for each in choose(quick=True)]
    suite = ElementTree.parse(tmp_path / "check.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("15", "0", "0")


@pytest.mark.long
@pytest.mark.parametrize("engine", ["event", "process", "thread", "prethread", "iterative"])
def test_every_engine_holds_whole(engine: str) -> None:
    options = ["--threads", "8"] if engine == "prethread" else []
    command = f"{MEARI[0]} -m meari serve --engine {engine} {' '.join(options)} {{port}}"
    done = run("check", "--spawn", command, "--idle", "5", "--json", timeout=150)
    found = verdicts(json.loads(done.stdout))
    excused = {"concurrency", "neighbour"} if engine in ("iterative", "prethread") else set()
    assert {name for name, verdict in found.items() if verdict != "ok"} == excused, done.stdout.decode()


@pytest.mark.long
def test_on_a_busy_machine_nothing_is_taken_for_a_fault(port: int) -> None:
    busy = [subprocess.Popen([MEARI[0], "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        for _ in range(50):
            done = run("check", str(port), "--quick", "--json", timeout=100)
            wrong = [each for each in json.loads(done.stdout)["properties"] if each["verdict"] != "ok"]
            assert (done.returncode, wrong) == (0, [])
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.long
def test_the_book_s_server_holds_what_it_means_to() -> None:
    with Server("127.0.0.1:0", engine="iterative") as server:
        found = told(server.addresses[0].port, "--quick", "--clients", "4")
    assert {name for name, verdict in verdicts(found).items() if verdict != "ok"} == {"concurrency", "neighbour"}


def test_text_in_both_languages(port: int) -> None:
    english = run("check", str(port), "--only", "connect,partial", "--lang", "en").stdout.decode()
    first, *rest, last = english.splitlines()
    assert first == f"tcp://localhost:{port}"
    assert [line[:21] for line in rest] == ["  ok    connect      ", "  ok    partial      "]
    assert last.startswith("all 2 properties hold (")
    korean = run("check", str(port), "--only", "partial", env={**os.environ, "LANG": "ko_KR.UTF-8", "LC_ALL": ""}).stdout.decode()
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
        words = [str(address.port), "--against", str(port), "--quick", "--only", "partial,middle", "--junit", str(file)]
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
        (servers.chatter, "partial", "different"),
        (lambda sock, over: None, "partial", "ended"),
        (lambda sock, over: servers.reset(sock), "partial", "ended"),
    ],
    ids=["swallow", "chatter", "closes", "resets"],
)
def test_far_ends_that_are_no_echo(serve: servers.Serve, name: str, what: str) -> None:
    with servers.far_end(serve) as address:
        found = told(address.port, "--quick")
    failed = [each for each in found["properties"] if each["verdict"] == "FAIL"]
    assert [(each["name"], each["seen"]) for each in failed] == [(name, what)]
    assert {each["verdict"] for each in found["properties"]} <= {"ok", "FAIL", "can't tell"}


def test_an_honest_echo_of_single_bytes_is_all_right() -> None:
    with servers.far_end(servers.bytewise) as address:
        found = told(address.port, "--only", "partial,pipelined,close")
    assert set(verdicts(found).values()) == {"ok"}


# How it ends


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
        r"meari check: cannot connect to tcp://localhost:\d+: .*Connection refused; does a server listen there\?\n", done.stderr.decode()
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_soon(port: int, number: int) -> None:
    running = subprocess.Popen([*MEARI, "check", str(port), "--idle", "60", "--lang", "en"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert any(b"concurrency" in line for line in running.stdout)
    began = time.monotonic()
    running.send_signal(number)
    _, errors = running.communicate(timeout=10)
    assert (running.returncode, errors) == (130, b"")
    assert time.monotonic() - began < 3


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
    running = subprocess.Popen(words, stdout=far, stderr=far, env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"})
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
    assert b"  ok    slow-reader  16.8 MB" in shown


def test_out_of_descriptors_is_no_fault_of_the_far_end(port: int) -> None:
    done = subprocess.run(
        ["bash", "-c", f'ulimit -n 24; exec "$0" -m meari check {port} --only concurrency --clients 100 --json', MEARI[0]],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    (found,) = json.loads(done.stdout)["properties"]
    assert (found["verdict"], found["seen"]) == (str(Verdict.UNKNOWN), "here")


# JUnit


def test_junit_s_counts_and_odd_characters() -> None:
    cases = [
        Case("good", 0.5, note="fine"),
        Case("bad", 0.25, failure="it \x00 \x1b broke\nhere <&>"),
        Case("none", 0, skipped="\ufffe no"),
    ]
    root = ElementTree.fromstring(junit([("a & b", cases)]).split("\n", 1)[1])
    assert root.attrib == {"tests": "3", "failures": "1", "errors": "0", "skipped": "1", "time": "0.750"}
    (suite,) = root
    assert suite.get("name") == "a & b"
    failure = suite[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "it \\x00 \\x1b broke"


def test_load_writes_it_too(port: int, tmp_path: Path) -> None:
    file = tmp_path / "load.xml"
    done = run("load", str(port), "-n", "100", "--junit", str(file), "--fail-if", "p50>60s", "--fail-if", "rate>0")
    assert done.returncode == 3
    cases = {case.get("name"): case for case in ElementTree.parse(file).iter("testcase")}
    assert set(cases) == {"bytes", "p50>60s", "rate>0"}
    assert [name for name, case in cases.items() if case.find("failure") is not None] == ["rate>0"]
