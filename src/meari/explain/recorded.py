"""Sockets and pollers whose calls are recorded: each method makes the plain call through
Recorder.call.
"""

from __future__ import annotations

import os
import select
import socket
import typing
from collections.abc import Callable

from ..rio import Poller
from ..stop import milliseconds
from . import symbols

T = typing.TypeVar("T")


class Records(typing.Protocol):
    """The recorder to which these report their calls."""

    def call(
        self,
        name: str,
        arguments: tuple[object, ...],
        do: Callable[[], T],
        *,
        sock: RecordedSocket | None = None,
        fd: int | None = None,
        returned: Callable[[T], int] = ...,
        gave: Callable[[T], str] = ...,
    ) -> T: ...
    def accept(self, listener: socket.socket) -> tuple[socket.socket, tuple[str, int]]: ...
    def poll(self) -> Poller: ...


class RecordedSocket(socket.socket):
    """A socket whose calls are recorded.

    With a timeout, Python makes several system calls for one method; here connect makes them one
    by one, so that each is a row.
    """

    def __init__(
        self, recorder: Records, family: int, kind: int, protocol: int, fileno: int | None = None
    ) -> None:
        super().__init__(family, kind, protocol, fileno)
        self._recorder = recorder
        self._patience: float | None = None  # seconds

    def __repr__(self) -> str:  # the plain one asks the kernel for both names
        return f"<RecordedSocket {self.fileno()}>"

    def _call(
        self, name: str, arguments: tuple[object, ...], do: typing.Any, **more: typing.Any
    ) -> typing.Any:
        return self._recorder.call(name, (self.fileno(), *arguments), do, sock=self, **more)

    def take(self) -> tuple[RecordedSocket, tuple[str, int]]:
        """accept(2), not recorded here: Recorder.accept does that. (Python itself calls
        getsockname(2) on the new socket.)
        """
        fd, where = self._accept()  # type: ignore[attr-defined]
        return RecordedSocket(self._recorder, self.family, self.type, self.proto, fd), where

    def accept(self) -> tuple[socket.socket, typing.Any]:
        return self._recorder.accept(self)

    def bind(self, address: typing.Any, /) -> None:
        self._call(
            "bind", (symbols.sockaddr(address),), lambda: super(RecordedSocket, self).bind(address)
        )

    def listen(self, backlog: int = 128, /) -> None:
        self._call("listen", (backlog,), lambda: super(RecordedSocket, self).listen(backlog))

    def connect(self, address: typing.Any, /) -> None:
        try:
            self._call(
                "connect",
                (symbols.sockaddr(address),),
                lambda: super(RecordedSocket, self).connect(address),
            )
        except BlockingIOError:
            if self._patience is None:
                raise
            self._await()

    def _await(self) -> None:
        """Wait for a nonblocking connect, as Python does for a timeout."""
        poller = self._recorder.poll()
        poller.register(self.fileno(), select.POLLOUT)
        if not poller.poll(milliseconds(self._patience)):
            raise TimeoutError("timed out")
        number = self.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        found: bytes = self._call(
            "recv",
            ("buf", size, symbols.message(flags)),
            lambda: super(RecordedSocket, self).recv(size, flags),
            returned=len,
            gave=symbols.came,
        )
        return found

    def send(self, data: typing.Any, flags: int = 0, /) -> int:
        sent: int = self._call(
            "send",
            (symbols.text(data), len(data), symbols.message(flags)),
            lambda: super(RecordedSocket, self).send(data, flags),
            returned=lambda n: n,
        )
        return sent

    def shutdown(self, how: int, /) -> None:
        self._call(
            "shutdown",
            (symbols.one(how, symbols.HOWS),),
            lambda: super(RecordedSocket, self).shutdown(how),
        )

    def getsockname(self) -> typing.Any:
        return self._call(
            "getsockname", ("&addr", "&len"), super().getsockname, gave=symbols.sockaddr
        )

    def getpeername(self) -> typing.Any:
        return self._call(
            "getpeername", ("&addr", "&len"), super().getpeername, gave=symbols.sockaddr
        )

    def setsockopt(self, level: int, name: int, value: typing.Any, /) -> None:  # type: ignore[override]
        self._call(
            "setsockopt",
            (*symbols.option(level, name), symbols.value(value)),
            lambda: super(RecordedSocket, self).setsockopt(level, name, value),
        )

    def getsockopt(self, level: int, name: int, size: int | None = None, /) -> typing.Any:
        def get() -> typing.Any:
            return super(RecordedSocket, self).getsockopt(
                level, name, *(() if size is None else (size,))
            )

        # The recorder itself reads TCP_INFO: no row.
        if (level, name) == (socket.IPPROTO_TCP, socket.TCP_INFO):
            return get()
        gave = symbols.errno_of if name == socket.SO_ERROR else symbols.value
        return self._call("getsockopt", (*symbols.option(level, name), "&value"), get, gave=gave)

    def setblocking(self, flag: bool, /) -> None:
        self._patience = None
        self._call(
            "ioctl",
            ("FIONBIO", int(not flag)),
            lambda: super(RecordedSocket, self).setblocking(flag),
        )

    def settimeout(self, value: float | None, /) -> None:
        self.setblocking(value is None)
        self._patience = value or None

    def close(self) -> None:
        if self.fileno() >= 0:
            self._call("close", (), super().close)


class RecordedPoll:
    """select.poll(): only poll() itself is a system call."""

    def __init__(self, recorder: Records) -> None:
        self._recorder = recorder
        self._poll = select.poll()
        self._watched: dict[int, int] = {}

    def register(self, fd: int, mask: int, /) -> None:
        self._watched[fd] = mask
        self._poll.register(fd, mask)

    def modify(self, fd: int, mask: int, /) -> None:
        self._watched[fd] = mask
        self._poll.modify(fd, mask)

    def poll(self, timeout: int | None = None, /) -> list[tuple[int, int]]:
        asked = (
            "{"
            + ", ".join(f"{fd} {symbols.polled(mask)}" for fd, mask in self._watched.items())
            + "}"
        )
        return self._recorder.call(
            "poll",
            (asked, len(self._watched), -1 if timeout is None else timeout),
            lambda: self._poll.poll(timeout),
            returned=len,
            gave=lambda ready: ", ".join(f"{fd} {symbols.polled(mask)}" for fd, mask in ready),
        )


class RecordedEpoll:
    """select.epoll()."""

    def __init__(self, recorder: Records) -> None:
        self._recorder = recorder
        self._epoll = recorder.call(
            "epoll_create1", ("EPOLL_CLOEXEC",), select.epoll, returned=lambda made: made.fileno()
        )

    def fileno(self) -> int:
        return self._epoll.fileno()

    def _control(self, how: str, fd: int, mask: int | None, do: typing.Any) -> None:
        asked = (
            self.fileno(),
            f"EPOLL_CTL_{how}",
            fd,
            "NULL" if mask is None else symbols.epolled(mask),
        )
        self._recorder.call("epoll_ctl", asked, do, fd=fd)

    def register(self, fd: int, mask: int, /) -> None:
        self._control("ADD", fd, mask, lambda: self._epoll.register(fd, mask))

    def modify(self, fd: int, mask: int, /) -> None:
        self._control("MOD", fd, mask, lambda: self._epoll.modify(fd, mask))

    def unregister(self, fd: int, /) -> None:
        self._control("DEL", fd, None, lambda: self._epoll.unregister(fd))

    def poll(self, timeout: float | None = None, maxevents: int = -1, /) -> list[tuple[int, int]]:
        most = 1023 if maxevents < 0 else maxevents  # FD_SETSIZE - 1, as Python has it
        return self._recorder.call(
            "epoll_wait",
            (self.fileno(), "events", most, -1 if timeout is None else milliseconds(timeout)),
            lambda: self._epoll.poll(timeout, maxevents),
            returned=len,
            gave=lambda ready: ", ".join(f"{fd} {symbols.epolled(mask)}" for fd, mask in ready),
        )

    def close(self) -> None:
        if not self._epoll.closed:
            self._recorder.call("close", (self.fileno(),), self._epoll.close)

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
