"""How the end of file is learned, and half-close: one direction ends, the other goes on (CS:APP
11.4.9; tcp's FIN).
"""

from __future__ import annotations

import socket

from ..book import Book
from ..stage import Part

DONE = 0


def server(book: Book) -> None:
    listenfd = book.open_listenfd()
    connfd, _ = book.kernel.accept(listenfd)
    book.until(DONE)
    rio = book.rio(connfd)
    book.note("data-first")
    line = rio.readline()
    book.note("the-end")
    rio.readline()
    book.note("still-writes")
    rio.writen(line)
    connfd.close()
    listenfd.close()


def client(book: Book) -> None:
    book.until_waits("server", "accept")
    clientfd = book.open_clientfd()
    clientfd.send(b"goodbye\n")
    book.note("half-close")
    clientfd.shutdown(socket.SHUT_WR)
    book.mark(DONE)
    rio = book.rio(clientfd)
    book.note("still-reads")
    rio.readline()
    rio.readline()
    clientfd.close()


PARTS = (Part("server", server), Part("client", client))
