"""A body of all 256 values arrives identical in each direction, with Content-Length and in chunks
(RFC 9112, 6 and 7); and in both at once: an echo begins before the request is over.

The far end's report has the framing and the hash of what arrived; what it sends is the keyed
stream.
"""

from __future__ import annotations

import hashlib

from ....stream.pattern import Stream
from ...finding import Evidence, Finding, fail, ok, warn
from ..path import WebPath

_MANY, _FEW = 900_000, 1 << 18  # below 1 MiB, which many limit bodies to
_CHUNK = 10_000


def check(path: WebPath) -> Finding:
    size = path.amount(_FEW if path.plan.quick else _MANY)
    data = bytes(range(256)) + Stream(path.known.run, 0).read(0, size)
    digest = hashlib.sha256(data).hexdigest()
    reframed: list[str] = []
    for way in ("length", "chunked"):
        with path.open() as client:
            client.send(_request(path, "report", way, data))
            response = client.receive()
        found: dict[str, Evidence] = {"way": way, "sent": len(data), "status": response.status}
        if response.status in (411, 413, 501):
            return fail("refused", **found)
        report = response.report()
        if report is None:
            return fail("failed", **found, how=response.end)
        arrived = report["body"]
        if arrived.get("sha256") != digest:
            return fail("arrived-changed", **found, arrived=int(arrived.get("bytes", 0)))
        if arrived.get("framing") != way:
            reframed.append(f"{way} → {arrived.get('framing')}")
    if (finding := _returned(path, size)) is not None:
        return finding
    for way in ("length", "chunked"):
        with path.open() as client:
            client.send(_request(path, "echo", way, data))
            response = client.receive()
        if response.body != data or not response.whole:
            return warn("early", way=way, sent=len(data), returned=len(response.body))
    if reframed:
        return warn("reframed", each=", ".join(reframed))
    return ok("ok", sent=5 * size)


def _returned(path: WebPath, size: int) -> Finding | None:
    """What is wrong with what the far end sends; None if nothing is."""
    response = path.get(f"bytes/{size}?run={path.known.run}&connection=1")
    expected = Stream(path.known.run, 1, 1).read(0, size)
    found: dict[str, Evidence] = {"way": "GET", "sent": size, "status": response.status}
    if not response.whole or response.status != 200:
        return fail("failed", **found, how=response.end)
    if coding := response.value("content-encoding"):
        return fail("encoded", **found, coding=coding)
    if response.body == expected:
        return None
    pairs = enumerate(zip(expected, response.body, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(size, len(response.body)))
    return fail("changed", **found, at=at, returned=len(response.body))


def _request(path: WebPath, name: str, way: str, data: bytes) -> bytes:
    kind = ("Content-Type", "application/octet-stream")
    if way == "length":
        return path.request(name, "POST", [kind], data)
    head = path.request(name, "POST", [kind, ("Transfer-Encoding", "chunked")])
    pieces = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
