"""The TLS handshake: its duration, the negotiated version, and the certificate.

If the far end's certificate is known (--pin), a different one means that TLS ends before the far
end: a middlebox terminates it, and reads every byte.
"""

from __future__ import annotations

import hashlib

from ...channel import open_channel
from ...errors import ConnectError
from ..finding import Evidence, Finding, fail, ok
from ..path import Path

_TIMES = 3


def check(path: Path) -> Finding:
    from ...certificates import subject
    from ...wire.tls import Tls

    took: list[float] = []
    for _ in range(_TIMES):
        try:
            opened = open_channel(path.targets, path.connecting, path.stop)
        except ConnectError as error:
            return fail("failed", reason="; ".join(error.reasons), after=len(took))
        layer = opened.channel.layer
        opened.channel.close()
        took.append(opened.handshake / 1e9)
    assert isinstance(layer, Tls)
    shown = layer.certificate() or b""
    found: dict[str, Evidence] = {
        "least_s": min(took),
        "most_s": max(took),
        "version": layer.version,
        "cipher": layer.cipher,
        "subject": subject(shown),
        "sha256": hashlib.sha256(shown).hexdigest(),
    }
    if path.plan.pin is None:
        return ok("ok", **found)
    if found["sha256"] == path.plan.pin.hex():
        return ok("passed-through", **found)
    return fail("terminated", **found, pin=path.plan.pin.hex())
