"""Descriptors that protocols wait for, beside their connections."""

from __future__ import annotations

import select

from .opened import Open

_ONCE = select.EPOLLIN | select.EPOLLONESHOT


class Watches:
    """Which connection of the event engine waits for which descriptor. Each is watched until it is
    ready once.
    """

    def __init__(self, poller: select.epoll) -> None:
        self._poller = poller
        self._waiting: dict[int, Open] = {}

    def add(self, c: Open) -> None:
        """Watch the descriptor that the protocol of *c* waits for, if it has one."""
        fd = c.protocol.watch
        if fd != c.watch:
            self.forget(c)
        if fd is None:
            return
        self._waiting[fd], c.watch = c, fd
        try:
            self._poller.modify(fd, _ONCE)
        except FileNotFoundError:
            self._poller.register(fd, _ONCE)

    def take(self, fd: int) -> Open | None:
        """The connection that waited for *fd*, which is ready. (None: an event of a descriptor that
        is closed, while a process that is being started still has it.)
        """
        return self._waiting.pop(fd, None)

    def forget(self, c: Open) -> None:
        """Stop watching for *c*. Its descriptor may be closed already: the
        number may be another's now.
        """
        if c.watch is not None and self._waiting.get(c.watch) is c:
            del self._waiting[c.watch]
        c.watch = None
