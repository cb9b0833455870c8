"""A far end that dies within a response is an error at the near end, and no clean end (RFC 9112,
8).

Else a truncated file passes for a whole one.
"""

from __future__ import annotations

from ...finding import Finding, fail, ok, unknown
from ..path import WebPath

_AFTER = (1000, 200_000)  # bytes of the response's content


def check(path: WebPath) -> Finding:
    for after in _AFTER:
        for how in ("fin", "rst"):
            response = path.get(f"close?how={how}&after={after}")
            if response.whole and response.status == 200:
                return fail("clean", how=how, sent=after, came=len(response.body))
            if response.whole and response.status < 500:
                return unknown("other", status=response.status)
    return ok("ok", tries=2 * len(_AFTER))
