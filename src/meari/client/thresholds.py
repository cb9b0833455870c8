"""Limits that a result must not cross: "p99>2ms", "rate<10000", "faults>0"."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import UsageError
from .results import Result

_QUANTILES = {
    "p50": 0.5,
    "p90": 0.9,
    "p99": 0.99,
    "p99.9": 0.999,
    "p999": 0.999,
    "p99.99": 0.9999,
    "max": 1.0,
}
_COUNTS: dict[str, Callable[[Result], float]] = {
    "rate": lambda result: result.messages_per_second,
    "faults": lambda result: float(result.faults),
    "lost": lambda result: float(result.count.lost),
}
_UNITS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_OPERATORS = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}
_FORM = re.compile(
    r"\s*([a-z0-9.]+)\s*(>=|<=|>|<)\s*([0-9]+(?:\.[0-9]+)?(?:e[0-9]{1,3})?)\s*([a-zµ]*)\s*"
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """*metric* compared with *value*: nanoseconds of a time, or a number."""

    text: str
    metric: str
    comparison: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read one. Raises UsageError."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text!r} is no threshold: one is written like p99>2ms, rate<10000 or faults>0"
            )
        metric, comparison, number, unit = match.groups()
        if metric in _COUNTS:
            if unit:
                raise UsageError(f"{text!r}: {metric} is a number without a unit")
            return cls(text, metric, comparison, float(number))
        if metric not in _QUANTILES:
            raise UsageError(
                f"{text!r}: {metric!r} is not known; there are {', '.join((*_QUANTILES, *_COUNTS))}"
            )
        if unit not in _UNITS:
            raise UsageError(f"{text!r}: a time has a unit: us, ms or s")
        return cls(text, metric, comparison, float(number) * _UNITS[unit])

    def crossed(self, result: Result) -> str | None:
        """The message if *result* crosses it, else None."""
        if self.metric in _COUNTS:
            found = _COUNTS[self.metric](result)
            value = f"{found:,.0f}"
        else:
            found = result.headline.quantile(_QUANTILES[self.metric])
            value = f"{found / 1000:,.1f} us"
        return (
            f"{self.text}: {self.metric} is {value}"
            if _OPERATORS[self.comparison](found, self.value)
            else None
        )
