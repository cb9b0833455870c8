"""The whole flow, from getaddrinfo to close: a line and its echo (CS:APP 11.4.9)."""

from __future__ import annotations

from ..book import Book
from ..stage import Part


def server(book: Book) -> None:
    listenfd = book.open_listenfd()
    book.serve(listenfd)
    listenfd.close()


def client(book: Book) -> None:
    book.until_waits("server", "accept")
    clientfd = book.open_clientfd("localhost")
    book.until_waits("server", "recv")
    rio = book.rio(clientfd)
    rio.writen(b"hello\n")
    rio.readline()
    clientfd.close()


PARTS = (Part("server", server), Part("client", client))
