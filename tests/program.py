"""The running program, as tests start it: `python -m meari` in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
import typing
from collections.abc import Callable, Sequence
from pathlib import Path

from meari import Address

MEARI = [sys.executable, "-m", "meari"]


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a state, and fail if it does not come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.005)


def status(pid: int, field: str) -> int:
    """A number of /proc/PID/status."""
    found = re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found is not None
    return int(found[1])


def children(pid: int) -> list[int]:
    """The processes that *pid* started and has not waited for, zombies too."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found


def family(pid: int) -> list[int]:
    """*pid* and everything below it."""
    found = [pid]
    for one in found:
        found += children(one)
    return found


def alive(pid: int) -> bool:
    """Whether it runs: one that has ended is only waited for, by whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def own_memory(pid: int) -> int:
    """Resident bytes that belong to *pid* alone: Private_* of smaps_rollup."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.M)) * 1024


class Serving:
    """A running `meari serve`, or another *command*, from when it listens; stopped at the end of
    the block.
    """

    def __init__(
        self,
        *options: str,
        command: Sequence[str] = ("serve",),
        address: str = "127.0.0.1:0",
        descriptors: int | None = None,
        **popen: typing.Any,
    ) -> None:
        def limit() -> None:
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        self.process = subprocess.Popen(
            [*MEARI, *command, *options, address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=limit,
            **popen,
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout
        self.lines: list[str] = []
        self._kept = b""
        try:
            self.wait_for(r"listening on|network.local.address")
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise
        found = re.search(r"(tcp|tls|https?)://\S+:(\d+)", "\n".join(self.lines))
        self.port = int(found[2]) if found else 0
        self.address = (
            Address("127.0.0.1", self.port, found[1]) if found else Address.parse(address)
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def read(self, timeout: float = 0.0) -> bool:
        """Take what it has printed; False at the end of it."""
        if not select.select([self.out], [], [], timeout)[0]:
            return True
        data = os.read(self.out.fileno(), 1 << 20)
        *lines, self._kept = (self._kept + data).split(b"\n")
        self.lines += [line.decode() for line in lines]
        return bool(data)

    def wait_for(self, pattern: str, seconds: float = 10.0) -> str:
        """The first line printed, so far or from now on, that *pattern* is found in."""
        end = time.monotonic() + seconds
        seen = 0
        while True:
            for line in self.lines[seen:]:
                seen += 1
                if re.search(pattern, line):
                    return line
            more = time.monotonic() < end and self.read(0.05)
            assert more or len(self.lines) > seen, (
                f"{pattern!r} not in {self.lines[-20:]}, {self._errors()}"
            )

    def _errors(self) -> str:
        """What it said on standard error, if it has ended, or is about to."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        return (
            ""
            if self.process.poll() is None or self.process.stderr is None
            else self.process.stderr.read().decode()
        )

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Send the signal, wait for its end, take all it printed: its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.finish(seconds)

    def finish(self, seconds: float = 40.0) -> int:
        """Wait for its end, and take all it printed: its exit code."""
        end = time.monotonic() + seconds
        while self.read(0.05):
            assert time.monotonic() < end, "it does not end"
        return self.process.wait(seconds)

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.communicate(timeout=40)
            except subprocess.TimeoutExpired:
                for pid in reversed(family(self.pid)):
                    os.kill(pid, signal.SIGKILL)
        _, errors = self.process.communicate()
        assert b"Traceback" not in errors, errors.decode()


def run(
    *words: str, data: bytes = b"", timeout: float = 60.0, **more: typing.Any
) -> subprocess.CompletedProcess[bytes]:
    """Run the program to its end."""
    return subprocess.run(
        [*MEARI, *words], input=data, capture_output=True, timeout=timeout, check=False, **more
    )
