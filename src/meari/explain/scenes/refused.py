"""Nobody listens: each address of the list is tried, and each refuses (CS:APP 11.4.7)."""

from __future__ import annotations

import contextlib

from ..book import Book
from ..stage import Part


def client(book: Book) -> None:
    with contextlib.suppress(ConnectionRefusedError):
        book.open_clientfd(None)  # no host and no AI_PASSIVE: this machine's own addresses, of both families


PARTS = (Part("client", client),)
