"""A result as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from ..client.ping_events import Summary
from ..client.results import Result
from ..client.tally import Count
from ..histogram import Histogram
from ..stream.verify import Fault
from ..units import amount, size

_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
_FAULTS = 10  # listed one by one


def duration(nanoseconds: float) -> str:
    """ "58.1 us", "2.31 ms", "1.50 s": three digits or so."""
    for whole, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if nanoseconds >= whole:
            value = nanoseconds / whole
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{nanoseconds / 1e3:.2f} us"


def quantiles(histogram: Histogram) -> str:
    return "  ".join(
        f"{name} {duration(histogram.quantile(q)) if histogram.total else '-'}"
        for name, q in _QUANTILES
    )


def lines(result: Result) -> Iterator[str]:
    """The whole result, a line at a time."""
    count, plan = result.count, result.plan
    yield f"{result.far_end}: {plan}"
    moved = f"{size(result.bytes_per_second)}/s {direction(result)}"
    rate = f"{result.messages_per_second:,.0f}/s, {moved}"
    yield f"  messages     {count.messages - count.after:,} in {result.seconds:.1f} s: {rate}"
    if plan.rate is not None:
        yield f"  from due     {quantiles(count.times['from_due'])}"
        yield f"  from sent    {quantiles(count.times['round_trip'])}"
    else:
        yield f"  round trip   {quantiles(count.times['round_trip'])}"
    if plan.new_connections:
        yield f"  connect      {quantiles(count.times['connect'])}"
        yield f"  first byte   {quantiles(count.times['first_byte'])}"
    yield from (f"  {warning}" for warning in warnings(result))
    if not result.near_end_was_the_limit:
        yield f"  near end     busy {100 * result.busy:.0f} % of the time"
    if result.over_a_network:
        yield f"  network      {network(count)}"
    if count.lost:
        replaced = ", and replaced" if count.opened > plan.connections else ""
        yield f"  lost         {amount(count.lost, 'connection')}{replaced}"
    if count.unconnected:
        attempts = amount(count.unconnected, "attempt")
        yield f"  not made     {attempts} to connect failed, after the first connections"
    if count.unserved:
        unserved = amount(count.unserved, "connection")
        yield f"  unserved     {unserved} received nothing during the measurement"
    if count.damaged:
        damaged = amount(count.damaged, "message")
        yield f"  damaged      {damaged}: not all bytes came back as sent; they are not timed"
    if count.missing:
        yield f"  missing      {amount(count.missing, 'message')} never came back"
    if count.after or count.unfinished:
        late = amount(count.after, "more message")
        yield f"  late         {late} came back after the end, {count.unfinished:,} not by then"
    if plan.new_connections and count.unclosed:
        unclosed = amount(count.unclosed, "connection")
        yield f"  not closed   {unclosed}: the far end's FIN did not come within 2 s of ours"
    yield from faults(result)


def status(result: Result) -> str:
    """The interim summary, in one line."""
    sums = f"{result.count.messages:,} messages in {result.seconds:.1f} s"
    sums += f" ({result.messages_per_second:,.0f}/s)"
    return f"{sums}, {quantiles(result.headline)}, {amount(result.faults, 'fault')}"


def network(count: Count | Summary) -> str:
    """The kernel's counters of the path (TCP_INFO), on our side."""
    again = f"{amount(count.retransmitted, 'segment')} sent again"
    again += f" ({count.duplicates:,} had arrived: DSACK)" if count.duplicates else ""
    order = f", out of order: {count.out_of_order:,} here" if count.out_of_order else ""
    return (
        again
        + order
        + (f", {amount(count.reorderings, 'reordering')} there" if count.reorderings else "")
    )


def warnings(result: Result) -> list[str]:
    """Warnings about the figures."""
    rate, found = result.plan.rate, []
    if rate is not None and not result.kept_its_rate:
        late = result.near_end_was_the_limit or result.sent_late
        whose = "the near end was late" if late else "the far end, or the path, did not keep up"
        found.append(
            f"RATE NOT KEPT: {result.messages_per_second:,.0f}/s of {rate:,.10g}/s; {whose}"
        )
    if result.count.shed:
        found.append(f"not sent     {amount(result.count.shed, 'message')} that were due")
    if result.count.paused:
        found.append(
            f"paused       {result.count.paused:.1f} s, by a signal: that time is not counted"
        )
    if result.count.no_port:
        found.append(
            f"near end     was the limit: {amount(result.count.no_port, 'time')} no local port was"
            " free for a connection (net.ipv4.ip_local_port_range; each is kept in TIME_WAIT for"
            " a minute)"
        )
    elif result.sent_late and not result.near_end_was_the_limit:
        lag = f"messages sent late: {quantiles(result.count.times['lag'])}"
        found.append(
            "near end     waited for the processor, though it was busy only"
            f" {100 * result.busy:.0f} % of the time; {lag}"
        )
    elif result.near_end_was_the_limit:
        lag = (
            "" if rate is None else f", messages sent late: {quantiles(result.count.times['lag'])}"
        )
        busy = f"busy {100 * result.busy:.0f} % of the time{lag}"
        found.append(
            f"near end     was the limit ({busy}): these figures are its own, the far end may do"
            " better"
        )
    return found


def direction(result: Result) -> str:
    """The direction of the bytes that are counted."""
    return "each way" if result.plan.content is None else "of content"


def verdict(result: Result) -> str:
    """Return what is known of all bytes, in one sentence."""
    count, content = result.count, result.plan.content
    if result.faults:
        return ", ".join(f"{n:,} {kind}" for kind, n in sorted(count.kinds.items()))
    if result.complete and count.messages:
        late = ", some only after the end" if count.unserved else ""
        if content is not None:
            return f"none: every response has the status and the length of the first{late}"
        return f"none: every byte came back as it was sent{late}"
    left = count.missing + count.unfinished
    if left:
        return f"none in the returned bytes; {amount(left, 'message')} did not return whole"
    if not count.messages:
        return "none, but no message came back"
    if count.damaged:
        return f"none is named, but {amount(count.damaged, 'message')} came back damaged"
    return "none in the returned bytes; not every connection could be made"


def faults(result: Result) -> Iterator[str]:
    """The table of faults, the first with the bytes around it."""
    yield f"  faults       {verdict(result)}"
    for fault in result.count.faults[:_FAULTS]:
        yield f"    {fault}"
    if result.count.faults and result.count.faults[0].returned and result.plan.content is None:
        yield from around(result.count.faults[0])
    if result.faults > _FAULTS:
        yield f"    ... and {result.faults - _FAULTS:,} more"


def around(fault: Fault) -> Iterator[str]:
    """The bytes around a fault, on both sides."""
    yield f"    the first, from {fault.shown:,} on:"
    yield f"      sent      {fault.sent.hex(' ')}"
    yield f"      returned  {fault.returned.hex(' ')}"
