"""Events as text, in the book's words; as JSON with OpenTelemetry's names; requests in the Common
Log Format.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from ..address import Address
from ..events import Event, Kind
from ..units import amount, duration, size

Form = Literal["text", "json", "common"]

_WARNINGS = frozenset(
    {Kind.FAILED, Kind.REFUSED, Kind.CUT, Kind.WAITING, Kind.PAUSED, Kind.DROPPED}
)


def escape(text: str) -> str:
    """*text* with everything but printable ASCII escaped: a peer may have chosen it."""
    return text.encode("unicode_escape").decode("ascii")


def plain(peer: Address) -> str:
    """A peer in the book's words: "(127.0.0.1, 51234)"; of a Unix socket "(uid 0, pid 4711)"."""
    if peer.scheme == "unix":
        return f"({escape(peer.host or '')}, pid {peer.port})"
    return f"({escape(peer.host or '')}, {peer.port})"


def text(event: Event, name: Callable[[Address], str] = plain) -> str:
    """One event as a line of text without its newline; *name* gives a peer's name."""
    detail = escape(event.detail)
    if event.count > 1 and event.kind not in (Kind.CUT, Kind.DROPPED):
        return _sum(event)
    peer = name(event.peers[0]) if event.peers else "?"
    carried = f"{_carried(event)}, {event.seconds:.1f} s"
    match event.kind:
        case Kind.LISTENING:
            return f"listening on {detail}"
        case Kind.CONNECTED:
            return f"Connected to {peer}" + (f" {detail}" if detail else "")
        case Kind.RECEIVED:
            return f"server received {amount(event.bytes, 'byte')} from {peer}"
        case Kind.REQUEST:
            return f"{peer} {detail}, {size(event.bytes)} in {duration(event.seconds)}"
        case Kind.CLOSED:
            return f"closed {peer} after {carried}" + (f": {detail}" if detail else "")
        case Kind.FAILED:
            return f"lost {peer} after {carried}: {detail}"
        case Kind.REFUSED:
            return f"refused {peer}: {detail}"
        case Kind.CUT:
            return f"reset {amount(event.count, 'connection')} at the drain limit"
        case Kind.DROPPED:
            return f"... {amount(event.count, 'event')} not written: this output was not read"
        case _:
            return detail


def _carried(event: Event) -> str:
    return f"{amount(event.messages, 'message')}, {size(event.bytes)}"


def _sum(event: Event) -> str:
    more = f"... and {event.count:,} more"
    match event.kind:
        case Kind.RECEIVED:
            connections = amount(event.connections, "connection")
            return f"{more} messages, {size(event.bytes)}, from {connections}"
        case Kind.CONNECTED:
            return f"{more} connected"
        case Kind.CLOSED:
            return f"{more} closed after {_carried(event)}"
        case Kind.FAILED:
            return f"{more} lost after {_carried(event)}: the last {escape(event.detail)}"
        case _:
            return f"{more} {event.kind}"


def attributes(event: Event, name: Callable[[Address], str] = plain) -> dict[str, object]:
    """One event as a JSON object, in OpenTelemetry's names where it has them."""
    at = datetime.fromtimestamp(event.time, UTC).isoformat(timespec="microseconds")
    found: dict[str, object] = {
        "timestamp": at.replace("+00:00", "Z"),
        "severity_text": "WARN" if event.kind in _WARNINGS else "INFO",
        "event.name": f"meari.{event.kind}",
        "body": text(event, name),
    }
    if event.kind is Kind.REQUEST and event.count == 1:
        line, _, status = event.detail.rpartition(" ")
        found |= {
            "http.request.line": line.strip('"'),
            "http.response.status_code": int(status),
            "http.response.body.size": event.bytes,
            "meari.seconds": round(event.seconds, 6),
        }
    if event.kind is Kind.LISTENING:
        found |= _socket("local", Address.parse(event.detail))
    if event.count == 1 and event.peers:
        found |= _socket("peer", event.peers[0])
    if event.kind in (Kind.RECEIVED, Kind.CLOSED, Kind.FAILED):
        found |= {"meari.messages": event.messages, "meari.bytes": event.bytes}
        if event.count == 1 and event.kind is not Kind.RECEIVED:
            found["meari.seconds"] = round(event.seconds, 6)
    if event.count > 1:
        found |= {"meari.count": event.count, "meari.connections": event.connections}
    if event.detail and event.kind is Kind.CONNECTED:
        found["meari.via"] = event.detail.removeprefix("via ")
    if event.detail and event.kind in (Kind.FAILED, Kind.REFUSED):
        found["error.type"] = event.detail
    return found


def _socket(end: str, address: Address) -> dict[str, object]:
    """One end of a connection. A Unix peer has no address, only its user and process."""
    if address.scheme != "unix":
        return {
            "network.transport": "tcp",
            "network.type": "ipv6" if ":" in (address.host or "") else "ipv4",
            f"network.{end}.address": address.host,
            f"network.{end}.port": address.port,
        }
    found: dict[str, object] = {"network.transport": "unix"}
    if end == "local":
        return found | {"network.local.address": address.host}
    uid = int((address.host or "uid 0").split()[1])
    return found | {"meari.peer.uid": uid, "meari.peer.pid": address.port}


def json_line(event: Event, name: Callable[[Address], str] = plain) -> str:
    return json.dumps(attributes(event, name))


def common(event: Event, _name: Callable[[Address], str] = plain) -> str:
    """A request in the Common Log Format of web servers, in local time."""
    line, _, status = escape(event.detail).rpartition(" ")
    peer = event.peers[0]
    host = "-" if peer.scheme == "unix" else escape(peer.host or "-")
    at = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(event.time))
    return f"{host} - - [{at}] {line} {status} {event.bytes or '-'}"


FORMS: dict[Form, Callable[[Event, Callable[[Address], str]], str]] = {
    "text": text,
    "json": json_line,
    "common": common,
}
