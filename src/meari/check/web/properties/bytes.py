"""A body of all 256 values is identical after both directions, with Content-Length and in chunks
(RFC 9112, 6 and 7).

The far end returns what it receives; its report tells the framing and the hash of what arrived.
"""

from __future__ import annotations

import hashlib

from ....stream.pattern import Stream
from ...finding import Evidence, Finding, fail, ok, warn
from ..path import WebPath

_MANY, _FEW = 1 << 20, 1 << 18
_CHUNK = 10_000


def check(path: WebPath) -> Finding:
    size = path.amount(_FEW if path.plan.quick else _MANY)
    reframed: list[str] = []
    for n, way in enumerate(("length", "chunked")):
        data = bytes(range(256)) + Stream(path.known.run, n).read(0, size)
        sent = _request(path, "echo", way, data)
        with path.open() as client:
            client.send(sent)
            response = client.receive()
        found: dict[str, Evidence] = {"way": way, "sent": len(data), "status": response.status}
        if response.status in (411, 413, 501):
            return fail("refused", **found)
        if not response.whole or response.status != 200:
            return fail("broke", **found, how=response.end, returned=len(response.body))
        if response.value("content-encoding"):
            return fail("encoded", **found, coding=response.value("content-encoding"))
        if response.body != data:
            at = next(
                (i for i, (a, b) in enumerate(zip(data, response.body, strict=False)) if a != b),
                min(len(data), len(response.body)),
            )
            return fail("changed", **found, at=at, returned=len(response.body))
        with path.open() as client:
            client.send(_request(path, "report", way, data))
            report = client.receive().json() or {}
        arrived = report.get("body", {})
        if arrived.get("sha256") != hashlib.sha256(data).hexdigest():
            return fail("arrived-changed", **found, arrived=int(arrived.get("bytes", 0)))
        if arrived.get("framing") != way:
            reframed.append(f"{way} → {arrived.get('framing')}")
    if reframed:
        return warn("reframed", each=", ".join(reframed), sent=2 * size)
    return ok("ok", sent=2 * size)


def _request(path: WebPath, name: str, way: str, data: bytes) -> bytes:
    kind = ("Content-Type", "application/octet-stream")
    if way == "length":
        return path.request(name, "POST", [kind], data)
    head = path.request(name, "POST", [kind, ("Transfer-Encoding", "chunked")])
    pieces = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
