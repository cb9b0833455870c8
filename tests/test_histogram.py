"""Counted as HdrHistogram counts: the same buckets, the same values, the same encodings."""

from __future__ import annotations

import math
import random
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meari.histogram import HIGHEST, Histogram, highest, index, lowest

hdrh = pytest.importorskip("hdrh.histogram", reason="pip install hdrhistogram")

values = st.lists(st.integers(0, HIGHEST) | st.integers(0, 5000), max_size=200)


def theirs(values: list[int]) -> typing.Any:
    found = hdrh.HdrHistogram(1, HIGHEST, 3)
    for value in values:
        assert found.record_value(value)
    return found


@given(
    st.lists(st.integers(0, HIGHEST) | st.integers(0, 5000), min_size=1, max_size=200),
    st.floats(0, 1),
)
def test_a_quantile_is_the_value_that_so_many_are_not_above(values: list[int], q: float) -> None:
    true = sorted(values)[max(0, math.ceil(q * len(values) - 1e-9) - 1)]
    assert true <= Histogram(values).quantile(q) <= true * 1.001 + 1


def test_quantiles_agree_with_theirs() -> None:
    source = random.Random(1)
    values = [int(source.lognormvariate(11, 2)) + 1 for _ in range(20_000)]
    ours, other = Histogram(values), theirs(values)
    for percent in (1, 10, 50, 90, 99, 99.9, 100):
        assert ours.quantile(percent / 100) == pytest.approx(
            other.get_value_at_percentile(percent), rel=0.001
        )


@given(values)
def test_three_digits_are_kept(values: list[int]) -> None:
    for value in values:
        bucket = index(value)
        assert lowest(bucket) <= value <= highest(bucket)
        assert highest(bucket) - lowest(bucket) <= value / 1000


@given(values, values)
def test_merging_is_exact(some: list[int], more: list[int]) -> None:
    both, one = Histogram(some + more), Histogram(some)
    one.merge(Histogram(more))
    assert (one.counts, one.total, one.least, one.greatest) == (
        both.counts,
        both.total,
        both.least,
        both.greatest,
    )


@given(values)
def test_the_encoding_is_theirs(values: list[int]) -> None:
    ours = Histogram(values)
    decoded = hdrh.HdrHistogram.decode(ours.encode())
    assert decoded.get_total_count() == len(values)
    if values:
        assert decoded.get_value_at_percentile(50) == theirs(values).get_value_at_percentile(50)
        back = Histogram.decode(theirs(values).encode().decode())
        assert back.counts == ours.counts and back.total == ours.total
    assert Histogram.decode(ours.encode()).counts == ours.counts


def test_the_text_is_theirs(tmp_path: Path) -> None:
    source = random.Random(1)
    values = [int(source.lognormvariate(11, 1)) for _ in range(20_000)]
    rows = Histogram(values).text().splitlines()
    with open(tmp_path / "theirs", "wb") as file:
        theirs(values).output_percentile_distribution(file, 1000.0)
    expected = (tmp_path / "theirs").read_text().splitlines()
    assert rows[0].split() == expected[0].split()
    other = theirs(values)
    for row in rows[2:-4]:
        value, quantile, count = (float(word) for word in row.split()[:3])
        assert sum(v <= value * 1000 + 0.5 for v in values) == count
        assert count / len(values) >= quantile - 1e-9
    assert float(rows[-2].split()[2].rstrip(",")) * 1000 == max(values)
    assert float(rows[-3].split()[2].rstrip(",")) * 1000 == pytest.approx(
        other.get_mean_value(), rel=1e-3
    )
    assert float(rows[-3].split()[5].rstrip("]")) * 1000 == pytest.approx(
        other.get_stddev(), rel=1e-2
    )


def test_memory_does_not_grow_with_the_run() -> None:
    histogram = Histogram()
    source = random.Random(1)
    for _ in range(100):
        histogram.add(source.randrange(10_000, 10_000_000) for _ in range(10_000))
    assert len(histogram.counts) <= index(10_000_000) - index(10_000) + 1


def test_what_is_out_of_range_is_counted_at_its_end() -> None:
    histogram = Histogram([-5, HIGHEST * 3])
    assert (histogram.least, histogram.greatest, histogram.total) == (0, HIGHEST, 2)
    assert Histogram().quantile(0.5) == 0 and Histogram().curve() == []


@pytest.mark.parametrize(
    "text", ["", "x", "AAAA", "HISTFAAAABV4nGNgYGBg", Histogram([1]).encode()[:-6]]
)
def test_what_is_no_histogram_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a histogram"):
        Histogram.decode(text)
