"""The pipe through which the event engine splices (splice(2)): one for a whole loop."""

from __future__ import annotations

import contextlib
import fcntl
import os

# Bytes: four large messages. A pipe of the default size holds 16 buffers, and a message of 64 KiB
# in small segments needs more.
PIPE_SIZE = 1 << 18


class Pipe:
    """Made when it is needed. All connections share it, so it has to be empty between two turns."""

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None

    def open(self) -> bool:
        """Make the pipe if there is none; False without a descriptor for it."""
        if self._ends is None:
            try:
                self._ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return False
            # Without the permission (pipe(7), pipe-user-pages-soft) the default size will do.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._ends[1], fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        return True

    def reflect(self, fd: int) -> tuple[int, bytes]:
        """Write back what has been received on *fd*, without copying it (splice(2)); how many bytes
        that was, and those of them that the peer does not accept now, at most one pipe full.

        After open(). Afterwards the pipe is empty, or dropped. Raises OSError.
        """
        assert self._ends is not None
        source, sink = self._ends
        n = sent = 0
        try:
            with contextlib.suppress(BlockingIOError):
                n = os.splice(fd, sink, PIPE_SIZE, flags=os.SPLICE_F_NONBLOCK)
                sent = os.splice(source, fd, n, flags=os.SPLICE_F_NONBLOCK) if n else 0
            return n, os.read(source, n - sent) if sent < n else b""
        except (OSError, MemoryError):
            if n:
                self.drop()
            raise

    def drop(self) -> None:
        """Close the pipe with the bytes in it: they must reach no other connection."""
        for fd in self._ends or ():
            os.close(fd)
        self._ends = None
