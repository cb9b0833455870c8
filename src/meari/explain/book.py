"""The functions with which a scene's programs are written: CS:APP's (11.4, 10.5), on a recorder.

They make the book's calls, one after the other and blocking, without what net.open_listeners and
net.open_client add for long-running programs; `serve --explain` and `talk --explain` show those.
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
    """The functions of a part's program: the book's, and its cues."""

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
        """open_listenfd: a socket that listens on the first address on which bind succeeds.

        Without *reuse*, SO_REUSEADDR is not set; *room* is the size of each connection's receive
        buffer in bytes; *note* is about bind. Raises the OSError of the last address.
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
        """open_clientfd: a socket connected to the first address that accepts.

        *room* is the size of the send buffer in bytes; *note* is about connect. Raises the OSError
        of the last address.
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
        """echo: write back each line, until end of file."""
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
        """fork(2); *child* is the name of the part that begins in the child."""
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
        """Attach the sentence *key* to the next call."""
        self.kernel.note = key

    def mark(self, number: int) -> None:
        self._wire.board.mark(number)

    def until(self, number: int) -> None:
        """Wait for the cue *number*."""
        self._wire.look(lambda: self._wire.board.marked(number))

    def until_waits(self, part: str, call: str) -> None:
        """Wait until the other *part* is blocked in *call*."""
        self._wire.look(lambda: self._wire.board.sleeps(self._slots[part], call))

    def until_gone(self, part: str) -> None:
        """Wait until the process of *part* has ended."""
        self._wire.look(lambda: self._wire.board.gone(self._slots[part]))

    def process(self, part: str) -> int:
        return self._wire.board.process(self._slots[part])
