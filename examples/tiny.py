"""The textbook's Tiny web server, whole (CS:APP 11.6, tiny.c): python tiny.py PORT

It serves the current directory: files, and the CGI programs in cgi-bin/. As the book's it is
iterative, speaks HTTP/1.0 and knows GET only. "Fixed" marks what the book's Tiny gets wrong. Two
limits stay, as in the book: one client at a time, and a CGI program holds up all others until it
ends.
"""

from __future__ import annotations

import mimetypes
import os
import select
import signal
import socket
import sys
import time
from html import escape
from pathlib import Path
from urllib.parse import unquote

from meari import MeariError, Rio, open_listeners

MAXLINE = 8192
MAXHEADERS = 100
PATIENCE, LENGTH = 10.0, 60.0  # seconds for a client's request, and for the response
ROOT = Path.cwd()


def doit(rio: Rio) -> None:
    """One transaction: a request and its response."""
    request = rio.readline(MAXLINE).decode("latin-1")
    if not request:  # Fixed: a browser connects ahead of time, and may close without a request
        return
    print(request.rstrip(), flush=True)
    words = request.split()
    if len(words) != 3:
        clienterror(rio, request, "400", "Bad Request", "Tiny could not parse the request line")
        return
    method, uri, _ = words
    if method != "GET":
        clienterror(rio, method, "501", "Not Implemented", "Tiny does not implement this method")
        return
    if not read_requesthdrs(rio):
        return
    rio.deadline = time.monotonic() + LENGTH
    filename, cgiargs = parse_uri(uri)
    if filename is None or not os.path.exists(filename):  # Fixed: also if the name is too long
        clienterror(rio, uri, "404", "Not Found", "Tiny could not find this file")
    elif not filename.is_file() or not os.access(filename, os.R_OK if cgiargs is None else os.X_OK):
        clienterror(rio, uri, "403", "Forbidden", "Tiny is not permitted to read or run this file")
    elif cgiargs is None:
        serve_static(rio, filename)
    else:
        serve_dynamic(rio, filename, cgiargs)


def read_requesthdrs(rio: Rio) -> bool:
    """Read the headers and ignore them; False if they are incomplete or too many."""
    for _ in range(MAXHEADERS):
        line = rio.readline(MAXLINE)
        if line in (b"\r\n", b"\n"):  # Fixed: a line may end with LF alone
            return True
        if not line:  # Fixed: at end of file the book's loop spins for ever
            return False
    return False


def parse_uri(uri: str) -> tuple[Path | None, str | None]:
    """The file, None if there can be none; and for a CGI program its arguments."""
    path, _, arguments = uri.partition("?")
    path = unquote(path)
    if not path.startswith("/") or "\0" in path:
        return None, None
    is_cgi = path.startswith("/cgi-bin/")
    filename = Path(os.path.realpath(f"{ROOT}{path}{'home.html' if path.endswith('/') else ''}"))
    # Fixed: "..", "%2e%2e" and links lead out of the directory.
    if not filename.is_relative_to(ROOT / "cgi-bin" if is_cgi else ROOT):
        return None, None
    return filename, arguments if is_cgi else None


def serve_static(rio: Rio, filename: Path) -> None:
    kind, _ = mimetypes.guess_type(filename.name)
    with filename.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        respond(rio, "200 OK", kind or "text/plain", size)
        # Fixed: the book maps the file, which an empty one does not permit (mmap(2), EINVAL).
        rio.sendfile(file.fileno(), 0, size)


def serve_dynamic(rio: Rio, filename: Path, cgiargs: str) -> None:
    rio.writen(b"HTTP/1.0 200 OK\r\nServer: Tiny Web Server\r\n")
    if (child := os.fork()) == 0:
        try:
            # Python ignores SIGPIPE, and a program would inherit that (execve(2)).
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.dup2(rio.sock.fileno(), 1)
            os.execve(filename, [str(filename)], os.environ | {"QUERY_STRING": cgiargs})
        finally:
            os._exit(127)
    os.waitpid(child, 0)


def clienterror(rio: Rio, cause: str, code: str, short: str, long: str) -> None:
    # Fixed: the request is shown escaped; a link to this page could run a script otherwise.
    body = f"<html><title>Tiny Error</title><p>{code}: {short}<p>{long}: {escape(cause.strip())}"
    data = f"{body}<hr><em>The Tiny web server</em></html>\n".encode()
    respond(rio, f"{code} {short}", "text/html; charset=utf-8", len(data))
    rio.writen(data)


def respond(rio: Rio, status: str, kind: str, size: int) -> None:
    """Send the status line and the headers."""
    headers = f"Connection: close\r\nContent-length: {size}\r\nContent-type: {kind}\r\n"
    rio.writen(f"HTTP/1.0 {status}\r\nServer: Tiny Web Server\r\n{headers}\r\n".encode())


def serve(sock: socket.socket) -> None:
    """Serve one client. Its errors are its own: the server goes on with the next."""
    # Fixed: a client that sends nothing holds the book's server for ever.
    with Rio(sock, deadline=time.monotonic() + PATIENCE) as rio:
        try:
            # Fixed: a client that has gone. The book's server dies of SIGPIPE, which Python
            # ignores: the write raises BrokenPipeError, an OSError.
            doit(rio)
            # Fixed: a close with unread bytes is a reset, which can overtake the response.
            rio.shutdown()
            rio.deadline = time.monotonic() + 1
            while rio.read():
                pass
        except (OSError, MeariError) as error:
            print(f"the connection ended: {error}", flush=True)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} <port>")
    try:
        listeners = open_listeners(sys.argv[1])  # Open_listenfd, in every family
    except MeariError as error:
        sys.exit(f"tiny: {error}")
    while True:
        ready, _, _ = select.select(listeners, [], [])
        for listener in ready:
            if accepted := listener.accept():  # Accept
                sock, peer = accepted
                host, port = socket.getnameinfo((peer.host or "", peer.port), 0)  # Getnameinfo
                print(f"Accepted connection from ({host}, {port})", flush=True)
                serve(sock)


if __name__ == "__main__":
    main()
