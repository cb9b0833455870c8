"""What websockets' sans-I/O protocol leaves to its user, of either end (RFC 6455). No I/O."""

from __future__ import annotations

import codecs

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol

DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Utf8:
    """Checks that text is UTF-8, however it is split: each byte as soon as it is decidable."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def check(self, data: bytes, final: bool) -> None:
        """Raise UnicodeDecodeError if *data* does not continue the text, or may not end it."""
        self._decoder.decode(data, final)
        # Python's decoder waits for the third byte of a surrogate.
        waiting = self._decoder.getstate()[0]
        if waiting[:1] == b"\xed" and waiting[1:2] >= b"\xa0":
            raise UnicodeDecodeError("utf-8", waiting, 0, 2, "invalid continuation byte")


class Checked(Protocol):
    """A mixin: text has to be UTF-8 (8.1), and a close may stand within a message (5.4)."""

    def recv_frame(self, frame: Frame) -> None:
        """Called for each frame. An exception fails the connection."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)
        if frame.opcode is Opcode.TEXT:
            self._text: Utf8 | None = Utf8()
        elif frame.opcode is Opcode.BINARY:
            self._text = None
        if frame.opcode in DATA and self._text is not None:
            self._text.check(bytes(frame.data), frame.fin)
