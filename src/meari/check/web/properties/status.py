"""Statuses and their content arrive as the far end sent them: errors too (RFC 9110, 15).

A middlebox that replaces error pages hides what the far end says.
"""

from __future__ import annotations

from ...finding import Finding, fail, ok
from ..path import WebPath

# 304 is no answer to an unconditional request: a cache may reject it.
_STATUSES = (200, 204, 400, 404, 409, 410, 429, 500, 502, 503, 504)
_EMPTY = (204,)


def check(path: WebPath) -> Finding:
    for status in _STATUSES:
        response = path.get(f"status/{status}")
        if response.status != status:
            return fail("changed", sent=status, came=response.status or response.end)
        expected = b"" if status in _EMPTY else f"{status}\n".encode()
        if not response.whole or response.body != expected:
            return fail("content", sent=status, came=bytes(response.body[:40]).decode("latin-1"))
    return ok("ok", statuses=len(_STATUSES))
