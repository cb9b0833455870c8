"""timerfd(2), which Python has from 3.13 on: a timer as a descriptor that a poller can watch.

epoll(7) has a resolution of a millisecond and sleeps up to 50 microseconds too long; messages due
each 100 microseconds need a better timer.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time

_SECOND = 1_000_000_000
# TFD_NONBLOCK and TFD_CLOEXEC have the same values.
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_ABSTIME = 1  # TFD_TIMER_ABSTIME
_libc = ctypes.CDLL(None, use_errno=True)


class _Spec(ctypes.Structure):  # struct itimerspec
    _fields_ = [
        (name, ctypes.c_long) for name in ("interval_s", "interval_ns", "first_s", "first_ns")
    ]


class Timer:
    """Becomes readable at a time and again after each interval. Raises OSError."""

    def __init__(self) -> None:
        self._fd = _libc.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def fileno(self) -> int:
        return int(self._fd)

    def set(self, first: int, interval: int) -> None:
        """Expire at *first*, a time of time.monotonic_ns(), and each *interval* nanoseconds after
        it.
        """
        spec = _Spec(*divmod(interval, _SECOND), *divmod(first, _SECOND))
        if _libc.timerfd_settime(self._fd, _ABSTIME, ctypes.byref(spec), None) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def expired(self) -> None:
        """Acknowledge the expiry; the next interval begins only then."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)

    def close(self) -> None:
        os.close(self._fd)
