"""What the benchmarks share: building the C programs, starting servers on one core, loading them
from the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / ".bench" / "built"


def build() -> None:
    """Compile the C programs, if they have changed."""
    compiler = next(
        (found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None
    )
    if compiler is None:
        sys.exit("a C compiler is needed to build what is timed beside: apt-get install gcc")
    BUILT.mkdir(parents=True, exist_ok=True)
    for name in ("epoll_echo", "load", "ping"):
        source, target = HERE / f"{name}.c", BUILT / name
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            subprocess.run([compiler, "-O2", "-Wall", "-o", target, source], check=True)


def pinned(core: int, command: Sequence[object]) -> list[str]:
    """*command* on one core, if there are two."""
    cores = sorted(os.sched_getaffinity(0))
    return [*(["taskset", "-c", str(cores[core])] if len(cores) > 1 else []), *map(str, command)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server under test, on the first core, from when it listens; killed at the end."""

    def __init__(self, name: str, command: Sequence[object]) -> None:
        self.name = name
        self.port = free_port()
        words = [str(word).replace("PORT", str(self.port)) for word in command]
        # Some of the others print a traceback for each client that is gone; that they listen is
        # checked below.
        self.process = subprocess.Popen(
            pinned(0, words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.05)
        self.close()
        sys.exit(f"{name} does not listen on port {self.port}")

    def family(self) -> list[int]:
        """Its process, and all below it."""
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):  # a thread that has ended meanwhile
                    found += map(int, task.read_text().split())
        return found

    def busy(self) -> float:
        """Seconds of processor time, children counted, also those that have ended."""
        ticks = 0
        for pid in self.family():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Resident bytes, children counted."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.family())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Result:
    rate: float  # messages a second
    p50: float  # microseconds of the round trip
    p99: float
    cpu: float  # microseconds of the server's processor time a message


def load(
    server: Server, connections: int, size: int, seconds: float, rate: float | None = None
) -> Result:
    """Load *server* from the second core; with *rate*, an open loop."""
    before = server.busy()
    command = pinned(
        1,
        [
            BUILT / "load",
            server.port,
            connections,
            size,
            seconds,
            *([] if rate is None else [rate]),
        ],
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{server.name}: {done.stderr.strip()}")
    total, elapsed, p50, p99 = map(float, done.stdout.split())
    return Result(total / elapsed, p50, p99, (server.busy() - before) / total * 1e6)


def near(server: Server, address: str, connections: int, size: int, seconds: float) -> Result:
    """Load *server* by `meari load` from the second core, where the C load cannot: over TLS or
    WebSocket. It is slower than the servers, so the rates say little beside processor time.
    """
    words = [sys.executable, "-m", "meari", "load", address, "--json"]
    words += ["--insecure"] * address.startswith("tls")
    more = ["-c", connections, "-s", size, "-t", seconds]
    before = server.busy()
    done = subprocess.run(pinned(1, [*words, *more]), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{server.name}: meari load: exit code {done.returncode}: {done.stderr}")
    found = json.loads(done.stdout)
    trip = found["round_trip_us"]
    cpu = (server.busy() - before) / found["messages"] * 1e6
    return Result(found["messages_per_second"], trip["p50"], trip["p99"], cpu)
