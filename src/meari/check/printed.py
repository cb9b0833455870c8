"""The output of a started server: read at once, so that the server never blocks; the last part is
kept.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading

_KEPT = 65536  # bytes
_READS = 32  # at once: a server that prints without end must not keep the lock


class Printed:
    """A pipe: `write` is the server's end; a thread reads the other.

    Raises OSError without descriptors.
    """

    def __init__(self) -> None:
        self._read, self.write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC)
        self._kept = bytearray()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="printed", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._read, select.POLLIN)
        poller.register(self._stop_read, 0)
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if self._stop_read in ready or not self._take():
                return

    def _take(self) -> bool:
        """Read all that is there; False at end of file."""
        with self._lock:
            for _ in range(_READS):
                try:
                    data = os.read(self._read, _KEPT)
                except BlockingIOError:
                    return True
                if not data:
                    return False
                self._kept += data
                del self._kept[:-_KEPT]
        return True

    def last(self) -> str:
        """The last line that is not blank, or ""."""
        self._take()
        with self._lock:
            lines = self._kept.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        """Stop reading. Processes that still hold the pipe can write to it, and their output is
        lost.
        """
        with contextlib.suppress(OSError):
            os.close(self._stop_write)
        self._thread.join()
        for fd in (self._read, self.write, self._stop_read):
            with contextlib.suppress(OSError):
                os.close(fd)
