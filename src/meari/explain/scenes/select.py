"""One loop, many connections: select says which descriptor has something, and no other is waited on
(CS:APP 12.2).
"""

from __future__ import annotations

import socket

from ..book import Book
from ..stage import Part

CONNECTED, SERVED = range(2)


def server(book: Book) -> None:
    listenfd = book.open_listenfd()
    clients: dict[int, socket.socket] = {}
    served = 0
    while served < 2 or clients:
        for fd in book.kernel.select([*([listenfd.fileno()] if served < 2 else []), *clients]):
            if fd == listenfd.fileno():
                connfd, _ = book.kernel.accept(listenfd)
                clients[connfd.fileno()] = connfd
                served += 1
            elif data := clients[fd].recv(8192):
                clients[fd].send(data)
            else:
                clients.pop(fd).close()
    listenfd.close()


def client(book: Book) -> None:
    """Connects first, and has nothing to say until the other is served."""
    book.until_waits("server", "select")
    clientfd = book.open_clientfd()
    book.mark(CONNECTED)
    book.until(SERVED)
    _talk(book, clientfd, b"first\n")


def second(book: Book) -> None:
    book.until(CONNECTED)
    book.until_waits("server", "select")
    clientfd = book.open_clientfd()
    _talk(book, clientfd, b"second\n")
    book.mark(SERVED)


def _talk(book: Book, clientfd: socket.socket, line: bytes) -> None:
    book.until_waits("server", "select")
    rio = book.rio(clientfd)
    rio.writen(line)
    rio.readline()
    book.until_waits("server", "select")
    clientfd.close()


PARTS = (Part("server", server), Part("client", client), Part("client 2", second))
