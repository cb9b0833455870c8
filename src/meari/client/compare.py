"""Whether two loads differ: ratios, each with a 95 % interval from the rounds that it was measured in.

A ratio is of geometric means, so that the logarithms are averaged and the interval is Student's t on them. Rounds that
were run in turns are compared pair by pair (whatever slowed the machine slowed both); the intervals of two saved results
are not pairs, and are compared as two samples (Welch's test).
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
# Student's t, two-sided, 95 %: for 1 to 30 degrees of freedom, then near enough the normal's.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
LEAST = 3  # rounds, below which nothing can be told
_TOLD = 0.005  # a difference of less would be told as 1.00x
_WHOLE = 0.5  # of the longest interval: a shorter one, at the end of a run, is left out


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the first is the second in *metric*: between *low* and *high* with 95 % confidence."""

    metric: str
    ratio: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        return not self.low <= 1.0 <= self.high and abs(self.ratio - 1) >= _TOLD

    def sentence(self, first: str, second: str) -> str:
        """Plainly: who is slower or faster, or that it cannot be told."""
        name = {"rate": "rate", "p999": "p99.9"}.get(self.metric, self.metric)
        if not self.differs:
            return f"no difference can be told in {name}: {first} is {self.ratio:.2f}x {second} ({self.low:.2f} to {self.high:.2f})"
        worse = self.ratio < 1 if self.metric == "rate" else self.ratio > 1
        ratio, low, high = (self.ratio, self.low, self.high) if self.ratio >= 1 else (1 / self.ratio, 1 / self.high, 1 / self.low)
        where = "in rate" if self.metric == "rate" else f"at {name}"
        return f"{first} is {ratio:.2f}x {'slower' if worse else 'faster'} {where} ({low:.2f} to {high:.2f})"


def t(freedom: float) -> float:
    """The two-sided 95 % quantile of Student's t distribution."""
    if freedom < 1:
        return _T[0]
    return _T[min(int(freedom), len(_T)) - 1] if freedom < 31 else 1.96 + 2.4 / freedom


def values(counts: Sequence[tuple[Count, float]], metric: str, paced: bool) -> list[float]:
    """One figure for each stretch of (what was counted, seconds): messages a second, or nanoseconds."""
    if metric == "rate":
        return [max(count.messages, 0.5) / seconds for count, seconds in counts]  # none at all is less than one
    name = "from_due" if paced else "round_trip"
    return [count.times[name].quantile(_QUANTILES[metric]) for count, _ in counts if count.times[name].total]


def paired(metric: str, first: Sequence[float], second: Sequence[float]) -> Ratio | None:
    """Of rounds run in turns; None if there are too few."""
    logs = [math.log(a / b) for a, b in zip(first, second, strict=False) if a > 0 and b > 0]
    if len(logs) < LEAST:
        return None
    return _ratio(metric, statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs)), len(logs) - 1)


def unpaired(metric: str, first: Sequence[float], second: Sequence[float]) -> Ratio | None:
    """Of two samples that were not taken together; None if there are too few."""
    one, other = ([math.log(value) for value in sample if value > 0] for sample in (first, second))
    if min(len(one), len(other)) < LEAST:
        return None
    variances = [statistics.variance(sample) / len(sample) for sample in (one, other)]
    error = math.sqrt(sum(variances))
    parts = sum(v * v / (len(sample) - 1) for v, sample in zip(variances, (one, other), strict=True))
    return _ratio(metric, statistics.fmean(one) - statistics.fmean(other), error, sum(variances) ** 2 / parts if parts else 1e9)


def _ratio(metric: str, mean: float, error: float, freedom: float) -> Ratio:
    reach = t(freedom) * error
    return Ratio(metric, math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))


def saved(first: Result, second: Result) -> list[Ratio]:
    """Two saved results, by the intervals that each was told in."""
    samples = []
    for result in (first, second):
        longest = max((p.seconds for p in result.points), default=0.0)
        samples.append([(p.count, p.seconds) for p in result.points if p.seconds >= _WHOLE * longest])
    both = first.plan.rate is not None and second.plan.rate is not None
    found = (unpaired(m, values(samples[0], m, both), values(samples[1], m, both)) for m in METRICS)
    return [ratio for ratio in found if ratio is not None]


def rounds(first: Sequence[Result], second: Sequence[Result]) -> list[Ratio]:
    """Rounds of two far ends that were loaded in turns."""
    paced = bool(first) and first[0].plan.rate is not None
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a.count.messages and b.count.messages]
    ours, theirs = ([(pair[i].count, pair[i].seconds) for pair in pairs] for i in (0, 1))
    found = (paired(m, values(ours, m, paced), values(theirs, m, paced)) for m in METRICS)
    return [ratio for ratio in found if ratio is not None]
