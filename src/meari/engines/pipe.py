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

    @property
    def ends(self) -> tuple[int, int]:
        """The descriptors to read and to write; after open()."""
        assert self._ends is not None
        return self._ends

    def drop(self) -> None:
        """Close the pipe with the bytes in it: they must reach no other connection."""
        for fd in self._ends or ():
            os.close(fd)
        self._ends = None
