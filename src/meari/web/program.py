"""One run of a CGI program: the request's body to its standard input, its output to the client.

Both directions are streamed with backpressure: the client is read only as fast as the program
reads, and the program only as fast as the client. The program leads a process group, which is
killed when its output has ended, at the time limit, or when the client is gone. (A process
that leaves the group by setsid(2) is not killed. After SIGKILL of the server nothing is.)
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import signal
import subprocess
import threading
import time
import typing
from collections.abc import Callable

from ..errors import MeariError
from ..wire.request import HttpError
from .exchange import Exchange
from .response import Response

_PIECE = 65536
_HEAD = 65536  # bytes of a program's header
_SAID = 65536  # bytes of its standard error that are logged
_LINE = 1000
# Seconds for a program to end by itself after the end of its output.
_GRACE = 1.0
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*)")
_OURS = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "server", "upgrade"})
_LACK = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


class Program(Exchange):
    """Runs *file* with *environment*, for *seconds* at most. *running* has a place for it, or 503.

    *say* gets lines for the log, which begin with *name*.
    """

    def __init__(
        self,
        file: bytes,
        environment: dict[bytes, bytes],
        seconds: float,
        running: threading.Semaphore,
        name: str,
        say: Callable[[str], None],
    ) -> None:
        self._file, self._environment, self._name = file, environment, name
        self._limit, self._until = seconds, time.monotonic() + seconds
        self._running, self._say = running, say
        self._process: subprocess.Popen[bytes] | None = None
        self._input = self._output = self._errors = self._ended = -1
        self._epoll: select.epoll | None = None
        self._pending = bytearray()  # of the request's body
        self._complete = False  # the body is
        self._took = False  # the last read of its output returned bytes
        self._head = bytearray()
        self._left: int | None = None  # remaining bytes of the body, if Content-Length is known
        self._said = bytearray()  # an incomplete line of its standard error
        self._heard = 0

    def start(self) -> bytes:
        if not self._running.acquire(blocking=False):
            raise HttpError(503, "too many programs are running")
        try:
            self._process = process = subprocess.Popen(
                [self._file],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=os.path.dirname(self._file),
                env=self._environment,
                close_fds=False,  # every descriptor of ours is closed by exec
                process_group=0,
            )
            assert process.stdin and process.stdout and process.stderr
            self._input, self._output = process.stdin.fileno(), process.stdout.fileno()
            self._errors = process.stderr.fileno()
            for fd in (self._input, self._output, self._errors):
                os.set_blocking(fd, False)
            self._epoll = select.epoll()
            self._epoll.register(self._output, select.EPOLLIN)
            self._epoll.register(self._errors, select.EPOLLIN)
            self._ended = os.pidfd_open(process.pid)
            self._epoll.register(self._ended, select.EPOLLIN)
            self.watch = self._epoll.fileno()
        except OSError as error:
            if self._process is None:
                self._running.release()
            self._close()
            lack = error.errno in _LACK
            self._tell(f"cannot be run: {os.strerror(error.errno or 0)}")
            raise HttpError(503 if lack else 500, "the program cannot be run") from None
        self._settle()
        return b""

    def receive(self, data: bytes, /) -> bytes:
        if self._input >= 0:
            self._pending += data
            self._feed()
        self._settle()
        return b""

    def end(self) -> bytes:
        self._complete = True
        self._feed()
        self._settle()
        return b""

    def more(self) -> bytes:
        return self.ready()

    def ready(self) -> bytes:
        assert self._epoll is not None
        out, over = b"", False
        for fd, _ in self._epoll.poll(0):
            if fd == self._input:
                self._feed()
            elif fd == self._output:
                out = self._read()
            elif fd == self._errors:
                self._hear()
            else:
                over = True
        if over and not out:
            # Its children may keep the pipe open: the bytes in the pipe are the rest of the output.
            out = self._read() if self._output >= 0 else b""
            if not out and not self._took:
                self._finish()
        self._settle()
        return out

    def wake(self) -> bytes:
        if self._output < 0:  # the output has ended, the program has not
            self._tell("killed: it did not end after its output had")
            self._finish()
            return b""
        self._tell(f"killed after {self._limit:g} s")
        if self.response is None:
            raise HttpError(504, f"the program took more than {self._limit:g} s")
        raise MeariError(f"{self._name} took more than {self._limit:g} s")

    def _settle(self) -> None:
        self.reads = not self._pending
        self.within = max(0.0, self._until - time.monotonic())

    def _feed(self) -> None:
        """Write pending input as far as the pipe accepts it."""
        fd, epoll = self._input, self._epoll
        if fd < 0 or epoll is None:
            return
        watched = not self.reads
        try:
            while self._pending:
                del self._pending[: os.write(fd, self._pending)]
        except BlockingIOError:
            if not watched:
                epoll.register(fd, select.EPOLLOUT)
            return
        except OSError:  # it reads no more: the rest of the body is discarded
            self._pending.clear()
            self._complete = True
        if watched:
            epoll.unregister(fd)
        if self._complete:
            self._close_input()

    def _close_input(self) -> None:
        assert self._process is not None
        self._input = _close(self._process.stdin)

    def _read(self) -> bytes:
        """Return the next piece of the response body."""
        assert self._epoll is not None and self._process is not None
        self._took = False
        try:
            data = os.read(self._output, _PIECE)
        except BlockingIOError:
            return b""
        self._took = bool(data)
        if not data:
            self._epoll.unregister(self._output)
            self._output = _close(self._process.stdout)
            self._until = time.monotonic() + _GRACE
            return b""
        if self.response is None:
            data = self._take_head(data)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return data

    def _take_head(self, data: bytes) -> bytes:
        """The beginning of the body, once the header is complete. Raises HttpError."""
        self._head += data
        end = re.search(rb"\r?\n\r?\n", self._head[:_HEAD])
        if end is None:
            if len(self._head) > _HEAD:
                raise HttpError(502, "the program's header is too long")
            return b""
        self.response = parse_head(self._head[: end.start()].decode("latin-1"))
        if self.response.framing == "length":
            self._left = self.response.count
        rest = bytes(self._head[end.end() :])
        self._head.clear()
        return rest

    def _hear(self) -> None:
        """Log the lines that are complete."""
        assert self._epoll is not None and self._process is not None
        try:
            data = os.read(self._errors, _PIECE)
        except BlockingIOError:
            return
        if not data:
            self._epoll.unregister(self._errors)
            self._errors = _close(self._process.stderr)
        room, self._heard = max(0, _SAID - self._heard), self._heard + len(data)
        self._said += data[:room]
        *lines, rest = re.split(rb"\n", self._said)
        if rest and (not data or len(rest) > _LINE or self._heard >= _SAID):
            lines, rest = [*lines, rest], b""
        self._said = bytearray(rest)
        for line in lines:
            self._tell(line[:_LINE].decode("utf-8", "replace"))
        if room and self._heard >= _SAID:
            self._tell("more on its standard error is not logged")

    def _finish(self) -> None:
        """The program has ended, or has to."""
        if self._errors >= 0:
            self._hear()
        code = self._close()
        if code and code != -signal.SIGKILL:
            self._tell(f"exit status {code}" if code > 0 else f"ended by signal {-code}")
        if self.response is None:
            raise HttpError(502, "the program ended before its header did")
        if self._left:
            raise MeariError(f"{self._name} ended {self._left:,} bytes short of its length")
        self.done = True

    def _tell(self, text: str) -> None:
        self._say(f"{self._name}: {text}")

    def _close(self) -> int | None:
        """End the program and its process group; its exit code. Any number of times."""
        process, self._process = self._process, None
        if self._epoll is not None:
            self._epoll.close()
            self._epoll, self.watch = None, None
        if self._ended >= 0:
            os.close(self._ended)
            self._ended = -1
        if process is None:
            return None
        # First: once it is reaped its group may be another's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout, process.stderr):
            _close(pipe)
        self._input = self._output = self._errors = -1
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            # A killed process ends soon, but not at once on a busy machine or in the middle of a
            # write to a disk: it is reaped without delaying the engine.
            threading.Thread(target=process.wait, name="reaper", daemon=True).start()
        self._running.release()
        return process.returncode

    def __del__(self) -> None:
        self._close()


def _close(pipe: typing.IO[bytes] | None) -> int:
    """Close one end of a pipe; -1."""
    if pipe is not None:
        pipe.close()
    return -1


def parse_head(text: str) -> Response:
    """The response that a program's header, without the empty line, stands for (RFC 3875, 6).

    Raises HttpError, 502.
    """
    headers: list[tuple[str, str]] = []
    status, length = "", ""
    for line in re.split(r"\r?\n", text):
        found = _HEADER.fullmatch(line)
        if found is None:
            raise HttpError(502, "the program's header is malformed")
        name, value = found[1], found[2].strip(" \t")
        if name.lower() == "status":
            status = value
        elif name.lower() == "content-length":
            length = value
        elif name.lower() not in _OURS:
            headers.append((name, value))
    names = {name.lower() for name, _ in headers}
    if not status:
        status = "302" if "location" in names else "200"
    if (
        not names & {"content-type", "location"}
        or re.fullmatch(r"[2-5]\d\d(\D.*)?", status) is None
    ):
        raise HttpError(502, "the program's header has no type, or no valid status")
    if length and re.fullmatch("[0-9]{1,18}", length) is None:
        raise HttpError(502, "the program's header has no valid length")
    if status.startswith("205"):  # which has no content (RFC 9110, 15.3.6)
        return Response(205, headers)
    if length:
        return Response(int(status[:3]), headers, count=int(length))
    return Response(int(status[:3]), headers, framing="chunked")
