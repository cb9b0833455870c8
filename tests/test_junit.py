"""JUnit XML: its counts, odd characters, and what load writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from meari import Server
from meari.report.junit import Case, junit

from .program import run


@pytest.fixture
def port() -> Iterator[int]:
    with Server("127.0.0.1:0") as server:
        yield server.addresses[0].port


def test_junit_s_counts_and_odd_characters() -> None:
    cases = [
        Case("good", 0.5, note="fine"),
        Case("bad", 0.25, failure="it \x00 \x1b broke\nhere <&>"),
        Case("none", 0, skipped="\ufffe no"),
    ]
    root = ElementTree.fromstring(junit([("a & b", cases)]).split("\n", 1)[1])
    assert root.attrib == {
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
        "time": "0.750",
    }
    (suite,) = root
    assert suite.get("name") == "a & b"
    failure = suite[1].find("failure")
    assert failure is not None
    assert failure.get("message") == "it \\x00 \\x1b broke"


def test_load_writes_it_too(port: int, tmp_path: Path) -> None:
    file = tmp_path / "load.xml"
    done = run(
        "load",
        str(port),
        "-n",
        "100",
        "--junit",
        str(file),
        "--fail-if",
        "p50>60s",
        "--fail-if",
        "rate>0",
    )
    assert done.returncode == 3
    cases = {case.get("name"): case for case in ElementTree.parse(file).iter("testcase")}
    assert set(cases) == {"bytes", "p50>60s", "rate>0"}
    assert [name for name, case in cases.items() if case.find("failure") is not None] == ["rate>0"]
