"""The file of a Unix socket (unix(7)): bound with its mode, replaced if it is stale, removed if it
is ours.

A socket's file outlives the server that made it, and bind(2) then finds the name in use. Whether
somebody still listens there only a connect(2) can tell. Between that look and the bind another
server may come: so both are done under a lock on the directory (flock(2)), which every meari takes,
and which leaves no file behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from .address import Address
from .errors import ListenError

_PATIENCE = 5.0  # seconds for the lock: others hold it for some microseconds
_NAP = 0.01


@dataclass(frozen=True, slots=True)
class File:
    """The file at *path* that bind() made; the rest tells it from a later one, which may get the
    same inode.
    """

    path: str
    device: int
    inode: int
    made: int  # st_mtime_ns

    def remove(self) -> None:
        """Remove it, if it is still there; never one that another process has made since."""
        with contextlib.suppress(OSError, ListenError), _locked(self.path):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino, found.st_mtime_ns) == (
                self.device,
                self.inode,
                self.made,
            ):
                os.unlink(self.path)


def bind(sock: socket.socket, address: Address, mode: int, backlog: int) -> File | None:
    """Bind *sock* to the name of *address*, with *mode* if that is a file, and listen; None for an
    abstract name.

    A file on which nobody listens is replaced. The mode is set by umask(2), so that there is no
    moment with another; the umask is the whole process's for that moment. Raises ListenError.
    """
    name = address.socket_name()
    if name.startswith("\0"):
        try:
            sock.bind(name)
            sock.listen(backlog)
        except OSError as error:
            raise _failed(
                address, error, name if error.errno == errno.EADDRINUSE else None
            ) from None
        return None
    path = os.path.abspath(name)
    with _locked(path, address):
        _make_room(path, address)
        before = os.umask(0o777 & ~mode)
        try:
            sock.bind(name)
        except OSError as error:
            raise _failed(address, error) from None
        finally:
            os.umask(before)
        try:
            sock.listen(backlog)
            made = os.lstat(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise _failed(address, error) from None
        return File(path, made.st_dev, made.st_ino, made.st_mtime_ns)


def _make_room(path: str, address: Address) -> None:
    """Remove a stale socket. Raises ListenError for anything else that is there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed(address, error) from None
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(
            f"cannot listen on {address}: the file there is no socket", errno.EADDRINUSE
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:  # a server listens, and its queue is full
            raise _failed(address, OSError(errno.EADDRINUSE, "")) from None
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except OSError as error:
            raise _failed(address, error) from None
    raise _failed(address, OSError(errno.EADDRINUSE, ""), path)


def _failed(address: Address, error: OSError, held: str | None = None) -> ListenError:
    reason = os.strerror(error.errno or 0)
    if held is not None and (process := _listens_at(held)):
        reason += f"; held by process {process}"
    return ListenError(f"cannot listen on {address}: {reason}", error.errno)


def _listens_at(name: str) -> int:
    """Return the process that listens at *name* (SO_PEERCRED: the one that called listen); 0 if it
    is not known.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        probe.connect(name)
        process: int = struct.unpack(
            "3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )[0]
        return process
    return 0


@contextlib.contextmanager
def _locked(path: str, address: Address | None = None) -> Iterator[None]:
    """Hold the lock of the directory of *path*. Raises ListenError, for *address*."""
    try:
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _failed(address or Address(path, 0, "unix"), error) from None
    try:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise ListenError(
                        f"cannot listen on {address}: its directory is locked by another process"
                    ) from None
                time.sleep(_NAP)
        yield
    finally:
        os.close(directory)
