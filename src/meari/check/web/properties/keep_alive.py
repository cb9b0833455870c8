"""Several requests on one connection are answered, in their order (RFC 9112, 9.3).

They are sent one after the other, and then several at once (pipelining).
"""

from __future__ import annotations

from ....errors import DeadlineError
from ...finding import Finding, fail, ok, warn
from ..path import WebPath

_ONE_BY_ONE, _AT_ONCE = 10, 5


def check(path: WebPath) -> Finding:
    one_by_one = 0
    with path.open() as client:
        while one_by_one < _ONE_BY_ONE:
            path.gently()
            client.send(path.request(f"report?n={one_by_one}"))
            response = client.receive()
            if not response.whole:
                if not one_by_one:
                    return fail("failed", how=response.end)
                return warn("ends", requests=one_by_one, how=response.end)
            if path.known.meari and response.report() is None:
                return fail("other", requests=one_by_one, status=response.status)
            one_by_one += 1
            if not response.kept and one_by_one < _ONE_BY_ONE:
                return warn("not-kept", requests=one_by_one)
        client.send(b"".join(path.request(f"report?n={n}") for n in range(_AT_ONCE)))
        for n in range(_AT_ONCE):
            try:
                response = client.receive()
            except DeadlineError as error:
                return warn("not-pipelined", answered=n, sent=_AT_ONCE, how=str(error))
            if not response.whole:
                return warn("not-pipelined", answered=n, sent=_AT_ONCE, how=response.end)
            if not path.known.meari:
                continue
            report = response.report()
            if report is None:
                return fail("other", requests=one_by_one + n, status=response.status)
            if not report["target"].endswith(f"n={n}"):
                return fail("order", answered=n, target=report["target"])
    requests = one_by_one + _AT_ONCE
    if not path.known.meari:
        return ok("stranger", requests=requests, pipelined=_AT_ONCE)
    return ok("ok", requests=requests, pipelined=_AT_ONCE)
