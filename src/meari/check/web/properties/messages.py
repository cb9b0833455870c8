"""Messages keep their types, their bytes and their boundaries: text, binary, empty, large, in
fragments (RFC 6455, 5.6).
"""

from __future__ import annotations

from ....stream.pattern import Stream
from ...finding import Finding, fail, ok, warn
from ..path import WebPath

_LARGE = 1 << 20  # bytes: the far end's limit
_TEXT = "메아리: an echo".encode()


def check(path: WebPath) -> Finding:
    sent = [
        ("text", True, [_TEXT]),
        ("binary", False, [bytes(range(256))]),
        ("empty", True, [b""]),
        ("large", False, [Stream(path.known.run, 2).read(0, _LARGE)]),
        ("fragments", False, [b"one", b"two", b"three"]),
    ]
    joined = 0
    with path.websocket() as socket:
        socket.pump(lambda: socket.open, path.patience)
        for n, (what, text, parts) in enumerate(sent):
            for i, part in enumerate(parts):
                fin = i == len(parts) - 1
                if i:
                    socket.frames.send_continuation(part, fin)
                elif text:
                    socket.frames.send_text(part, fin)
                else:
                    socket.frames.send_binary(part, fin)
            socket.flush()
            if not socket.pump(lambda: len(socket.messages) > n, path.patience):  # noqa: B023
                return fail("failed", what=what, how=socket.end)
            came = socket.messages[n]
            if came.data != b"".join(parts) or came.text != text:
                return fail("changed", what=what, sent=sum(map(len, parts)), came=len(came.data))
            if what == "fragments":
                joined = came.frames
    if joined != len(sent[-1][2]):
        return warn("reframed", frames=joined, sent=len(sent[-1][2]))
    return ok("ok", messages=len(sent), largest=_LARGE)
