"""Nobody listens: each address of the list is tried, and each refuses (CS:APP 11.4.7)."""

from __future__ import annotations

from ...errors import LocalError
from ..book import Book
from ..stage import Part


def client(book: Book) -> None:
    try:
        # No host and no AI_PASSIVE: this machine's own addresses, of both families.
        book.open_clientfd(None).close()
    except ConnectionRefusedError:
        return
    raise LocalError("somebody has begun to listen on that port")


PARTS = (Part("client", client),)
