"""A port in use: TIME_WAIT after the end, and what SO_REUSEADDR does about it (CS:APP 11.4.8)."""

from __future__ import annotations

import contextlib

from ..book import Book
from ..stage import Part

CLOSED, ENDED = range(2)


def server(book: Book) -> None:
    """Ends first: so the TIME_WAIT is on its side, and on its port."""
    listenfd = book.open_listenfd()
    connfd, _ = book.kernel.accept(listenfd)
    book.until_waits("client", "recv")
    book.note("first-to-close")
    connfd.close()
    listenfd.close()
    book.mark(CLOSED)


def client(book: Book) -> None:
    book.until_waits("server", "accept")
    clientfd = book.open_clientfd()
    clientfd.recv(1)
    book.until(CLOSED)
    book.note("second-to-close")
    clientfd.close()
    book.mark(ENDED)


def restarted(book: Book) -> None:
    book.until(ENDED)
    book.until_gone("server")
    with contextlib.suppress(OSError):
        book.open_listenfd(reuse=False, note="in-time-wait")
    listenfd = book.open_listenfd(note="reused")
    with contextlib.suppress(OSError):
        book.open_listenfd(note="listened-on")
    listenfd.close()


PARTS = (Part("server", server), Part("client", client), Part("server 2", restarted))
