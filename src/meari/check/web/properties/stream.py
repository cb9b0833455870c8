"""The pieces of a response arrive when they are sent: as server-sent events, in chunks, with a
Content-Length, compressed, and up to the end of the connection.

The far end sends the head at once and then a piece in each interval. A path that buffers delivers
them together: events that are minutes late, and headers that come with the first of them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ...finding import Evidence, Finding, fail, ok, warn
from ..client import Response
from ..path import WebPath

_PIECES = 6
_EVERY, _EVERY_QUICKLY = 0.3, 0.1  # seconds
_TIMES = 3  # each slower than the one before
_WAYS = {
    "sse": "as=sse",
    "chunked": "as=chunked",
    "length": "as=length",
    "gzip": "as=chunked&gzip=1",
    "close": "as=close",
}


def check(path: WebPath) -> Finding:
    every = _EVERY_QUICKLY if path.plan.quick else _EVERY
    with ThreadPoolExecutor(len(_WAYS)) as at_once:
        tried = list(at_once.map(partial(_try, path, every), _WAYS))
    for way, one in zip(_WAYS, tried, strict=True):
        if one.seen == "failed":
            return fail("failed", way=way, status=one.status, how=one.how)
    held = [way for way, one in zip(_WAYS, tried, strict=True) if one.seen == "held"]
    late_heads = [way for way, one in zip(_WAYS, tried, strict=True) if one.seen == "late-head"]
    found: dict[str, Evidence] = {
        "held": held,
        "held_list": ", ".join(held),
        "delay_s": max((one.first for one in tried if one.seen == "held"), default=0.0),
        "whole_s": every * _TIMES * _PIECES,
    }
    if len(held) == len(_WAYS):
        return fail("all-held", **found)
    if held:
        return fail("held", **found)
    if late_heads:
        return warn("late-head", ways=", ".join(late_heads))
    return ok("ok", ways=", ".join(_WAYS), worst_s=max(one.first for one in tried))


@dataclass(frozen=True, slots=True)
class _Tried:
    """What was seen of one way; *first*: seconds until the first piece."""

    seen: str
    first: float = 0.0
    status: int = 0
    how: str = ""


def _try(path: WebPath, every: float, way: str) -> _Tried:
    """A busy machine may deliver pieces together once; a path that buffers does so each time."""
    for n in range(_TIMES):
        pace = every * (n + 1)
        response, asked = _ask(path, way, pace)
        pieces = _PIECES if way == "gzip" else response.body.count(b'"piece"')
        if not response.whole or response.status != 200 or pieces != _PIECES:
            how = response.end or f"{pieces} of {_PIECES} pieces"
            return _Tried("failed", status=response.status, how=how)
        first = response.pieces[0][0] - asked if response.pieces else 0.0
        together = response.ended - asked - first < pace
        if not together and response.headed - asked <= pace + path.margin:
            return _Tried("ok", first)
    return _Tried("held" if together else "late-head", first)


def _ask(path: WebPath, way: str, every: float) -> tuple[Response, float]:
    """The response whose pieces are sent *every* seconds, and when it was asked for."""
    headers = [("Accept-Encoding", "gzip")] if way == "gzip" else []
    with path.open() as client:
        client.patience += every * _PIECES
        target = f"stream?pieces={_PIECES}&every={every * 1000:.0f}ms&{_WAYS[way]}"
        client.send(path.request(target, headers=headers))
        return client.receive(), client.asked
