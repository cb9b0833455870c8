"""check http://: each property finds exactly the fault of a middle that has it, and nothing behind
a correct one.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from meari.check.battery import Result
from meari.check.finding import Finding, fail, ok, unknown
from meari.report import check as report

from .middles.reverse_proxy import FAULTS, ReverseProxy
from .program import Serving, run

# Each fault of a middle, and what is found: property, verdict, and what was seen.
FOUND = {
    "buffer": ("stream", "FAIL", "all-held"),
    "buffer-sse": ("stream", "FAIL", "held"),
    "cache": ("cache", "FAIL", "stored"),
    "clean-abort": ("abort", "FAIL", "clean"),
    "close": ("keep-alive", "warn", "not-kept"),
    "error-pages": ("status", "FAIL", "content"),
    "flip": ("bytes", "FAIL", "arrived-changed"),
    "forged": ("address", "warn", "forged"),
    "half-close": ("half-close", "warn", "lost"),
    "limit": ("body", "warn", "limit"),
    "methods": ("methods", "warn", "refused"),
    "no-address": ("address", "FAIL", "not-learnt"),
    "no-continue": ("continue", "warn", "none"),
    "no-pipelining": ("keep-alive", "warn", "not-pipelined"),
    "normalise": ("rewrite", "warn", "changed"),
    "reframe": ("bytes", "warn", "reframed"),
    "reuse": ("race", "warn", "post-failed"),
    "reuse-502": ("race", "FAIL", "failed"),
    "reuse-repeat": ("race", "warn", "repeats-post"),
    "small-headers": ("headers", "FAIL", "little"),
    "underscore": ("rewrite", "FAIL", "lost"),
    "upload": ("upload", "FAIL", "held"),
}
FOUND_OF_WEBSOCKET = {
    "ws-compression": ("upgrade", "warn", "no-compression"),
    "ws-pings": ("control", "FAIL", "no-pong"),
    "ws-refuse": ("upgrade", "FAIL", "refused"),
    "ws-subprotocol": ("upgrade", "FAIL", "no-subprotocol"),
}
# What a fault does to other properties as well, by its nature.
ALSO = {
    "flip": {"upload", "body"},
    "reframe": {"upload"},
    "upload": {"bytes"},
    "no-pipelining": {"race"},
}


@pytest.fixture
def far() -> Iterator[int]:
    with Serving("-q", address="http://127.0.0.1:0") as serving:
        yield serving.port


def checked(port: int, *options: str, scheme: str = "http") -> list[dict[str, typing.Any]]:
    words = ["check", f"{scheme}://127.0.0.1:{port}/some/prefix", "--json", *options]
    done = run(*words, timeout=100)
    assert not done.stderr, done.stderr
    found = json.loads(done.stdout)["properties"]
    assert isinstance(found, list)
    return found


def wrong(found: list[dict[str, typing.Any]]) -> dict[str, tuple[str, str]]:
    return {
        each["name"]: (each["verdict"], each["seen"]) for each in found if each["verdict"] != "ok"
    }


def test_each_fault_has_a_row() -> None:
    assert {*FOUND, *FOUND_OF_WEBSOCKET, "idle", "ws-idle"} == set(FAULTS)


def test_a_direct_path_and_a_correct_middle_hold(far: int) -> None:
    assert wrong(checked(far, "--quick")) == {}
    with ReverseProxy(far) as middle:
        found = checked(middle.port, "--quick")
    assert wrong(found) == {}
    assert {each["name"]: each["seen"] for each in found}["request"] == "between"


@pytest.mark.parametrize("address", ["https://127.0.0.1:0", "http+unix:{}/socket"])
def test_over_tls_and_over_a_unix_socket(address: str, tmp_path: Path) -> None:
    secure = ["--self-signed"] if "https" in address else []
    with Serving("-q", *secure, address=address.format(tmp_path)) as serving:
        where = f"https://127.0.0.1:{serving.port}" if secure else address.format(tmp_path)
        near = ["--insecure"] if secure else []
        done = run("check", where, "--quick", "--json", *near, timeout=100)
    assert wrong(json.loads(done.stdout)["properties"]) == {}


@pytest.mark.parametrize("fault", FOUND)
def test_a_fault_is_named(far: int, fault: str) -> None:
    name, verdict, seen = FOUND[fault]
    with ReverseProxy(far, fault) as middle:
        found = checked(middle.port, "--quick", "--only", name)
    assert wrong(found) == {name: (verdict, seen)}
    if verdict == "FAIL" and seen != "stuck":
        (row,) = [each for each in found if each["name"] == name]
        assert row["causes"]


@pytest.mark.long
@pytest.mark.parametrize("fault", FOUND)
def test_nothing_else_is_named(far: int, fault: str) -> None:
    name, verdict, seen = FOUND[fault]
    with ReverseProxy(far, fault) as middle:
        rest = wrong(checked(middle.port, "--quick"))
    assert rest.pop(name) == (verdict, seen)
    assert set(rest) <= ALSO.get(fault, set()), rest


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.9"])
def test_the_address_that_is_learnt_is_compared_with_ours(far: int, address: str) -> None:
    with ReverseProxy(far) as middle:
        middle.announced = address
        (row,) = checked(middle.port, "--only", "address")
    assert row["seen"] == ("ok" if address == "127.0.0.1" else "another")


@pytest.mark.parametrize("fault", ["", *FOUND_OF_WEBSOCKET])
def test_a_fault_of_websocket_is_named(far: int, fault: str) -> None:
    with ReverseProxy(far, *filter(None, [fault])) as middle:
        found = checked(middle.port, "--quick", scheme="ws")
    rest = wrong(found)
    if not fault:
        assert rest == {}
        return
    name, verdict, seen = FOUND_OF_WEBSOCKET[fault]
    assert rest.pop(name) == (verdict, seen)
    assert {what for _, what in rest.values()} <= {"needs"}, rest


def test_what_keeps_a_websocket_open(far: int) -> None:
    with ReverseProxy(far, "ws-idle") as middle:
        (row,) = checked(middle.port, "--only", "ws-idle", "--idle", "4", scheme="ws")
    assert row["seen"] == "cut" and row["evidence"]["cut"] == "silence"
    assert row["evidence"]["kept"] == "client pings, messages, server pings"
    assert 1.9 <= row["evidence"]["after_s"] < 4
    (row,) = checked(far, "--only", "ws-idle", "--idle", "3", scheme="ws")
    assert row["seen"] == "ok"


def test_silence_is_measured(far: int) -> None:
    with ReverseProxy(far, "idle") as middle:
        (row,) = checked(middle.port, "--only", "idle", "--idle", "4")
    assert row["seen"] == "cut" and row["evidence"]["how"] == "504"
    assert 1.9 <= row["evidence"]["after_s"] < 4
    (row,) = checked(far, "--only", "idle", "--idle", "3")
    assert row["seen"] == "ok" and row["evidence"]["passed_s"] == 3


def test_a_path_that_cannot_be_judged_is_not_compared() -> None:
    def result(name: str, finding: Finding) -> Result:
        return Result(name, finding, 0.0, web=True)

    dead = [result("request", fail("error", status=502, server="-"))]
    dead += [result(name, unknown("needs", property="request")) for name in ("stream", "race")]
    good = [result("request", ok("direct", least_s=0.1))]
    (said,) = report.added(good, dead, "new", "old", "en")
    assert said == "not compared: most properties of old could not be judged"
