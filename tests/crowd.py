"""Many clients at once, from one thread."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Sequence

RESET = struct.pack("ii", 1, 0)


def connect(port: int, n: int) -> list[socket.socket]:
    """*n* connections, non-blocking."""
    found = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(n)]
    for sock in found:
        sock.setblocking(False)
    return found


def exchange(
    clients: Sequence[socket.socket], data: Sequence[bytes], seconds: float = 60.0
) -> list[bytes]:
    """Each sends its data, half-closes and reads to the end of file, all at the same time; what
    each got. Closes them.
    """
    got: dict[int, list[bytes]] = {sock.fileno(): [] for sock in clients}
    left = {sock.fileno(): memoryview(mine) for sock, mine in zip(clients, data, strict=True)}
    by_fd = {sock.fileno(): sock for sock in clients}
    order = list(by_fd)
    poller = select.epoll()
    for fd in by_fd:
        poller.register(fd, select.EPOLLIN | select.EPOLLOUT)
    end = time.monotonic() + seconds
    with contextlib.closing(poller), contextlib.ExitStack() as stack:
        for sock in clients:
            stack.callback(sock.close)
        while by_fd:
            assert time.monotonic() < end, f"{len(by_fd)} clients are not through after {seconds} s"
            for fd, mask in poller.poll(1):
                sock = by_fd[fd]
                if mask & select.EPOLLOUT and fd in left:
                    with contextlib.suppress(BlockingIOError):
                        left[fd] = left[fd][sock.send(left[fd]) :]
                    if not left[fd]:
                        del left[fd]
                        sock.shutdown(socket.SHUT_WR)
                        poller.modify(fd, select.EPOLLIN)
                if mask & ~select.EPOLLOUT:
                    came = sock.recv(1 << 20)
                    got[fd].append(came)
                    if not came:
                        poller.unregister(fd)
                        by_fd.pop(fd).close()
    return [b"".join(got[fd]) for fd in order]


def round_trips(sock: socket.socket, n: int, data: bytes = b"ping") -> list[float]:
    """The seconds of *n* echoes, one after another, sorted."""
    sock.settimeout(20)
    found = []
    for _ in range(n):
        began = time.perf_counter()
        sock.sendall(data)
        back = b""
        while len(back) < len(data):
            came = sock.recv(len(data))
            assert came, "the far end closed"
            back += came
        found.append(time.perf_counter() - began)
        assert back == data
    return sorted(found)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
