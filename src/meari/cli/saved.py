"""A file to be written at the end of a run: checked for writability before, and unchanged until
then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import typing
from collections.abc import Callable

from ..errors import LocalError
from . import say

_PATIENCE = 10_000  # milliseconds for the reader of a pipe


class Saved:
    """A context manager for the duration of the run. Without a path nothing is written.

    An existing file is overwritten in place, so its mode, its owner and its other links stay; by
    then the new content is on the disk, in a file without a name (O_TMPFILE, open(2)). A new file
    gets its name when it is complete, so a killed run leaves nothing behind. A FIFO needs a reader.
    """

    def __init__(self, path: str | None) -> None:
        """Raises LocalError."""
        self._path = path
        self._fd = self._there = -1  # the file without a name; the existing file
        if path is None:
            return
        try:
            self._there = self._open_existing(path)
            if self._there < 0 or stat.S_ISREG(os.fstat(self._there).st_mode):
                self._fd = self._open_unnamed(os.path.dirname(os.path.realpath(path)))
        except OSError as error:
            self.__exit__()
            nobody = error.errno == errno.ENXIO
            raise LocalError(f"{path}: {'nobody reads it' if nobody else error.strerror}") from None

    @staticmethod
    def _open_existing(path: str) -> int:
        try:  # O_NONBLOCK: a FIFO without a reader is an error (ENXIO), and no wait
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1

    def _open_unnamed(self, directory: str) -> int:
        try:
            return os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if self._there >= 0:  # it is written in place, without a copy before
                return -1
            if error.errno not in (
                errno.EOPNOTSUPP,
                errno.EISDIR,
                errno.ENOENT,
            ) or not os.path.isdir(directory):
                raise
        if self._there < 0 and not os.access(directory, os.W_OK):  # a file system without O_TMPFILE
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return -1

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._fd, self._there):
            if fd >= 0:
                os.close(fd)
        self._fd = self._there = -1

    def write(self, content: Callable[[], str]) -> bool:
        """True if it is written, or if there is no path."""
        if self._path is None:
            return True
        data = content().encode()
        try:
            if self._fd >= 0:
                _write(self._fd, data)
            if self._there < 0:
                self._there = self._name(self._path)
            if self._there >= 0:
                with contextlib.suppress(OSError):  # not a regular file
                    os.ftruncate(self._there, 0)
                _write(self._there, data)
        except OSError as error:
            say(f"meari: {self._path}: {error.strerror}")
            return False
        return True

    def _name(self, path: str) -> int:
        """Give the new file its name; -1 if that is all, or the descriptor to write to instead."""
        # There is no file without a name, no /proc, or the name exists by now.
        with contextlib.suppress(OSError):
            if self._fd >= 0:
                # With it Python calls linkat(2), which follows the link.
                root = os.open("/", os.O_PATH | os.O_CLOEXEC)
                try:
                    os.link(
                        f"/proc/self/fd/{self._fd}", path, src_dir_fd=root, follow_symlinks=True
                    )
                finally:
                    os.close(root)
                return -1
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            if not poller.poll(_PATIENCE):
                raise TimeoutError(errno.ETIMEDOUT, "its reader does not read") from None
