"""A ping as lines of text, and as JSON objects."""

from __future__ import annotations

from collections.abc import Iterator

from ..client.ping import Broken, Connected, Lost, Reply, Summary, Told
from ..client.results import summary as summed
from ..histogram import Histogram
from ..verify import Fault
from ..words import amount
from .text import around, duration

_QUANTILES = (0.5, 0.9, 0.99, 0.999)


def line(told: Told) -> str:
    """One thing that happened."""
    match told:
        case Connected(far_end, took, 0):
            return f"connected to {far_end} in {duration(took)}"
        case Connected(far_end, took, outage):
            return f"connected to {far_end} again in {duration(took)}, after an outage of {outage / 1e6:.1f} ms"
        case Reply(seq, size, far_end, took):
            return f"{amount(size, 'byte')} from {far_end}: seq={seq} time={duration(took)}"
        case Lost(seq, why):
            return f"lost: seq={seq}: {why}"
        case Broken(why):
            return f"the connection is lost: {why}"
    return "\n".join([f"FAULT {told}", *around(told)])


def closing(summary: Summary, address: str) -> Iterator[str]:
    """The statistics at the end."""
    yield f"--- {address} ping statistics ---"
    yield counts(summary)
    if summary.connections > 1:
        yield f"connected {summary.connections:,} times, {summary.outage / 1e6:.1f} ms without a connection"
    if summary.faults:
        yield f"{amount(summary.faults, 'fault')} in the bytes that came back"
    times = summary.round_trip
    if times.total:
        yield f"round trip min/avg/max/mdev = {_row((times.least, times.mean(), times.greatest, times.deviation()))}"
        yield f"round trip p50/p90/p99/p99.9 = {_row([times.quantile(q) for q in _QUANTILES])}"
    connect = f"connect {_connect(summary.connect)}"
    if summary.nearer:
        connect += ": much faster than the echo, so something nearer may have answered the handshake"
    yield connect


def counts(summary: Summary) -> str:
    """The interim summary, in one line."""
    share = 100 * summary.lost / summary.sent if summary.sent else 0.0
    found = f"{summary.sent:,} sent, {summary.returned:,} returned, {summary.lost:,} lost ({share:.3g} %)"
    under_way = summary.sent - summary.returned - summary.lost
    found += f"{f', {under_way:,} under way' * (under_way > 0)}, in {summary.seconds:.1f} s"
    if summary.round_trip.total:
        found += f", p50 {duration(summary.round_trip.quantile(0.5))}"
    return found


def _connect(times: Histogram) -> str:
    return duration(times.greatest) if times.total == 1 else f"p50 {duration(times.quantile(0.5))}, max {duration(times.greatest)}"


def _row(values: tuple[float, ...] | list[float]) -> str:
    """Several times in one unit, that of the least."""
    unit, size = ("us", 1e3) if min(values) < 1e6 else ("ms", 1e6) if min(values) < 1e9 else ("s", 1e9)
    return "/".join(f"{value / size:.1f}" for value in values) + f" {unit}"


def of(told: Told) -> dict[str, object]:
    """One thing that happened, as a JSON object."""
    match told:
        case Connected(far_end, took, outage):
            return {"type": "connected", "far_end": str(far_end), "connect_us": took / 1000, "outage_ms": outage / 1e6}
        case Reply(seq, size, far_end, took):
            return {"type": "reply", "seq": seq, "bytes": size, "far_end": str(far_end), "round_trip_us": took / 1000}
        case Lost(seq, why):
            return {"type": "lost", "seq": seq, "reason": why}
        case Broken(why):
            return {"type": "broken", "reason": why}
    return _of_fault(told)


def _of_fault(fault: Fault) -> dict[str, object]:
    place = {"kind": fault.kind, "connection": fault.connection, "offset": fault.offset, "length": fault.length}
    return {"type": "fault", **place, "detail": fault.detail, "sent": fault.sent.hex(), "returned": fault.returned.hex()}


def summary_of(summary: Summary) -> dict[str, object]:
    times = summary.round_trip
    return {
        "type": "summary",
        "sent": summary.sent,
        "returned": summary.returned,
        "lost": summary.lost,
        "faults": summary.faults,
        "seconds": round(summary.seconds, 6),
        "round_trip_us": {"min": times.least / 1000 if times.total else 0.0, **summed(times), "mdev": times.deviation() / 1000},
        "connect_us": summed(summary.connect),
        "connections": summary.connections,
        "outage_ms": summary.outage / 1e6,
        "nearer": summary.nearer,
        "histogram": times.encode(),
    }
