"""Why a server has two descriptors: one to listen, and one for each connection (CS:APP 11.4.6)."""

from __future__ import annotations

import contextlib

from ..book import Book
from ..stage import Part

FIRST_CLOSED = 0


def server(book: Book) -> None:
    listenfd = book.open_listenfd()
    first, _ = book.kernel.accept(listenfd)
    listenfd.getsockname()
    first.getsockname()
    first.getpeername()
    book.note("no-peer")
    with contextlib.suppress(OSError):
        listenfd.getpeername()
    book.note("no-data")
    with contextlib.suppress(OSError):
        listenfd.recv(1)
    second, _ = book.kernel.accept(listenfd)
    book.note("others-stay")
    first.close()
    book.mark(FIRST_CLOSED)
    rio = book.rio(second)
    rio.writen(rio.readline())
    rio.readline()
    second.close()
    listenfd.close()


def client(book: Book) -> None:
    book.until_waits("server", "accept")
    clientfd = book.open_clientfd()
    clientfd.recv(1)  # until the server closes
    clientfd.close()


def second(book: Book) -> None:
    book.until_waits("client", "recv")
    book.until_waits("server", "accept")
    clientfd = book.open_clientfd()
    book.until(FIRST_CLOSED)
    rio = book.rio(clientfd)
    rio.writen(b"still here\n")
    rio.readline()
    clientfd.close()


PARTS = (Part("server", server), Part("client", client), Part("client 2", second))
