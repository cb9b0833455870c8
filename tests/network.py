"""Two network namespaces of a test's own, and a path between them that may be long, lossy, out of
order, or cut.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import subprocess
import tempfile
import typing
from collections.abc import Sequence
from pathlib import Path

import pytest

from .program import MEARI, until

SOURCE = Path(__file__).parent / "network" / "path.c"
NEAR, FAR = "10.77.0.1", "10.77.0.2"
_numbers = itertools.count()
ENVIRONMENT = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="meari-path-")


@functools.cache
def _program() -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: apt-get install gcc")
    program = f"{_directory().name}/path"
    subprocess.run(
        [compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE], check=True
    )
    return program


class Network:
    """A near and a far namespace, NEAR and FAR their addresses; *options* are those of
    network/path.c.

    Programs that are started are ended with the block, and the namespaces with them.
    """

    def __init__(self, **options: float) -> None:
        self._options = [f"{name.rstrip('_')}={value}" for name, value in options.items()]
        number = f"{os.getpid()}-{next(_numbers)}"
        self.near, self.far = f"meari-near-{number}", f"meari-far-{number}"
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> typing.Self:
        if os.getuid() or not os.path.exists("/dev/net/tun"):
            pytest.skip("the kernel gives network namespaces and TUN devices to root alone")
        program = _program()
        try:
            for name in (self.near, self.far):
                subprocess.run(
                    ["ip", "netns", "add", name], check=True, capture_output=True, env=ENVIRONMENT
                )
            path = subprocess.Popen(
                [program, self.near, self.far, *self._options], stdout=subprocess.PIPE
            )
            self._started.append(path)
            assert path.stdout is not None and path.stdout.readline() == b"ready\n"
            path.stdout.close()
            for name, own, peer in ((self.near, NEAR, FAR), (self.far, FAR, NEAR)):
                for command in (
                    "link set lo up",
                    f"addr add {own} peer {peer} dev path",
                    "link set path mtu 1500 up",
                ):
                    subprocess.run(
                        ["ip", "-n", name, *command.split()],
                        check=True,
                        capture_output=True,
                        env=ENVIRONMENT,
                    )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in (self.near, self.far):
            subprocess.run(
                ["ip", "netns", "del", name], check=False, capture_output=True, env=ENVIRONMENT
            )

    def start(self, port: int, *words: str, **popen: typing.Any) -> subprocess.Popen[bytes]:
        """Start a program in the far namespace; return once *port* is listened on there."""
        process = subprocess.Popen(
            within(self.far, words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            **popen,
        )
        self._started.append(process)
        until(lambda: f":{port} " in self._listeners() or process.poll() is not None)
        assert process.poll() is None, words
        return process

    def serve(self, port: int = 7007, *options: str) -> subprocess.Popen[bytes]:
        """A far end of ours."""
        return self.start(port, *MEARI, "serve", "-q", *options, str(port))

    def run(
        self, *words: str, where: str = "near", timeout: float = 100.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the program to its end in the *near* or the *far* namespace."""
        name = self.near if where == "near" else self.far
        return subprocess.run(
            within(name, [*MEARI, *words]), capture_output=True, timeout=timeout, check=False
        )

    def _listeners(self) -> str:
        return subprocess.run(
            within(self.far, ["ss", "-ltn"]), capture_output=True, check=True
        ).stdout.decode()


def within(namespace: str, words: Sequence[str]) -> list[str]:
    """The command that runs *words* in a network namespace."""
    return ["nsenter", f"--net=/run/netns/{namespace}", *words]
