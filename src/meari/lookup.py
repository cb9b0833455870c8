"""Name resolution that ends in time."""

from __future__ import annotations

import contextlib
import ipaddress
import queue
import socket
import threading
import typing
from collections.abc import Callable

from .address import Address

T = typing.TypeVar("T")


def within(seconds: float | None, call: Callable[[], T], address: Address) -> T:
    """What *call* returns, or raises. Raises socket.gaierror if it has not after *seconds*.

    The resolver cannot be interrupted, nor given a limit: so it runs in a thread, which is left
    behind. An address in numbers is not looked up, and needs none; nor is there one without a
    limit.
    """
    if seconds is None:
        return call()
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(address.host or "")
        return call()
    answers: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:  # raised where it is waited for
            answers.put((None, error))

    thread = threading.Thread(target=look_up, name=f"getaddrinfo {address}", daemon=True)
    thread.start()
    try:
        found, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise socket.gaierror(
            socket.EAI_AGAIN, f"no answer from the resolver within {seconds:.3g} s"
        ) from None
    thread.join()
    if error is not None:
        raise error
    return typing.cast(T, found)
