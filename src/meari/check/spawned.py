"""A started server: watched through /proc, and ended together with all its descendants."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import threading
import time
import typing
from pathlib import Path

from ..errors import LocalError, Stopped, UsageError
from ..sockets import free_port
from ..stop import Stop
from .printed import Printed

START = 10.0  # seconds within which it has to listen
_LISTEN = "0A"  # the state in /proc/net/tcp, as proc(5) has it
_END = 0.5  # from SIGTERM to SIGKILL
_LOOK = 0.01
_SETTLED = 0.04  # without another listener
_MARK = "MEARI_SPAWNED"  # in the environment of every started process
_OPERATORS = set("|&;<>()")  # of a shell
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "busybox", "env", "stdbuf"})
_SAMPLES, _SAMPLE = 7, 0.015  # readings of its state, and the seconds between two
_EXIT_CODE = 49  # of the fields of /proc/PID/stat behind the name
_PR_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>
_TICKS = os.sysconf("SC_CLK_TCK")


def command(text: str, port: int | None = None) -> list[str]:
    """The words of a command: with {port} in one of them, or for a server that always listens on
    *port*.

    No shell interprets them: a word with shell syntax is a mistake. Raises UsageError.
    """
    try:
        words = shlex.split(text)
        operators = [
            word
            for word in shlex.shlex(text, posix=True, punctuation_chars=True)
            if set(word) <= _OPERATORS
        ]
    except ValueError as error:
        raise UsageError(f"--spawn {text!r}: {error}") from None
    if operators:
        raise UsageError(
            f"--spawn {text!r}: no shell reads this, and {operators[0]!r} needs one:"
            f" sh -c {shlex.quote(text)}"
        )
    if not any("{port}" in word for word in words) and port is None:
        raise UsageError(
            f"--spawn {text!r}: {{port}} is missing, as in './echoserver {{port}}': the port to"
            " listen on replaces it; a server that always listens on the same port: --port 8080"
        )
    if not words:
        raise UsageError("--spawn: a command was expected")
    return words


def adopt() -> None:
    """Make this process the parent of orphaned descendants, in whatever session they are
    (prctl(2)).

    Raises LocalError if /proc is not mounted: nothing can be watched without it.
    """
    if not os.path.exists("/proc/self/stat"):
        raise LocalError("/proc is not mounted: --spawn watches its server there")
    _others.update(_children(os.getpid()))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Spawned:
    """A server started with *words*, from the moment when it listens on `port`; ended with the
    block.

    It has *start* seconds to listen. Its standard input stays open and silent. Raises LocalError if
    it does not listen, Stopped.
    """

    def __init__(
        self, words: list[str], stop: Stop, *, port: int | None = None, start: float = START
    ) -> None:
        if port is not None and listening(port):
            raise LocalError(f"port {port} is in use already")
        self.port = free_port() if port is None else port
        self._words = [word.replace("{port}", str(self.port)) for word in words]
        self._limit = start
        self._mark = f"{_MARK}={os.getpid()}-{self.port}-{time.monotonic_ns()}".encode()
        # CS:APP's select.c (12.2) ends at end of file on standard input.
        self._silent = os.pipe2(os.O_CLOEXEC)
        self.printed = Printed()
        try:
            self.process = self._start()
            self._await(stop)
            self.language = self._language()
        except BaseException:
            self.close()
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, _MARK: self._mark.decode().partition("=")[2]}
        try:  # a session of its own, so that its children can be ended with it
            with _starting:
                process = subprocess.Popen(
                    self._words,
                    stdin=self._silent[0],
                    stdout=self.printed.write,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=environment,
                )
                _started.add(process.pid)
        except OSError as error:
            raise LocalError(f"cannot start {self._words[0]}: {error.strerror}") from None
        return process

    def _await(self, stop: Stop) -> None:
        until = time.monotonic() + self._limit
        listeners: set[str] = set()
        settled = until
        # Some servers listen on one address after the other.
        while not listeners or time.monotonic() < settled:
            now = listening(self.port)
            if now != listeners:
                listeners, settled = now, time.monotonic() + _SETTLED
            if not self.alive:
                raise LocalError(
                    f"{self} ended, {self.ending()[1]}, before it listened on port {self.port}"
                    f"{self._last()}"
                )
            if time.monotonic() > until:
                raise LocalError(
                    f"{self} did not listen on port {self.port} within {self._limit:g} s (--start)"
                    f"{self._last()}"
                )
            if stop.wait(_LOOK):
                raise Stopped("stopped")

    def __str__(self) -> str:
        return shlex.join(self._words)

    def _last(self) -> str:
        printed = self.printed.last()
        return f": {printed}" if printed else ""

    def again(self, stop: Stop, seconds: float) -> int | None:
        """Start a second one on the same port: its exit code, or None if it does not end within
        *seconds*.
        """
        second = self._start()
        try:
            until = time.monotonic() + seconds
            while _runs(second) and time.monotonic() < until:
                if stop.wait(_LOOK):
                    raise Stopped("stopped")
            return None if _runs(second) else second.wait()
        finally:
            self._end(second)

    @property
    def alive(self) -> bool:
        return self.process.returncode is None and _runs(self.process)

    def ending(self) -> tuple[int, str]:
        """The end of the server: its exit code, negative for a signal, and the same in words:
        "SIGPIPE", "exit code 1".

        Its descendants are ended too. Raises LocalError if the started process has ended but a
        process that it started has not: it continues in the background.
        """
        left = [
            pid
            for pid in self._marked()
            if pid != self.process.pid and _state(pid) not in ("Z", "")
        ]
        self._end(self.process)
        code = self.process.returncode
        if code == 0 and left:
            raise LocalError(
                f"{self} puts itself in the background: only in the foreground can it be watched"
            )
        if code >= 0:
            return code, f"exit code {code}"
        return code, signal.Signals(-code).name if -code in set(
            signal.Signals
        ) else f"signal {-code}"

    def _marked(self) -> list[int]:
        """The process, and all its descendants that kept its environment, in any session."""
        found = []
        for pid in filter(str.isdigit, _listed("/proc")):
            with contextlib.suppress(OSError):
                if self._mark in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(int(pid))
        return found

    # Watching

    def family(self) -> list[int]:
        """The server and its descendants that have not ended."""
        found = [self.process.pid]
        for pid in found:
            found += [child for child in _children(pid) if _state(child) not in ("Z", "")]
        return found

    def descriptors(self) -> int:
        """The number of open descriptors in all its processes."""
        return sum(len(_listed(f"/proc/{pid}/fd")) for pid in self.family())

    def zombies(self) -> int:
        """The number of its children that have ended and are not reaped."""
        return sum(_state(child) == "Z" for pid in self.family() for child in _children(pid))

    def memory(self) -> int:
        """Resident bytes of all its processes without mapped files (RssAnon of proc(5))."""
        total = 0
        for pid in self.family():
            for line in _read(f"/proc/{pid}/status").splitlines():
                if line.startswith("RssAnon:"):
                    total += int(line.split()[1]) * 1024
        return total

    def processor(self) -> float:
        """Seconds of processor time that it and its children took."""
        total = 0
        for pid in self.family():
            fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) if fields else 0
        return total / _TICKS

    def _language(self) -> str:
        """The language of the listening program, as far as its executable shows it: "c", "python",
        "node" or "java".
        """
        for pid in self.family():
            with contextlib.suppress(OSError):
                name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
                if name not in _SHELLS:
                    return next(
                        (known for known in ("python", "node", "java") if name.startswith(known)),
                        "c",
                    )
        return "c"

    def doing(self) -> str:
        """ "sleeps" or "spins": the state of a server that does not answer."""
        runnable = 0
        # By its state, not by its processor time: on a busy machine it may get little.
        for _ in range(_SAMPLES):
            time.sleep(_SAMPLE)
            tasks = [
                f"{pid}/task/{task}"
                for pid in self.family()
                for task in _listed(f"/proc/{pid}/task")
            ]
            runnable += any(_state(task) == "R" for task in tasks)
        return "spins" if runnable > _SAMPLES // 2 else "sleeps"

    def died_of(self, pid: int) -> int:
        """The signal that ended *pid*, a zombie; 0 if it exited or is no zombie."""
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        return int(fields[_EXIT_CODE]) & 0x7F if fields and fields[0] == "Z" else 0

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End it and its session: SIGTERM, then SIGKILL."""
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            until = time.monotonic() + _END
            while _runs(process) and time.monotonic() < until:
                time.sleep(_LOOK)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        _started.discard(process.pid)

    def close(self) -> None:
        if hasattr(self, "process"):
            self._end(self.process)
            for pid in self._marked():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            _end_adopted()
        self.printed.close()
        for fd in self._silent:
            os.close(fd)

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_started: set[int] = set()  # the running servers
_others: set[int] = set()  # our children from before adopt(): not descendants of a server
_starting = threading.Lock()


def _end_adopted() -> None:
    """End every process that a server left behind, in whatever session, once no server runs.

    Each is a child of ours (adopt()), and no other process is.
    """
    until = time.monotonic() + _END
    while time.monotonic() < until:
        # A server that another property starts meanwhile is not a left-over.
        with _starting:
            left = [] if _started else [pid for pid in _children(os.getpid()) if pid not in _others]
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        if not left:
            return
        time.sleep(_LOOK / 5)


def listening(port: int) -> set[str]:
    """The processes that listen on *port*, from /proc: a test connection would be one that the
    server serves.
    """
    found = set()
    for name in ("tcp", "tcp6"):
        for line in _read(f"/proc/net/{name}").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"{name} {fields[1]}")
    return found


def _runs(process: subprocess.Popen[bytes]) -> bool:
    """True if it has not ended.

    It is not reaped, so its process id and session id stay its own.
    """
    return _state(process.pid) not in ("Z", "")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:  # it has ended
        return ""


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in _listed(f"/proc/{pid}/task")
        for child in _read(f"/proc/{pid}/task/{task}/children").split()
    ]


def _state(pid: int | str) -> str:
    """The letter of proc(5) of a process, or of PID/task/TID: R, S, Z; "" for one that is gone."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2][:3].strip()[:1]
