"""Who holds which descriptor before and after fork, and what happens if the parent forgets to close
(CS:APP 12.1).
"""

from __future__ import annotations

import socket

from ..book import Book
from ..stage import Part

CLOSED = 0


def server(book: Book) -> None:
    listenfd = book.open_listenfd()
    for child, forgets in (("server child", False), ("server child 2", True)):
        connfd, _ = book.kernel.accept(listenfd)
        pid = book.fork(child)
        if pid == 0:
            book.note("not-the-childs")
            listenfd.close()
            book.until(CLOSED)
            book.echo(book.rio(connfd))
            book.note("a-copy-is-left" if forgets else "the-last-copy")
            connfd.close()
            book.kernel.exit(0)
        if not forgets:
            book.note("the-parents-copy")
            connfd.close()
        book.mark(CLOSED)
        book.kernel.waitpid(pid)
    book.until_waits("client 2", "recv")
    book.note("at-last")
    connfd.close()
    listenfd.close()


def client(book: Book) -> None:
    book.until_waits("server", "accept")
    _talk(book, "for-the-end")


def second(book: Book) -> None:
    book.until(CLOSED)
    book.until_waits("server", "accept")
    _talk(book, "for-the-last-copy")


def _talk(book: Book, note: str) -> None:
    clientfd = book.open_clientfd()
    rio = book.rio(clientfd)
    rio.writen(b"hello\n")
    rio.readline()
    clientfd.shutdown(socket.SHUT_WR)
    book.note(note)
    rio.readline()
    clientfd.close()


PARTS = (Part("server", server), Part("client", client), Part("client 2", second))
