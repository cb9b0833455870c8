"""What a scene's programs are written with: CS:APP's functions (11.4, 10.5), made through a
recorder.

They are as the book has them, one call after the other and blocking, without what
net.open_listeners and net.open_client add for a program that has to last: that is for `serve
--explain` and `talk --explain` to show.
"""

from __future__ import annotations

import errno
import os
import socket

from ..child import die_with
from ..rio import Rio
from .board import Reporter
from .recorder import Recorder

LISTENQ = 1024
MAXLINE = 8192


class Book:
    """A part's program: the book's functions, and the part's cues."""

    def __init__(
        self, kernel: Recorder, reporter: Reporter, slots: dict[str, int], port: int
    ) -> None:
        self.kernel = kernel
        self.port = port
        self._wire = reporter
        self._slots = slots

    # The book's functions

    def open_listenfd(
        self, *, reuse: bool = True, room: int | None = None, note: str = ""
    ) -> socket.socket:
        """open_listenfd: a socket that listens on the first address that can be bound.

        Raises the last's OSError.

        Without *reuse* no SO_REUSEADDR is set; *room* is the bytes of each connection's receive
        buffer; *note* is bind's.
        """
        failed: OSError | None = None
        flags = socket.AI_PASSIVE | socket.AI_NUMERICSERV
        for family, kind, protocol, _, where in self.kernel.getaddrinfo(
            None, str(self.port), 0, socket.SOCK_STREAM, 0, flags
        ):
            listenfd = self.kernel.open(family, kind, protocol)
            if reuse:
                listenfd.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if room is not None:
                listenfd.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
            self.note(note)
            try:
                listenfd.bind(where)
            except OSError as error:
                failed, note = error, ""
                listenfd.close()
                continue
            listenfd.listen(LISTENQ)
            return listenfd
        raise failed or OSError(errno.EADDRNOTAVAIL, "no address")

    def open_clientfd(
        self, host: str | None = "127.0.0.1", *, room: int | None = None, note: str = ""
    ) -> socket.socket:
        """open_clientfd: a socket that is connected to the first address that answers.

        Raises the last's OSError.

        *room* is the bytes of the send buffer; *note* is connect's.
        """
        failed: OSError | None = None
        for family, kind, protocol, _, where in self.kernel.getaddrinfo(
            host, str(self.port), 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICSERV
        ):
            clientfd = self.kernel.open(family, kind, protocol)
            if room is not None:
                clientfd.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
            self.note(note)
            try:
                clientfd.connect(where)
                return clientfd
            except OSError as error:
                failed = error
                clientfd.close()
        raise failed or OSError(errno.EADDRNOTAVAIL, "no address")

    def echo(self, rio: Rio) -> None:
        """echo: a line and its echo, until the end of file."""
        while line := rio.readline(MAXLINE):
            rio.writen(line)

    def serve(self, listenfd: socket.socket) -> None:
        """One round of the iterative server's loop."""
        connfd, peer = self.kernel.accept(listenfd)
        self.kernel.getnameinfo(peer)
        rio = self.rio(connfd)
        self.echo(rio)
        connfd.close()

    def rio(self, sock: socket.socket) -> Rio:
        """Rio_readinitb."""
        return Rio(sock, poll=self.kernel.poll)

    def fork(self, child: str) -> int:
        """fork; *child* is the name of the part that begins with it."""
        parent = os.getpid()
        slot = self._slots[child] = len(self._slots)

        def forked() -> None:
            die_with(parent)
            self.kernel.part, self._wire.slot = child, slot
            self._wire.board.calls(slot, "")

        self.kernel.forked = forked
        return self.kernel.fork()

    # Cues

    def note(self, key: str) -> None:
        """Something is to be said of the next call."""
        self.kernel.note = key

    def mark(self, number: int) -> None:
        self._wire.board.mark(number)

    def until(self, number: int) -> None:
        """Wait for the cue *number*."""
        self._wire.look(lambda: self._wire.board.marked(number))

    def until_waits(self, part: str, call: str) -> None:
        """Until the other *part* sleeps in *call*: the kernel has nothing for it yet."""
        self._wire.look(lambda: self._wire.board.sleeps(self._slots[part], call))

    def until_gone(self, part: str) -> None:
        """Until the process of *part* has ended."""
        self._wire.look(lambda: self._wire.board.gone(self._slots[part]))

    def process(self, part: str) -> int:
        return self._wire.board.process(self._slots[part])
