"""Tiny's static files (CS:APP 11.6, serve_static): a request -> a response.

Every file that is opened is in the directory: the kernel's name for the open descriptor decides,
after all links are followed, so that no ".." and no link leads out, and nothing can be exchanged
between the check and the read.
"""

from __future__ import annotations

import contextlib
import errno
import mimetypes
import os
import stat
import time
from email.utils import parsedate_to_datetime
from functools import lru_cache
from html import escape
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ..errors import LocalError
from ..wire.protocol import Connection
from ..wire.request import Request
from .response import File, Response, date, error

PROGRAMS = b"/cgi-bin/"
_KEPT = 256  # small files
_SETTLED = 1.0  # seconds since the last change
# Seconds until a kept file is opened again: a change through mmap(2) may leave its times alone, and
# a directory above it may be a link now.
_TRUSTED = 1.0
_CONDITIONS = frozenset({b"if-none-match", b"if-modified-since", b"range"})
_SMALL = 16384  # bytes of a file that is sent together with its head
_INDEX = b"index.html"
_LACK = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})


class Files:
    """Answers with the files of the directory *root*; *listing*: directories show their names.

    Raises LocalError if /proc is not mounted.
    """

    def __init__(self, root: str, *, listing: bool = False) -> None:
        if not os.path.exists("/proc/self/fd"):
            raise LocalError("/proc is not mounted: it has the names of open files")
        self._root = os.fsencode(os.path.realpath(root))
        self._inside = self._root.rstrip(b"/") + b"/"
        self._programs = self._root.rstrip(b"/") + PROGRAMS  # their source is not served
        self._listing = listing
        # Cache of small files, by target: their stat, path and response, and the end of its
        # validity.
        self._kept: dict[str, tuple[_Known, bytes, Response, float]] = {}

    def __call__(self, request: Request, _connection: Connection) -> Response:
        if request.method not in ("GET", "HEAD"):
            return error(405, "this server has GET and HEAD only", request, ("Allow", "GET, HEAD"))
        if (kept := self._kept.get(request.target)) is not None and not _CONDITIONS & request.names:
            with contextlib.suppress(OSError):
                if time.monotonic() < kept[3] and _known(os.stat(kept[1])) == kept[0]:
                    return kept[2]
        path = _path(request.target)
        if path is None:
            return error(400, "the request target is malformed", request)
        try:
            file = self._open(path)
            if file is None:
                return error(404, "there is no such file", request)
            found = os.fstat(file.fd)
            if stat.S_ISDIR(found.st_mode):
                return self._directory(request, path)
        except OSError as lack:
            return error(503, f"no file can be opened: {os.strerror(lack.errno or 0)}", request)
        if not stat.S_ISREG(found.st_mode):
            return error(403, "this is not a file", request)
        return self._file(request, path, file, found)

    def _file(self, request: Request, path: bytes, file: File, found: os.stat_result) -> Response:
        response = _file(request, path, file, found)
        # A file that has just been changed may be changed again within the same tick of its times.
        if response.body and response.status == 200 and time.time() - found.st_ctime > _SETTLED:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            until = time.monotonic() + _TRUSTED
            self._kept[request.target] = _known(found), self._root + path, response, until
        return response

    def _open(self, path: bytes) -> File | None:
        """The file at *path*; None if there is none in the directory.

        Raises OSError if this machine has no resources for it.
        """
        try:
            # O_NONBLOCK: a FIFO without a writer would block the whole server.
            fd = os.open(self._root + path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as failed:
            if failed.errno in _LACK:
                raise
            return None
        file = File(fd)
        real = os.readlink(b"/proc/self/fd/%d" % fd) + b"/"
        inside = real.startswith(self._inside) and not real.startswith(self._programs)
        return file if inside else None

    def _directory(self, request: Request, path: bytes) -> Response:
        if not path.endswith(b"/"):
            # One slash at the front: //host/ would lead to another server.
            where = "/" + quote_from_bytes(path).strip("/") + "/"
            return Response(301, [("Location", where)])
        index = self._open(path + _INDEX)
        if index is not None and stat.S_ISREG((found := os.fstat(index.fd)).st_mode):
            return self._file(request, path + _INDEX, index, found)
        if not self._listing:
            return error(403, "this directory has no index.html", request)
        try:
            return _list(path, os.listdir(self._root + path))
        except PermissionError:
            return error(403, "this directory cannot be read", request)


# Device, inode, size, mtime and ctime: a change of the file changes one of them.
_Known = tuple[int, int, int, int, int]


def _known(found: os.stat_result) -> _Known:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _path(target: str) -> bytes | None:
    """The path of the request target, decoded; None if it is malformed."""
    if target.startswith(("http://", "https://")):  # RFC 9112, 3.2.2
        target = "/" + target.split("//", 1)[1].partition("/")[2]
    target = target.partition("?")[0]
    path = unquote_to_bytes(target) if "%" in target else target.encode()
    return path if path.startswith(b"/") and b"\0" not in path else None


def _file(request: Request, path: bytes, file: File, found: os.stat_result) -> Response:
    # The time of its last status change too: a copy may bring the other one along (cp -p).
    etag = f'"{found.st_mtime_ns:x}-{found.st_ctime_ns:x}-{found.st_size:x}"'
    modified = date(int(found.st_mtime))
    headers = [("ETag", etag), ("Last-Modified", modified), ("Accept-Ranges", "bytes")]
    if _unchanged(request, etag, int(found.st_mtime)):
        return Response(304, headers)
    headers.append(("Content-Type", _kind(path)))
    headers.append(("X-Content-Type-Options", "nosniff"))
    size = found.st_size
    part = _part(request, size, etag, modified)
    if part is None and size <= _SMALL:
        # Cheaper than two system calls of its own. A file that is cut meanwhile is sent as it is.
        return Response(200, headers, os.pread(file.fd, size, 0))
    if part is None:
        return Response(200, headers, file=file, count=size)
    first, count = part
    if count <= 0:
        unit = ("Content-Range", f"bytes */{size}")
        return error(416, f"the file has {size:,} bytes", request, unit)
    headers.append(("Content-Range", f"bytes {first}-{first + count - 1}/{size}"))
    return Response(206, headers, file=file, offset=first, count=count)


@lru_cache(maxsize=4096)
def _kind(path: bytes) -> str:
    """The type of a file, by its name."""
    kind, coding = mimetypes.guess_type(os.fsdecode(path))
    kind = kind if kind is not None and coding is None else "application/octet-stream"
    return kind + "; charset=utf-8" * kind.startswith("text/")


def _unchanged(request: Request, etag: str, modified: int) -> bool:
    """True if the client has this very file (RFC 9110, 13.1)."""
    if tags := request.values(b"if-none-match"):
        known = [tag.strip().removeprefix(b"W/") for tag in b",".join(tags).split(b",")]
        return b"*" in known or etag.encode() in known
    for since in request.values(b"if-modified-since")[:1]:
        try:
            return modified <= parsedate_to_datetime(since.decode("latin-1")).timestamp()
        except (ValueError, OverflowError):
            return False
    return False


def _part(request: Request, size: int, etag: str, modified: str) -> tuple[int, int] | None:
    """The first byte and the number of bytes of a single range; a count of 0 or less: none of them
    is in the file. None: all of it is wanted (RFC 9110, 14).
    """
    ranges = request.values(b"range")
    if len(ranges) != 1 or request.method != "GET":
        return None
    if any(
        since.decode("latin-1") not in (etag, modified) for since in request.values(b"if-range")
    ):
        return None
    unit, _, wanted = ranges[0].partition(b"=")
    first, dash, last = (part.strip() for part in wanted.partition(b"-"))
    if unit.strip().lower() != b"bytes" or not dash or not (first + last).isdigit():
        return None
    if not first:
        count = min(_number(last), size)
        return size - count, count
    start, end = _number(first), _number(last) if last else size - 1
    return None if end < start and last else (start, min(end, size - 1) - start + 1)


def _number(digits: bytes) -> int:
    """Their value, or one that is greater than any file."""
    return int(digits.lstrip(b"0")[:20] or b"0")


def _list(path: bytes, names: list[bytes] | list[str]) -> Response:
    """The names of a directory as a page."""
    rows = "".join(
        f'<li><a href="./{quote_from_bytes(os.fsencode(name))}">'
        f"{escape(os.fsencode(name).decode('utf-8', 'replace'))}</a>\n"
        for name in sorted(names, key=os.fsencode)
    )
    title = escape(path.decode("utf-8", "replace"))
    head = f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{title}</title>"
    body = f"{head}<h1>{title}</h1><ul>\n{rows}</ul></html>\n"
    return Response(200, [("Content-Type", "text/html; charset=utf-8")], body.encode("utf-8"))
