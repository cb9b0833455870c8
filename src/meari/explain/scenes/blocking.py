"""Which calls wait, on what, and what ends each wait (CS:APP 11.4)."""

from __future__ import annotations

import contextlib
import socket

from ..book import Book
from ..stage import Part


def server(book: Book) -> None:
    listenfd = book.open_listenfd()
    book.note("for-a-client")
    connfd, _ = book.kernel.accept(listenfd)
    book.note("would-block")
    with contextlib.suppress(BlockingIOError):
        connfd.recv(8192, socket.MSG_DONTWAIT)
    book.note("for-data")
    data = connfd.recv(8192)
    book.until_waits("client", "recv")
    book.note("does-not-wait")
    connfd.send(data)
    book.note("for-the-end")
    connfd.recv(8192)
    connfd.close()
    listenfd.close()


def client(book: Book) -> None:
    book.until_waits("server", "accept")
    clientfd = book.open_clientfd()
    book.until_waits("server", "recv")
    clientfd.send(b"wake up\n")
    book.note("for-the-echo")
    clientfd.recv(8192)
    book.until_waits("server", "recv")
    clientfd.close()


PARTS = (Part("server", server), Part("client", client))
