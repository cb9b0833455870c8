"""meari compare: ratios, their intervals, plain sentences."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path

import pytest

from meari import Server
from meari.client import compare
from meari.client.compare import Ratio, paired, unpaired

from . import servers
from .program import run
from .servers import far_end


def test_an_interval_holds_the_truth_95_times_in_100() -> None:
    source = random.Random(1)
    for ratio in (paired, unpaired):
        held = 0
        for _ in range(600):
            first = [math.exp(source.gauss(math.log(1.3), 0.1)) for _ in range(7)]
            second = [math.exp(source.gauss(0, 0.1)) for _ in range(7)]
            found = ratio("p99", first, second)
            assert found is not None
            held += found.low <= 1.3 <= found.high
        assert 0.92 < held / 600 < 0.975, ratio


def test_pairs_take_out_what_slowed_both() -> None:
    source = random.Random(2)
    weather = [source.uniform(1, 5) for _ in range(7)]
    first = [w * 1.2 * source.gauss(1, 0.01) for w in weather]
    second = [w * source.gauss(1, 0.01) for w in weather]
    together, apart = paired("p50", first, second), unpaired("p50", first, second)
    assert together is not None and apart is not None
    assert together.differs and not apart.differs
    assert together.ratio == pytest.approx(1.2, abs=0.02)


def test_students_t() -> None:
    assert compare.t(1) == pytest.approx(12.706) and compare.t(6) == pytest.approx(2.447)
    for freedom, true in ((31, 2.040), (60, 2.000), (120, 1.980), (1e9, 1.960)):
        assert compare.t(freedom) == pytest.approx(true, abs=0.004)
    assert paired("p50", [1, 2], [1, 2]) is None and unpaired("p50", [1, 2, 3], [1, 2]) is None
    same = unpaired("p50", [2.0] * 4, [1.0] * 4)
    assert same is not None and same.ratio == pytest.approx(2) and statistics.fmean((same.low, same.high)) == pytest.approx(2)


def test_sentences() -> None:
    assert Ratio("p99", 1.31, 1.22, 1.40).sentence("through", "direct") == "through is 1.31x slower at p99 (1.22 to 1.40)"
    assert Ratio("p99", 0.5, 0.4, 0.8).sentence("a", "b") == "a is 2.00x faster at p99 (1.25 to 2.50)"
    assert Ratio("rate", 0.5, 0.4, 0.8).sentence("a", "b") == "a is 2.00x slower in rate (1.25 to 2.50)"
    assert Ratio("p999", 1.1, 0.9, 1.3).sentence("a", "b") == "no difference can be told in p99.9: a is 1.10x b (0.90 to 1.30)"


@pytest.mark.long
def test_two_saved_results(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one.json"), str(tmp_path / "other.json")
    with Server("127.0.0.1:0") as server, far_end(servers.bytewise) as slow:
        for address, path in ((server.addresses[0], one), (slow, other)):
            assert run("load", str(address), "-t", "1.2", "--interval", "0.2", "-s", "300", "--save", path).returncode == 0
    done = run("compare", other, one)
    assert done.returncode == 0 and f"{other} is " in done.stdout.decode() and "x slower at p50 (" in done.stdout.decode()
    assert "no difference can be told in rate" in run("compare", one, one).stdout.decode()
    found = json.loads(run("compare", other, one, "--json").stdout)
    assert found["type"] == "comparison" and {row["metric"] for row in found["ratios"]} == {"rate", "p50", "p90", "p99", "p999"}


def test_two_addresses_in_turns() -> None:
    with Server("127.0.0.1:0") as server, far_end(servers.bytewise) as slow:
        done = run("compare", "--through", str(slow), "--direct", str(server.addresses[0]), "-t", "0.2", "--rounds", "4", "-s", "300")
    assert done.returncode == 0, done.stderr
    assert "through is " in done.stdout.decode() and "x slower at p50 (" in done.stdout.decode()


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    for content in ("", "{}", "[]", '{"type": "result"}', '{"type": "result", "version": 9}', "\x00"):
        broken.write_text(content)
        done = run("compare", str(broken), str(broken))
        assert done.returncode == 2 and b"broken.json" in done.stderr and b"fault of meari" not in done.stderr, content
    for words in ([], ["a"], ["a", "b", "c"], ["--through", "x:1"], ["a", "b", "--through", "x:1", "--direct", "y:1"]):
        assert run("compare", *words).returncode == 2
    assert run("compare", "--through", "127.0.0.1:1", "--direct", "127.0.0.1:1").returncode == 2
