"""The second client of an iterative server: connected, and waiting in the accept queue (CS:APP
11.4.9).
"""

from __future__ import annotations

from ..book import Book
from ..stage import Part


def server(book: Book) -> None:
    listenfd = book.open_listenfd()
    book.serve(listenfd)
    book.note("at-once")
    book.serve(listenfd)
    listenfd.close()


def client(book: Book) -> None:
    book.until_waits("server", "accept")
    clientfd = book.open_clientfd()
    rio = book.rio(clientfd)
    rio.writen(b"first\n")
    rio.readline()
    book.until_waits("client 2", "recv")
    book.note("makes-room")
    clientfd.close()


def second(book: Book) -> None:
    book.until_waits("server", "recv")
    clientfd = book.open_clientfd(note="nobody-accepted")
    rio = book.rio(clientfd)
    book.note("taken-in")
    rio.writen(b"second\n")
    rio.readline()
    clientfd.close()


PARTS = (Part("server", server), Part("client", client), Part("client 2", second))
