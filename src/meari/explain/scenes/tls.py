"""The records of a TLS handshake and of an echo (RFC 8446).

The client accepts any certificate: the server's is made for this run.
"""

from __future__ import annotations

from ...tls_context import client_context, server_context
from ..book import Book
from ..stage import Part
from ..tls_rio import TlsRio


def server(book: Book) -> None:
    from ...certificates import self_sign

    context = server_context(None)
    self_sign(context, ["localhost"])
    listenfd = book.open_listenfd()
    connfd, _ = book.kernel.accept(listenfd)
    tls = TlsRio(book.kernel, connfd, context)
    tls.receive_handshake()
    book.note("server-flight")
    tls.flush()
    tls.receive_handshake()
    book.note("tickets")
    tls.flush()
    while line := tls.readline():
        tls.writen(line)
    tls.close_notify()
    connfd.close()
    listenfd.close()


def client(book: Book) -> None:
    book.until_waits("server", "accept")
    clientfd = book.open_clientfd()
    book.until_waits("server", "recv")
    tls = TlsRio(book.kernel, clientfd, client_context(insecure=True), "localhost")
    book.note("client-hello")
    tls.flush()
    book.note("verifies")
    tls.receive_handshake()
    book.note("client-finished")
    tls.flush()
    book.until_waits("server", "recv")
    book.note("data")
    tls.writen(b"hello\n")
    book.note("no-data")
    tls.readline()
    book.note("close-notify")
    tls.close_notify()
    tls.readline()
    clientfd.close()


PARTS = (Part("server", server), Part("client", client))
