"""Far ends that are not right, or not soon: each a thread with a listener of its own, for the
length of a test.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

from meari import Address

# One connection, until it ends or the event is set.
Serve = Callable[[socket.socket, threading.Event], None]


@contextlib.contextmanager
def far_end(serve: Serve) -> Iterator[Address]:
    """*serve* for each connection, in a thread; all of them have ended at the end of the block."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.settimeout(0.05)
    threads: list[threading.Thread] = []

    def one(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            sock.settimeout(0.05)
            serve(sock, over)

    def accept() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                sock, _ = listener.accept()
                threads.append(threading.Thread(target=one, args=(sock,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield Address("127.0.0.1", listener.getsockname()[1])
    finally:
        over.set()
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join()


def reading(sock: socket.socket, over: threading.Event, most: int = 65536) -> Iterator[bytes]:
    """What comes, until the end of file or the end of the test."""
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            data = sock.recv(most)
            if not data:
                return
            yield data


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def sending(sock: socket.socket, data: bytes) -> None:
    sock.settimeout(10)
    sock.sendall(data)
    sock.settimeout(0.05)


def swallow(sock: socket.socket, over: threading.Event) -> None:
    """Reads, and never answers."""
    for _ in reading(sock, over):
        pass


def deaf(sock: socket.socket, over: threading.Event) -> None:
    """Never reads."""
    over.wait()


def chatter(sock: socket.socket, over: threading.Event) -> None:
    """Speaks first, and is no echo."""
    sending(sock, b"220 welcome\r\n")
    for _ in reading(sock, over):
        sending(sock, b"500 what?\r\n" * 10)


def bytewise(sock: socket.socket, over: threading.Event) -> None:
    """An honest echo that sends one byte at a time."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for data in reading(sock, over):
        for i in range(len(data)):
            sending(sock, data[i : i + 1])


def tardy(sock: socket.socket, over: threading.Event) -> None:
    """An honest echo, 50 ms late."""
    for data in reading(sock, over):
        if over.wait(0.05):
            break
        sending(sock, data)


def lines(sock: socket.socket, over: threading.Event) -> None:
    """Returns whole lines, and the rest at the end of file."""
    held = b""
    for data in reading(sock, over):
        out, newline, held = (held + data).rpartition(b"\n")
        sending(sock, out + newline)
    sending(sock, held)


class Stalling:
    """An honest echo that stops for *seconds*, once, *at* so long after its first byte."""

    def __init__(self, at: float, seconds: float) -> None:
        self.at, self.seconds = at, seconds
        self._began = 0.0
        self._lock = threading.Lock()

    def __call__(self, sock: socket.socket, over: threading.Event) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in reading(sock, over):
            with self._lock:
                self._began = self._began or time.monotonic()
                begin, end = self._began + self.at, self._began + self.at + self.seconds
            if begin <= time.monotonic() < end:
                time.sleep(end - time.monotonic())
            sending(sock, data)


def breaking(after: int, *, cleanly: bool) -> Serve:
    """An honest echo that ends after so many bytes, with a FIN or a reset."""

    def serve(sock: socket.socket, over: threading.Event) -> None:
        served = 0
        for data in reading(sock, over):
            sending(sock, data[: after - served])
            served += len(data)
            if served >= after:
                if cleanly:
                    sock.shutdown(socket.SHUT_WR)
                    swallow(sock, over)
                else:
                    reset(sock)
                return

    return serve
