"""A ping as lines of text, and as JSON objects."""

from __future__ import annotations

from collections.abc import Iterator

from ..client.ping_events import Broken, Connected, Lost, PingEvent, Reply, Summary
from ..client.results import summary as summed
from ..client.tally import NETWORK
from ..histogram import Histogram
from ..stream.verify import Fault
from ..units import amount
from ..wire.layer import Layer
from .text import around, duration, network

_QUANTILES = (0.5, 0.9, 0.99, 0.999)


def line(event: PingEvent) -> str:
    """One event as a line of text."""
    match event:
        case Connected(far_end, took, outage, handshake, layer):
            again = (
                f" again in {duration(took)}, after an outage of {outage / 1e6:.1f} ms"
                if outage
                else f" in {duration(took)}"
            )
            secure = "" if layer is None else f"; {_terms(layer)}"
            if layer is not None and _shakes(layer):
                secure = f"; handshake {duration(handshake)}, {_terms(layer)}"
            return f"connected to {far_end}{again}{secure}"
        case Reply(seq, size, far_end, took, intact):
            differs = "" if intact else " DIFFERS"
            return (
                f"{amount(size, 'byte')} from {far_end}: seq={seq} time={duration(took)}{differs}"
            )
        case Lost(seq, why):
            return f"lost: seq={seq}: {why}"
        case Broken(why):
            return f"the connection is gone: {why}"
    return "\n".join([f"FAULT {event}", *around(event)])


def closing(summary: Summary, address: str) -> Iterator[str]:
    """The statistics at the end."""
    yield f"--- {address} ping statistics ---"
    yield counts(summary)
    if summary.connections > 1:
        without = f"{summary.outage / 1e6:.1f} ms without a connection"
        yield f"connected {summary.connections:,} times, {without}"
    if summary.retransmitted or summary.out_of_order:
        yield f"network: {network(summary)}"
    if summary.faults:
        faults = amount(summary.faults, "fault")
        yield f"{faults} in the bytes that came back; damaged messages are not timed"
    times = summary.round_trip
    if times.total:
        unit, size = ("us", 1e3) if times.least < 1e6 else ("ms", 1e6)
        rows = {
            "min/avg/max/mdev": (times.least, times.mean(), times.greatest, times.deviation()),
            "p50/p90/p99/p99.9": tuple(times.quantile(q) for q in _QUANTILES),
        }
        for name, values in rows.items():
            numbers = "/".join(f"{value / size:.1f}" for value in values)
            yield f"round trip {name} = {numbers} {unit}"
    connect = f"connect {_connect(summary.connect)}"
    if summary.nearer:
        connect += ": much faster than the echo; something nearer answered the handshake,"
        connect += " or the far end is slow to answer"
    yield connect
    if summary.layer is not None and _shakes(summary.layer):
        yield f"handshake {_connect(summary.handshake)}: {_terms(summary.layer)}"


def counts(summary: Summary) -> str:
    """The interim summary, in one line."""
    share = 100 * summary.lost / summary.sent if summary.sent else 0.0
    differ = f" ({summary.damaged:,} DIFFER)" if summary.damaged else ""
    found = f"{summary.sent:,} sent, {summary.returned:,} returned{differ}"
    found += f", {summary.lost:,} lost ({share:.3g} %)"
    under_way = summary.sent - summary.returned - summary.lost
    found += f"{f', {under_way:,} under way' * (under_way > 0)}, in {summary.seconds:.1f} s"
    if summary.round_trip.total:
        found += f", p50 {duration(summary.round_trip.quantile(0.5))}"
    return found


def _terms(layer: Layer) -> str:
    """The negotiated parameters as text."""
    found = layer.terms
    words = [found.get("version"), found.get("cipher")]
    words += [f"ALPN {found['alpn']}" if found.get("alpn") else None, found.get("protocol")]
    return ", ".join(word for word in words if word)


def _agreed(layer: Layer) -> dict[str, object]:
    """The negotiated parameters as JSON."""
    terms = dict(layer.terms)
    protocol = terms.pop("protocol", None)
    found: dict[str, object] = {"tls": terms} if terms else {}
    return found | ({"protocol": protocol} if protocol else {})


def _shakes(layer: Layer) -> bool:
    """False for HTTP without TLS: its first message is a request already."""
    return layer.terms.get("protocol") != "HTTP/1.1" or "version" in layer.terms


def _connect(times: Histogram) -> str:
    return (
        duration(times.greatest)
        if times.total == 1
        else f"p50 {duration(times.quantile(0.5))}, max {duration(times.greatest)}"
    )


def of(event: PingEvent) -> dict[str, object]:
    """One event as a JSON object."""
    match event:
        case Connected(far_end, took, outage, handshake, layer):
            found = {
                "type": "connected",
                "far_end": str(far_end),
                "connect_us": took / 1000,
                "outage_ms": outage / 1e6,
            }
            return (
                found
                if layer is None
                else found | {"handshake_us": handshake / 1000} | _agreed(layer)
            )
        case Reply(seq, size, far_end, took, intact):
            return {
                "type": "reply",
                "seq": seq,
                "bytes": size,
                "far_end": str(far_end),
                "round_trip_us": took / 1000,
                "intact": intact,
            }
        case Lost(seq, why):
            return {"type": "lost", "seq": seq, "reason": why}
        case Broken(why):
            return {"type": "broken", "reason": why}
    return _of_fault(event)


def _of_fault(fault: Fault) -> dict[str, object]:
    place = {
        "kind": fault.kind,
        "connection": fault.connection,
        "offset": fault.offset,
        "length": fault.length,
    }
    return {
        "type": "fault",
        **place,
        "detail": fault.detail,
        "sent": fault.sent.hex(),
        "returned": fault.returned.hex(),
    }


def summary_of(summary: Summary) -> dict[str, object]:
    times = summary.round_trip
    return {
        "type": "summary",
        "sent": summary.sent,
        "returned": summary.returned,
        "damaged": summary.damaged,
        "lost": summary.lost,
        "faults": summary.faults,
        "seconds": round(summary.seconds, 6),
        "round_trip_us": {
            "min": times.least / 1000 if times.total else None,
            **summed(times),
            "mdev": times.deviation() / 1000 if times.total else None,
        },
        "connect_us": summed(summary.connect),
        "network": {name: getattr(summary, name) for name in NETWORK},
        **(
            {}
            if summary.layer is None
            else {"handshake_us": summed(summary.handshake)} | _agreed(summary.layer)
        ),
        "connections": summary.connections,
        "outage_ms": summary.outage / 1e6,
        "nearer": summary.nearer,
        "histogram": times.encode(),
    }
