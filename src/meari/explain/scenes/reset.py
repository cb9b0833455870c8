"""Why the book's server dies: a write to a connection that was reset is SIGPIPE, or EPIPE if that
is ignored (CS:APP 11.6).
"""

from __future__ import annotations

import contextlib
import signal

from ..book import MAXLINE, Book
from ..stage import Part

GONE, GONE_AGAIN, SECOND = range(3)


def server(book: Book) -> None:
    """As the book has it: SIGPIPE does what it does by default. (Python would ignore it.)"""
    book.kernel.signal(signal.SIGPIPE, signal.SIG_DFL)
    _serve(book, GONE)


def careful(book: Book) -> None:
    """The same, started anew, with one call more."""
    book.until(SECOND)
    book.note("ignored")
    book.kernel.signal(signal.SIGPIPE, signal.SIG_IGN)
    _serve(book, GONE_AGAIN)


def _serve(book: Book, gone: int) -> None:
    listenfd = book.open_listenfd()
    connfd, _ = book.kernel.accept(listenfd)
    book.until(gone)
    rio = book.rio(connfd)
    line = rio.readline(MAXLINE)
    book.note("answers-a-reset")
    rio.writen(line)
    line = rio.readline(MAXLINE)
    book.note("after-a-reset")
    with contextlib.suppress(BrokenPipeError):
        rio.writen(line)
    book.note("lives-on")
    connfd.close()
    listenfd.close()


def client(book: Book) -> None:
    for server, gone in (("server", GONE), ("server 2", GONE_AGAIN)):
        book.until_waits(server, "accept")
        clientfd = book.open_clientfd()
        clientfd.send(b"one\ntwo\n")
        book.note("does-not-read")
        clientfd.close()
        book.mark(gone)
        if gone == GONE:
            book.until_gone(server)
            book.mark(SECOND)


PARTS = (Part("server", server), Part("client", client), Part("server 2", careful))
