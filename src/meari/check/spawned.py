"""The far end as a process of ours: started, watched through /proc, and ended with everything that it started."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
import typing
from pathlib import Path

from ..errors import LocalError, Stopped, UsageError
from ..stop import Stop

_LISTEN = "0A"  # the state in /proc/net/tcp, as proc(5) has it
_START = 10.0  # seconds until it has to listen
_END = 0.5  # from SIGTERM to SIGKILL
_LOOK = 0.01
_SETTLED = 0.04  # without another listener
_MARK = "MEARI_SPAWNED"  # in the environment of all that is started
_TICKS = os.sysconf("SC_CLK_TCK")


def command(text: str) -> list[str]:
    """The words of a command with {port} in one of them. Raises UsageError."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--spawn {text!r}: {error}") from None
    if not any("{port}" in word for word in words):
        raise UsageError(
            f"--spawn {text!r}: {{port}} is missing, as in './echoserver {{port}}': where the server is to listen is put there"
        )
    return words


def free_port() -> int:
    """A port that nobody listens on, in either family, just now."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            if not listening(port):
                return port
    raise LocalError("no port is free")


class Spawned:
    """A server that was started with *words*, from when it listens on `port`; ended with the block.

    Raises LocalError if it does not listen, Stopped.
    """

    def __init__(self, words: list[str], stop: Stop) -> None:
        self.port = free_port()
        self._words = [word.replace("{port}", str(self.port)) for word in words]
        self._mark = f"{_MARK}={os.getpid()}-{self.port}-{time.monotonic_ns()}".encode()
        self._printed = os.fdopen(os.memfd_create("printed"), "w+b")
        try:
            self.process = self._start()
            self._await(stop)
        except BaseException:
            self.close()
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, _MARK: self._mark.decode().partition("=")[2]}
        try:  # a session of its own, so that its children can be ended with it
            return subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            raise LocalError(f"cannot start {self._words[0]}: {error.strerror}") from None

    def _await(self, stop: Stop) -> None:
        until = time.monotonic() + _START
        listeners: set[str] = set()
        settled = until
        while not listeners or time.monotonic() < settled:  # some listen on one address after the other
            now = listening(self.port)
            if now != listeners:
                listeners, settled = now, time.monotonic() + _SETTLED
            if not self.alive:
                raise LocalError(f"{shlex.join(self._words)} ended, {self.ending()}, before it listened on port {self.port}{self._last()}")
            if time.monotonic() > until:
                raise LocalError(f"{shlex.join(self._words)} did not listen on port {self.port} within {_START:g} s{self._last()}")
            if stop.wait(_LOOK):
                raise Stopped("stopped")

    def _last(self) -> str:
        """The last line that it printed."""
        self._printed.seek(max(0, self._printed.seek(0, os.SEEK_END) - 500))
        lines = self._printed.read().decode(errors="replace").split("\n")
        printed = [line for line in lines if line.strip()]
        return f": {printed[-1].strip()}" if printed else ""

    def again(self, stop: Stop, seconds: float) -> int | None:
        """Start a second one on the same port: its exit code, or None if it does not end within *seconds*."""
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

    def ending(self) -> str:
        """How it ended: "SIGPIPE", "exit code 1"; what it left behind is ended too.

        Raises LocalError if what was started has ended, and what it started has not: that goes on in the background.
        """
        left = [pid for pid in self._marked() if pid != self.process.pid and _state(pid) not in ("Z", "")]
        self._end(self.process)
        code = self.process.returncode
        if code == 0 and left:
            raise LocalError(f"{shlex.join(self._words)} puts itself in the background: it has to stay in the foreground to be watched")
        if code >= 0:
            return f"exit code {code}"
        return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"

    def _marked(self) -> list[int]:
        """It, and all that it started: they have its mark in their environment, whatever session they are in."""
        found = []
        for pid in filter(str.isdigit, _listed("/proc")):
            with contextlib.suppress(OSError):
                if self._mark in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(int(pid))
        return found

    # Watching

    def family(self) -> list[int]:
        """It, and all that it started, but those that have ended."""
        found = [self.process.pid]
        for pid in found:
            found += [child for child in _children(pid) if _state(child) not in ("Z", "")]
        return found

    def descriptors(self) -> int:
        """How many are open, in all its processes."""
        return sum(len(_listed(f"/proc/{pid}/fd")) for pid in self.family())

    def zombies(self) -> int:
        """How many of its children have ended and are not waited for."""
        return sum(_state(child) == "Z" for pid in self.family() for child in _children(pid))

    def memory(self) -> int:
        """Resident bytes, in all its processes, without the files that are mapped (RssAnon of proc(5))."""
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

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End it, its session, and whatever has the mark: asked first, and then not asked."""
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            until = time.monotonic() + _END
            while _runs(process) and time.monotonic() < until:
                time.sleep(_LOOK)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        if hasattr(self, "process"):
            self._end(self.process)
            for pid in self._marked():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        self._printed.close()

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listening(port: int) -> set[str]:
    """Who listens on *port*: told by /proc, since a connection to find out would be one that it serves."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in _read(f"/proc/net/{name}").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"{name} {fields[1]}")
    return found


def _runs(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has not ended. It is not waited for, so that its id, and that of its session, stay its own."""
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
    return [int(child) for task in _listed(f"/proc/{pid}/task") for child in _read(f"/proc/{pid}/task/{task}/children").split()]


def _state(pid: int) -> str:
    """The letter of proc(5): R, S, Z; "" for one that is gone."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2][:3].strip()[:1]
