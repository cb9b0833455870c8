"""CGI (RFC 3875): a request -> a program and its environment; the program's header -> a response.

The environment is made here and nothing of the server's own is in it. Differences from the RFC: a
request without Content-Length, but with a body, gets 411; Location with a path is a redirect of the
client; no argument is ever passed, and "nph-" means nothing.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from ..wire.protocol import Connection
from ..wire.request import Request
from .conversation import Answer
from .exchange import Exchange
from .files import PROGRAMS
from .program import Program
from .response import Response, error

_PATH = "/usr/local/bin:/usr/bin:/bin"
# At once, in one process.
_PROGRAMS = 100
# Header names with an underscore are left out: "X_A" would pass for "X-A". Proxy would become
# HTTP_PROXY, which many programs take for the proxy of their own requests (httpoxy).
_NAME = re.compile(rb"[A-Za-z0-9-]+")
_KEPT_BACK = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH", "PROXY", "AUTHORIZATION", "CONNECTION"})


class Cgi:
    """Runs the programs in cgi-bin/ of the directory *root*; everything else goes to *files*.

    A program has *seconds*; lines of its standard error, and how it failed, go to *say*.
    """

    def __init__(
        self, root: str, files: Answer, *, seconds: float, say: Callable[[str], None]
    ) -> None:
        self._root = os.fsencode(os.path.realpath(root))
        self._files, self._seconds, self._say = files, seconds, say
        self._running = threading.Semaphore(_PROGRAMS)

    def __call__(self, request: Request, connection: Connection) -> Response | Exchange:
        target, _, query = request.target.partition("?")
        path = unquote_to_bytes(target)
        if not path.startswith(PROGRAMS):
            return self._files(request, connection)
        if request.method not in ("GET", "HEAD", "POST"):
            allowed = ("Allow", "GET, HEAD, POST")
            return error(405, "a program has GET, HEAD and POST only", request, allowed)
        if request.values(b"transfer-encoding"):
            return error(411, "a program has to know the length of its input", request)
        if b"\0" in path or b".." in path.split(b"/"):
            return error(400, "the request target is malformed", request)
        found = self._find(path)
        if found is None:
            return error(404, "there is no such program", request)
        file, rest = found
        if not os.access(file, os.X_OK):
            return error(403, "this file is not executable", request)
        script = path[: len(path) - len(rest)]
        environment = _environment(request, connection, query, script, rest)
        name = script.decode("utf-8", "replace")
        return Program(file, environment, self._seconds, self._running, name, self._say)

    def _find(self, path: bytes) -> tuple[bytes, bytes] | None:
        """The file of the program, and the rest of *path*: the first part that is a file decides.

        None if there is none, or if a link leads out of the directory.
        """
        directory = self._root.rstrip(b"/") + PROGRAMS
        end = len(PROGRAMS)
        while end < len(path):
            end = path.find(b"/", end) if b"/" in path[end:] else len(path)
            file = os.path.realpath(self._root + path[:end])
            if not file.startswith(directory):
                return None
            try:
                kind = os.stat(file).st_mode
            except OSError:
                return None
            if stat.S_ISREG(kind):
                return file, path[end:]
            end += 1
        return None


def no_cgi(files: Answer) -> Answer:
    """Without CGI: a program is not run, and not shown either."""

    def answer(request: Request, connection: Connection) -> Response | Exchange:
        target = request.target
        if ("cgi-bin" in target or "%" in target) and unquote_to_bytes(target).startswith(PROGRAMS):
            return error(403, "programs are run only with --cgi", request)
        return files(request, connection)

    return answer


def _environment(
    request: Request, connection: Connection, query: str, script: bytes, rest: bytes
) -> dict[bytes, bytes]:
    """The variables of RFC 3875, section 4.1, and no others but PATH and HTTPS."""
    secure = connection.tls is not None
    host = b"".join(request.values(b"host")) or b"localhost"
    name, colon, port = host.rpartition(b":")
    if not colon or not port.isdigit():
        name, port = host, b"443" if secure else b"80"
    found = {
        "GATEWAY_INTERFACE": b"CGI/1.1",
        "PATH": _PATH.encode(),
        "QUERY_STRING": query.encode(),
        "REMOTE_ADDR": (connection.peer.host or "").encode(),
        "REQUEST_METHOD": request.method.encode(),
        "SCRIPT_NAME": script,
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{request.version}".encode(),
        "SERVER_SOFTWARE": b"meari",
    }
    if secure:
        found["HTTPS"] = b"on"
    if rest:
        found["PATH_INFO"] = rest
    for variable in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        values = request.values(variable.lower().replace("_", "-").encode())
        if values:
            found[variable] = values[0]
    for header, value in request.headers:
        variable = header.decode("latin-1").upper().replace("-", "_")
        if _NAME.fullmatch(header) is None or variable in _KEPT_BACK:
            continue
        variable, value = f"HTTP_{variable}", value.strip(b" \t")
        if variable in found:  # one header, by RFC 9110, 5.2
            value = found[variable] + (b"; " if variable == "HTTP_COOKIE" else b", ") + value
        found[variable] = value
    return {key.encode("latin-1"): value for key, value in found.items()}
