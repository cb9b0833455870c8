"""Whether two loads differ: ratios, each with an interval from the rounds that measured it.

A round is a run. What varies between two runs of the same thing (placement by the scheduler, cache
layout, other work on the machine) does not show within either, so an interval from within one run
is too narrow for any comparison. The method:

- Rounds alternate, A B, B A, A B, and are compared in pairs: a slow phase of the machine affects
  both.
- The ratio is of geometric means; the interval is Student's t on the logarithms of the pairs'
  ratios. Two saved series of rounds are not pairs, and are compared as two samples (Welch's test).
- Times on a shared machine are not normally distributed: a disturbed round is an outlier. So a
  difference is reported only if rank tests confirm it, which assume no distribution: the sign test
  of the pairs, or the rank-sum test of Wilcoxon, Mann and Whitney of two series; both exact (the
  latter up to 50 rounds of each).
- Five metrics are compared at once. Each has to pass at 1 %, so that of identical far ends at most
  one comparison in twenty reports any difference (Bonferroni's correction). That takes at least 8
  pairs, or two series of 5. A quantile with fewer than ten messages beyond it in a round is left
  out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .results import Result
from .tally import Count

METRICS = ("rate", "p50", "p90", "p99", "p999")
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
# Student's t, two-sided, 99 %, for 1 to 30 degrees of freedom; beyond them the normal
# distribution's is near enough. 99 % = 1 - 5 % / 5 metrics.
_T = (
    63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169,
    3.106, 3.055, 3.012, 2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845,
    2.831, 2.819, 2.807, 2.797, 2.787, 2.779, 2.771, 2.763, 2.756, 2.750,
)  # fmt: skip
LEAST = 8  # pairs of rounds, below which the sign test cannot reach 1 %
SERIES = 5  # rounds of each of two series, below which the rank-sum test cannot
_LEVEL = 0.01  # of a test of one metric
# Up to this number of pairs of two rounds (50 rounds of each series) the orders are counted;
# beyond, their distribution is near the normal.
_EXACT = 2500
_BEYOND = 10  # messages beyond a quantile that is compared
_VISIBLE = 0.005  # a smaller difference would be printed as 1.00x


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of the first to the second in *metric*, with its 99 % interval from *low* to
    *high*.

    *between*: the interval covers the variance between runs; if not, no difference can be concluded
    from it. *ranked*: the ranks of the rounds differ too.
    """

    metric: str
    ratio: float
    low: float
    high: float
    between: bool = True
    ranked: bool = True

    @property
    def differs(self) -> bool:
        return (
            self.between
            and self.ranked
            and not self.low <= 1.0 <= self.high
            and abs(self.ratio - 1) >= _VISIBLE
        )

    def sentence(self, first: str, second: str) -> str:
        """The conclusion in words: slower, faster, or no difference found."""
        name = {"rate": "rate", "p999": "p99.9"}.get(self.metric, self.metric)
        if not self.between:
            return f"{first} is {self.ratio:.2f}x {second} in {name}, one run of each"
        if not self.differs:
            found = f"{self.ratio:.2f}x {second} ({self.low:.2f} to {self.high:.2f})"
            return f"no difference can be told in {name}: {first} is {found}"
        worse = self.ratio < 1 if self.metric == "rate" else self.ratio > 1
        ratio, low, high = (
            (self.ratio, self.low, self.high)
            if self.ratio >= 1
            else (1 / self.ratio, 1 / self.high, 1 / self.low)
        )
        where = "in rate" if self.metric == "rate" else f"at {name}"
        how = "slower" if worse else "faster"
        return f"{first} is {ratio:.2f}x {how} {where} ({low:.2f} to {high:.2f})"


def t(freedom: float) -> float:
    """The two-sided 99 % quantile of Student's t distribution."""
    if freedom < 1:
        return _T[0]
    return _T[min(int(freedom), len(_T)) - 1] if freedom < 31 else 2.576 + 4.9 / freedom


def values(counts: Sequence[tuple[Count, float]], metric: str, paced: bool) -> list[float]:
    """One figure for each pair (count, seconds): messages a second, or nanoseconds."""
    if metric == "rate":
        # None at all is less than one.
        return [max(count.messages, 0.5) / seconds for count, seconds in counts]
    name = "from_due" if paced else "round_trip"
    q = _QUANTILES[metric]
    if any(count.times[name].total * (1 - q) < _BEYOND for count, _ in counts):
        return []
    return [count.times[name].quantile(q) for count, _ in counts]


def paired(metric: str, first: Sequence[float], second: Sequence[float]) -> Ratio | None:
    """The ratio of alternating rounds; None if there are too few."""
    logs = [math.log(a / b) for a, b in zip(first, second, strict=False) if a > 0 and b > 0]
    if len(logs) < LEAST:
        return None
    ranked = _sign_test(sum(log > 0 for log in logs), sum(log < 0 for log in logs)) <= _LEVEL
    return _ratio(
        metric,
        statistics.fmean(logs),
        statistics.stdev(logs) / math.sqrt(len(logs)),
        len(logs) - 1,
        ranked,
    )


def unpaired(metric: str, first: Sequence[float], second: Sequence[float]) -> Ratio | None:
    """The ratio of two series that were not run in turns; None if there are too few rounds."""
    one, other = ([math.log(value) for value in sample if value > 0] for sample in (first, second))
    if min(len(one), len(other)) < SERIES:
        return None
    variances = [statistics.variance(sample) / len(sample) for sample in (one, other)]
    error = math.sqrt(sum(variances))
    parts = sum(
        v * v / (len(sample) - 1) for v, sample in zip(variances, (one, other), strict=True)
    )
    freedom = sum(variances) ** 2 / parts if parts else 1e9
    mean = statistics.fmean(one) - statistics.fmean(other)
    return _ratio(metric, mean, error, freedom, _rank_sum_test(one, other) <= _LEVEL)


def _sign_test(more: int, less: int) -> float:
    """The two-sided probability of signs at least as uneven as these if both signs are equally
    likely.
    """
    n = more + less
    return min(1.0, sum(math.comb(n, k) for k in range(min(more, less) + 1)) / (1 << (n - 1)))


def _rank_sum_test(one: Sequence[float], other: Sequence[float]) -> float:
    """The two-sided probability of ranks at least as far apart as these if all orders are equally
    likely (Mann, Whitney).

    u counts the pairs in which the first is less, a tie as half of one; ways[u] is the number of
    orders with that count.
    """
    n, m = len(one), len(other)
    u = sum(1.0 if a < b else 0.5 if a == b else 0.0 for a in one for b in other)
    if n * m > _EXACT:
        return math.erfc(max(0.0, abs(u - n * m / 2) - 0.5) / math.sqrt(n * m * (n + m + 1) / 6))
    row = [[1] for _ in range(m + 1)]  # for none of the first series, and each number of the other
    for _ in range(n):
        ways = [[1]]
        # The greatest value is of the first series, above j of the other; or it is of the other.
        for j in range(1, m + 1):
            below, beside = row[j], ways[j - 1]
            whole = [0] * j + below
            for k, count in enumerate(beside):
                whole[k] += count
            ways.append(whole)
        row = ways
    tail = sum(row[m][: math.floor(min(u, n * m - u)) + 1])
    return min(1.0, 2 * tail / math.comb(n + m, n))


def _ratio(metric: str, mean: float, error: float, freedom: float, ranked: bool) -> Ratio:
    reach = t(freedom) * error
    return Ratio(
        metric, math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), ranked=ranked
    )


def saved(first: Sequence[Result], second: Sequence[Result]) -> list[Ratio]:
    """Two saved series of rounds; or two single runs, of which only the ratio is known."""
    paced = all(result.plan.rate is not None for result in (*first, *second))
    samples = [
        [(result.count, result.seconds) for result in series if result.count.messages]
        for series in (first, second)
    ]
    ours, theirs = samples
    if min(len(ours), len(theirs)) >= SERIES:
        found = (unpaired(m, values(ours, m, paced), values(theirs, m, paced)) for m in METRICS)
        return [ratio for ratio in found if ratio is not None]
    pairs = [(m, values(ours, m, paced), values(theirs, m, paced)) for m in METRICS]
    means = [
        (m, statistics.geometric_mean(a), statistics.geometric_mean(b))
        for m, a, b in pairs
        if a and b and min(*a, *b) > 0
    ]
    return [Ratio(m, a / b, a / b, a / b, between=False) for m, a, b in means]


def rounds(first: Sequence[Result], second: Sequence[Result]) -> list[Ratio]:
    """The rounds of two far ends that were loaded in turns."""
    paced = bool(first) and first[0].plan.rate is not None
    pairs = [
        (a, b) for a, b in zip(first, second, strict=True) if a.count.messages and b.count.messages
    ]
    ours, theirs = ([(pair[i].count, pair[i].seconds) for pair in pairs] for i in (0, 1))
    found = (paired(m, values(ours, m, paced), values(theirs, m, paced)) for m in METRICS)
    return [ratio for ratio in found if ratio is not None]
