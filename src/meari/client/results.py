"""The result of a load: summed over its processes, written as JSON, and read back."""

from __future__ import annotations

import json
import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from ..errors import UsageError
from ..histogram import Histogram
from ..stream.verify import Fault
from .plan import Plan
from .tally import NETWORK, TIMES, Count

VERSION = 1
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
# The number of points kept: in a longer run each covers more time, so that a result does not grow.
_POINTS = 240
_BUSY = 0.9  # of a core's processor time: from here on the near end is considered the limit
_WORKING = 0.5  # of a core: from here on late sends are attributed to the near end
_LAG_US = 1000.0  # by which one message in a hundred may be sent late
_KEPT = 0.99  # of the due messages, at least, if the rate was kept


@dataclass(slots=True)
class Point:
    """A part of the run: it begins *at* seconds after the run's begin, and is *seconds* long."""

    at: float
    seconds: float
    count: Count

    def add(self, other: Point) -> None:
        self.seconds = max(self.seconds, other.at + other.seconds - self.at)
        self.count.add(other.count)


@dataclass(slots=True)
class Result:
    """A run of a load: its parameters and all its counts."""

    plan: Plan
    run: int
    started: str  # ISO 8601
    far_end: str  # the address that accepted
    seconds: float = 0.0
    count: Count = field(default_factory=Count)
    points: list[Point] = field(default_factory=list)
    _joined: int = 1  # intervals in a point
    _in_last: int = 0  # in the last point

    def add(self, count: Count) -> Point:
        """Add an interval; the point that it alone would be."""
        seconds = count.until - self.seconds
        whole, part = Point(self.seconds, seconds, count), Point(self.seconds, seconds, Count())
        part.count.add(count)
        # A process had reported the latter late.
        if self.points and (self._in_last < self._joined or seconds <= 0):
            self.points[-1].add(part)
            self._in_last += 1
        else:
            self.points.append(part)
            self._in_last = 1
        if len(self.points) > _POINTS:
            for one, other in zip(self.points[::2], self.points[1::2], strict=False):
                one.add(other)
            del self.points[1::2]
            self._joined *= 2
        self.seconds = max(self.seconds, count.until)
        self.count.add(count)
        return whole

    def finish(self, count: Count) -> None:
        """Add the counts after the end, while the last answers were outstanding: to the sum, to no
        point.
        """
        self.count.add(count)

    # Derived figures

    @property
    def messages_per_second(self) -> float:
        """Messages a second, of those returned during the measurement."""
        return (self.count.messages - self.count.after) / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        """Bytes a second in one direction, of messages returned during the measurement; of GET
        requests, those of the responses' content.
        """
        if self.plan.content is not None:
            return self.messages_per_second * self.plan.content
        return (
            sum(point.count.bytes for point in self.points) / self.seconds if self.seconds else 0.0
        )

    @property
    def faults(self) -> int:
        return self.count.kinds.total()

    @property
    def headline(self) -> Histogram:
        """The times reported first: from the due time if there was a schedule."""
        return self.count.times["round_trip" if self.plan.rate is None else "from_due"]

    @property
    def busy(self) -> float:
        """The fraction of time that the near end's processes were working, 0 to 1 each."""
        return (
            min(1.0, self.count.busy / self.seconds / self.plan.processes) if self.seconds else 0.0
        )

    @property
    def kept_its_rate(self) -> bool | None:
        """True if all due messages of an open loop were sent and all but those outstanding at the
        end had been returned.
        """
        if self.plan.rate is None:
            return None
        count = self.count
        # Little's law, with the time of quick messages.
        on_its_way = 2 * self.plan.rate * count.times["from_due"].quantile(0.1) / 1e9
        return (
            not count.shed
            and count.after + count.unfinished <= (1 - _KEPT) * count.due + on_its_way
        )

    @property
    def complete(self) -> bool:
        """True if every sent message was returned and every connection could be made."""
        return (
            not self.count.missing
            and not self.count.unconnected
            and not self.count.unfinished
            and not self.count.damaged
        )

    @property
    def sent_late(self) -> bool:
        """True if messages of an open loop were sent so late that it shows in the latency."""
        if self.plan.rate is None:
            return False
        lag, waited = (self.count.times[name].quantile(0.99) / 1000 for name in ("lag", "from_due"))
        return lag > _LAG_US and lag > waited / 10

    @property
    def near_end_was_the_limit(self) -> bool:
        """True if the near end was the limit: its processor was busy, or this machine had no free
        port.
        """
        if self.count.no_port:
            return True
        if self.plan.rate is None:
            return self.busy > _BUSY
        return (self.sent_late and self.busy > _WORKING) or (
            self.busy > _BUSY and not self.kept_its_rate
        )

    def to_json(self) -> dict[str, object]:
        count = self.count
        found: dict[str, object] = {
            "type": "result",
            "version": VERSION,
            "far_end": self.far_end,
            "started": self.started,
            "run": f"{self.run:08x}",
            "plan": asdict(self.plan),
            "messages": count.messages,
            "bytes": count.bytes,
            "seconds": round(self.seconds, 6),
            "messages_per_second": round(self.messages_per_second, 3),
            "bytes_per_second": round(self.bytes_per_second, 3),
            **times(count),
            "faults": [_of_fault(fault) for fault in count.faults],
            "fault_counts": dict(count.kinds),
            "damaged_messages": count.damaged,
            "missing_messages": count.missing,
            "late_messages": count.after,
            "unfinished_messages": count.unfinished,
            "due_messages": count.due,
            "connections": {
                "opened": count.opened,
                "lost": count.lost,
                "unserved": count.unserved,
                "failed": count.unconnected,
            },
            "network": {name: getattr(count, name) for name in NETWORK}
            if self.over_a_network
            else {},
            "near_end": {
                "busy": round(self.busy, 4),
                "was_the_limit": self.near_end_was_the_limit,
                "lag_us": summary(count.times["lag"]) if self.plan.rate is not None else None,
                "kept_its_rate": self.kept_its_rate,
                "not_sent": count.shed,
                "sent_late": self.sent_late,
                "no_port": count.no_port,
                "paused_s": round(count.paused, 3),
            },
            "histograms": _encoded(count),
            "over_time": [
                interval(point) | {"histograms": _encoded(point.count)} for point in self.points
            ],
        }
        return found

    @property
    def over_a_network(self) -> bool:
        """True if the kernel has counted segments: not on a Unix socket."""
        return not self.far_end.startswith(("unix:", "http+unix:"))

    @classmethod
    def from_json(cls, found: dict[str, typing.Any]) -> Result:
        """Read the document of to_json(). Raises UsageError if it is none."""
        try:
            if found["type"] != "result" or found["version"] != VERSION:
                raise UsageError(
                    f"a result of another kind: {found['type']}, version {found['version']}"
                )
            result = cls(
                Plan(**found["plan"]),
                int(found["run"], 16),
                found["started"],
                found["far_end"],
                found["seconds"],
            )
            result.count = _counted(found)
            result.count.busy = found["near_end"]["busy"] * result.seconds * result.plan.processes
            result.count.shed = found["near_end"]["not_sent"]
            result.count.opened, result.count.lost = (
                found["connections"]["opened"],
                found["connections"]["lost"],
            )
            result.count.missing = found["missing_messages"]
            result.count.unserved = found["connections"].get("unserved", 0)
            result.count.unconnected = found["connections"].get("failed", 0)
            result.count.no_port = found["near_end"].get("no_port", 0)
            result.count.paused = found["near_end"].get("paused_s", 0.0)
            for name in NETWORK:
                setattr(result.count, name, found.get("network", {}).get(name, 0))
            result.count.damaged, result.count.after = (
                found["damaged_messages"],
                found["late_messages"],
            )
            result.count.unfinished, result.count.due = (
                found["unfinished_messages"],
                found["due_messages"],
            )
            result.count.faults = [_to_fault(fault) for fault in found["faults"]]
            result.points = [Point(p["at"], p["seconds"], _counted(p)) for p in found["over_time"]]
            result.to_json()  # a document without this is none
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"not the result of a load ({error})") from None
        return result


def series(results: Sequence[Result]) -> dict[str, object]:
    """Rounds of one load, ready for JSON."""
    return {
        "type": "rounds",
        "version": VERSION,
        "rounds": [result.to_json() for result in results],
    }


def load_results(path: str) -> list[Result]:
    """The saved rounds, or the only run. Raises UsageError."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        hint = " (two addresses: --through A --direct B)" if ":" in path else ""
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}{hint}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: not the result of a load")
    runs = found.get("rounds") if found.get("type") == "rounds" else [found]
    if not isinstance(runs, list) or not runs or not all(isinstance(run, dict) for run in runs):
        raise UsageError(f"{path}: not the result of a load")
    try:
        return [Result.from_json(run) for run in runs]
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def summary(histogram: Histogram) -> dict[str, float | None]:
    """Microseconds at each quantile, the maximum, the mean; None if nothing was counted."""
    if not histogram.total:
        return dict.fromkeys((*_QUANTILES, "max", "mean"))
    found: dict[str, float | None] = {
        name: round(histogram.quantile(q) / 1000, 3) for name, q in _QUANTILES.items()
    }
    return found | {
        "max": round(histogram.greatest / 1000, 3),
        "mean": round(histogram.mean() / 1000, 3),
    }


def times(count: Count) -> dict[str, object]:
    """The summary of each kind of measured time: `round_trip_us` always."""
    names = [
        "round_trip",
        *(name for name in ("from_due", "first_byte") if count.times[name].total),
    ]
    if count.times["first_byte"].total:
        names.append("connect")
    return {f"{name}_us": summary(count.times[name]) for name in names}


def interval(point: Point) -> dict[str, object]:
    """A point of the run, ready for JSON."""
    count = point.count
    found: dict[str, object] = {
        "type": "interval",
        "at": round(point.at, 6),
        "seconds": round(point.seconds, 6),
    }
    found |= {"messages": count.messages, "bytes": count.bytes}
    found["messages_per_second"] = round(
        count.messages / point.seconds if point.seconds else 0.0, 3
    )
    return (
        found
        | times(count)
        | {"fault_counts": dict(count.kinds), "retransmitted": count.retransmitted}
    )


def _encoded(count: Count) -> dict[str, str]:
    return {name: count.times[name].encode() for name in TIMES if count.times[name].total}


def _counted(found: dict[str, typing.Any]) -> Count:
    count = Count(messages=found["messages"], bytes=found["bytes"])
    count.kinds.update(found["fault_counts"])
    for name, text in found["histograms"].items():
        count.times[name] = Histogram.decode(text)
    return count


def _of_fault(fault: Fault) -> dict[str, object]:
    found = {key: value for key, value in asdict(fault).items() if key not in ("origin", "shown")}
    return found | {
        "sent": fault.sent.hex(),
        "returned": fault.returned.hex(),
        "shown_from": fault.shown,
    }


def _to_fault(found: dict[str, typing.Any]) -> Fault:
    sent, returned = bytes.fromhex(found["sent"]), bytes.fromhex(found["returned"])
    return Fault(
        found["kind"],
        found["connection"],
        found["offset"],
        found["length"],
        found["detail"],
        None,
        found["shown_from"],
        sent,
        returned,
    )
