"""A stream has no lines: two come in one segment, and one that is longer than MAXLINE comes in
pieces (CS:APP 10.5.2).
"""

from __future__ import annotations

from ..book import MAXLINE, Book
from ..stage import Part


def server(book: Book) -> None:
    listenfd = book.open_listenfd()
    connfd, _ = book.kernel.accept(listenfd)
    rio = book.rio(connfd)
    book.note("two-in-one")
    line = rio.readline(MAXLINE)
    book.note("first-line")
    rio.writen(line)
    book.note("second-line")
    rio.writen(rio.readline(MAXLINE))  # from Rio's buffer: no call
    book.note("too-long")
    line = rio.readline(MAXLINE)
    book.note("a-piece")
    rio.writen(line)
    line = rio.readline(MAXLINE)
    book.note("the-last-piece")
    rio.writen(line)
    rio.readline(MAXLINE)
    connfd.close()
    listenfd.close()


def client(book: Book) -> None:
    book.until_waits("server", "accept")
    clientfd = book.open_clientfd()
    book.until_waits("server", "recv")
    rio = book.rio(clientfd)
    rio.writen(b"one\ntwo\n")
    rio.readn(8)
    book.until_waits("server", "recv")
    rio.writen(b"long " * 1999 + b"line\n")  # 10,000 bytes
    rio.readn(10_000)
    clientfd.close()


PARTS = (Part("server", server), Part("client", client))
