"""Ten gigabytes of honest echo, and not one fault."""

from __future__ import annotations

import json

import pytest

from .program import Serving, run

GB = 10**9


@pytest.mark.long
@pytest.mark.parametrize(
    ("gigabytes", "words"),
    [
        (7, ["-c", "8", "-s", "64K"]),
        (2, ["-c", "16", "-s", "1-65536", "--depth", "4"]),
        (1, ["-c", "64", "-s", "1-4096", "--processes", "2"]),
    ],
    ids=["bulk", "ranges", "small"],
)
def test_ten_gigabytes_come_back(gigabytes: int, words: list[str]) -> None:
    sizes = words[words.index("-s") + 1]
    mean = 65536 if sizes == "64K" else (int(sizes.split("-")[1]) + 1) / 2
    with Serving("-q") as server:
        done = run(
            "load",
            str(server.address),
            *words,
            "-n",
            str(int(gigabytes * GB / mean * 1.01)),
            "--json",
            timeout=600,
        )
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["faults"] == [] and found["damaged_messages"] == 0
    assert found["bytes"] >= gigabytes * GB
