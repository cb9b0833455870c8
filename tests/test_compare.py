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


def test_an_interval_holds_the_truth_99_times_in_100() -> None:
    source = random.Random(1)
    for ratio in (paired, unpaired):
        held = 0
        for _ in range(600):
            first = [math.exp(source.gauss(math.log(1.3), 0.1)) for _ in range(9)]
            second = [math.exp(source.gauss(0, 0.1)) for _ in range(9)]
            found = ratio("p99", first, second)
            assert found is not None
            held += found.low <= 1.3 <= found.high
        assert held / 600 > 0.98, ratio


def test_pairs_take_out_what_slowed_both() -> None:
    source = random.Random(2)
    weather = [source.uniform(1, 5) for _ in range(9)]
    first = [w * 1.2 * source.gauss(1, 0.01) for w in weather]
    second = [w * source.gauss(1, 0.01) for w in weather]
    together, apart = paired("p50", first, second), unpaired("p50", first, second)
    assert together is not None and apart is not None
    assert together.differs and not apart.differs
    assert together.ratio == pytest.approx(1.2, abs=0.02)


def test_students_t() -> None:
    assert compare.t(1) == pytest.approx(63.657) and compare.t(6) == pytest.approx(3.707)
    for freedom, true in ((31, 2.744), (60, 2.660), (120, 2.617), (1e9, 2.576)):
        assert compare.t(freedom) == pytest.approx(true, abs=0.01)
    assert paired("p50", [1, 2], [1, 2]) is None and unpaired("p50", [1, 2, 3], [1, 2]) is None
    same = unpaired("p50", [2.0] * 5, [1.0] * 5)
    assert (
        same is not None
        and same.ratio == pytest.approx(2)
        and statistics.fmean((same.low, same.high)) == pytest.approx(2)
    )


def test_ranks() -> None:
    assert compare._sign_test(9, 0) == pytest.approx(2 / 512) and compare._sign_test(5, 4) == 1
    assert compare._rank_sum_test([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert compare._rank_sum_test([1, 3, 5], [2, 4, 6]) == pytest.approx(0.7)  # as in the tables
    assert compare._rank_sum_test([1] * 5, [1] * 5) == 1
    one_far_out = paired("p99", [1.2] * 8 + [0.1], [1.0] * 9)
    assert one_far_out is not None and not one_far_out.differs


def test_sentences() -> None:
    assert (
        Ratio("p99", 1.31, 1.22, 1.40).sentence("through", "direct")
        == "through is 1.31x slower at p99 (1.22 to 1.40)"
    )
    assert (
        Ratio("p99", 0.5, 0.4, 0.8).sentence("a", "b") == "a is 2.00x faster at p99 (1.25 to 2.50)"
    )
    assert (
        Ratio("rate", 0.5, 0.4, 0.8).sentence("a", "b")
        == "a is 2.00x slower in rate (1.25 to 2.50)"
    )
    assert (
        Ratio("p999", 1.1, 0.9, 1.3).sentence("a", "b")
        == "no difference can be told in p99.9: a is 1.10x b (0.90 to 1.30)"
    )


@pytest.mark.long
def test_two_saved_results(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one.json"), str(tmp_path / "other.json")
    # A second: p90 needs a hundred messages in a round, also beside other work.
    with Server("127.0.0.1:0") as server, far_end(servers.bytewise) as slow:
        for address, path in ((server.addresses[0], one), (slow, other)):
            assert (
                run(
                    "load", str(address), "-t", "1", "--rounds", "5", "-s", "300", "--save", path
                ).returncode
                == 0
            )
    done = run("compare", other, one)
    assert (
        done.returncode == 0
        and f"{other} is " in done.stdout.decode()
        and "x slower at p50 (" in done.stdout.decode()
    )
    assert "no difference can be told in rate" in run("compare", one, one).stdout.decode()
    found = json.loads(run("compare", other, one, "--json").stdout)
    assert found["type"] == "comparison" and {row["metric"] for row in found["ratios"]} >= {
        "rate",
        "p50",
        "p90",
    }


def test_single_runs_show_no_difference(tmp_path: Path) -> None:
    """What varies between two runs of the same does not show inside one."""
    one, other = str(tmp_path / "one.json"), str(tmp_path / "other.json")
    with Server("127.0.0.1:0") as server, far_end(servers.bytewise) as slow:
        for address, path in ((server.addresses[0], one), (slow, other)):
            assert (
                run(
                    "load",
                    str(address),
                    "-t",
                    "0.5",
                    "--interval",
                    "0.1",
                    "-s",
                    "300",
                    "--save",
                    path,
                ).returncode
                == 0
            )
    done = run("compare", other, one)
    assert done.returncode == 0
    assert f"{other} is " in done.stdout.decode() and "one run of each" in done.stdout.decode()
    assert b"no difference can be concluded" in done.stderr and b"--rounds" in done.stderr
    assert not any(
        row["differs"] for row in json.loads(run("compare", other, one, "--json").stdout)["ratios"]
    )


@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_of_200_comparisons_of_the_same_at_most_one_in_twenty_reports_a_difference(
    spread: float,
) -> None:
    """Rounds as they are on a busy machine: a drift that pairs share, some rounds far out, five
    metrics that move together.
    """
    source = random.Random(7)
    assert sum(_drifting(source, spread, 1.0) for _ in range(200)) <= 10
    if spread < 0.05:
        assert sum(_drifting(source, spread, 1.1, outliers=False) for _ in range(50)) >= 45


def _drifting(
    source: random.Random, spread: float, slower: float, *, outliers: bool = True
) -> bool:
    """Whether a comparison of nine pairs reports a difference, where the second is *slower* times
    the first.
    """
    drift, pairs = 0.0, []
    for i in range(9):
        pair = []
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            drift += source.gauss(0, spread / 3)
            own = source.gauss(0, spread) + (
                source.expovariate(2) if outliers and source.random() < 0.1 else 0
            )
            factor = slower if which else 1.0
            pair.append(
                (
                    which,
                    [
                        factor * math.exp(drift + own + source.gauss(0, spread / 2))
                        for _ in compare.METRICS
                    ],
                )
            )
        pairs.append([values for _, values in sorted(pair, key=lambda one: one[0])])
    found = [
        compare.paired(m, [p[0][k] for p in pairs], [p[1][k] for p in pairs])
        for k, m in enumerate(compare.METRICS)
    ]
    return any(ratio is not None and ratio.differs for ratio in found)


@pytest.mark.long
def test_two_addresses_in_turns() -> None:
    """One waits 50 ms before each answer: on a busy machine too it is the slower of each pair."""
    with Server("127.0.0.1:0") as server, far_end(servers.tardy) as slow:
        done = run(
            "compare",
            "--through",
            str(slow),
            "--direct",
            str(server.addresses[0]),
            "-t",
            "0.5",
            "--rounds",
            "8",
            "-c",
            "8",
        )
    assert done.returncode == 0, done.stderr
    assert "through is " in done.stdout.decode() and "x slower at p50 (" in done.stdout.decode()


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    for content in (
        "",
        "{}",
        "[]",
        '{"type": "result"}',
        '{"type": "result", "version": 9}',
        "\x00",
    ):
        broken.write_text(content)
        done = run("compare", str(broken), str(broken))
        assert (
            done.returncode == 2
            and b"broken.json" in done.stderr
            and b"fault of meari" not in done.stderr
        ), content
    for words in (
        [],
        ["a"],
        ["a", "b", "c"],
        ["--through", "x:1"],
        ["a", "b", "--through", "x:1", "--direct", "y:1"],
    ):
        assert run("compare", *words).returncode == 2
    assert run("compare", "--through", "127.0.0.1:1", "--direct", "127.0.0.1:1").returncode == 2
