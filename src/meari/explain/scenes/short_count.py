"""Short counts: a write takes what fits, a read gives what is there; so rio_writen and rio_readn
loop (CS:APP 10.5).
"""

from __future__ import annotations

import signal
import time

from ..book import Book
from ..stage import Part

SIZE = 400_000  # bytes: more than both buffers hold
_BUFFERS = 65_536  # bytes asked for, each end's: the kernel doubles it, for its own book-keeping


def server(book: Book) -> None:
    listenfd = book.open_listenfd(room=_BUFFERS)
    connfd, _ = book.kernel.accept(listenfd)
    book.until_waits("client", "send")
    book.note("interrupt")
    book.kernel.kill(book.process("client"), signal.SIGUSR1)
    book.until_waits("client", "poll")
    rio = book.rio(connfd)
    book.note("what-is-there")
    rio.readn(SIZE)
    rio.readn(1)
    connfd.close()
    listenfd.close()


def client(book: Book) -> None:
    book.kernel.signal(signal.SIGUSR1, lambda *_: None)
    book.until_waits("server", "accept")
    clientfd = book.open_clientfd(room=_BUFFERS)
    data = memoryview(b"echo" * (SIZE // 4))
    book.note("short")
    sent = clientfd.send(data)
    rio = book.rio(clientfd)
    # With one, Rio writes what fits and waits for room in poll: the loop is seen.
    rio.deadline = time.monotonic() + 3600
    book.note("the-rest")
    rio.writen(data[sent:])
    clientfd.close()


PARTS = (Part("server", server), Part("client", client))
