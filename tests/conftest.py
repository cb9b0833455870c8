"""Fixtures, and the rule that every test is held to: what it opened or started is gone when it
ends.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from meari import Stop
from meari.listeners import open_listeners

from . import shared
from .program import children

# A shell that starts us in the background lets us ignore Ctrl-C, and every program that a test
# starts would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
# A user's standard output is buffered: what fails at the end of a program fails here too.
os.environ.pop("PYTHONUNBUFFERED", None)
# Programs that tests start, hundreds of times, are not to be compiled at each start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A busy machine lets an example take any time; pytest-timeout limits the whole test.
settings.register_profile("meari", deadline=None)
settings.load_profile("meari")


def descriptors() -> dict[int, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the one that listed them
    return found


@pytest.fixture(autouse=True, scope="session")
def one_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """pytest-xdist gives each of its processes a folder of its own in the run's."""
    folder = tmp_path_factory.getbasetemp()
    shared.use(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)


@pytest.fixture(autouse=True)
def nothing_left_over(tmp_path: Path) -> Iterator[None]:
    """No descriptor, child process or thread outlives a test."""
    before, threads = descriptors(), threading.active_count()
    yield
    until = time.monotonic() + 5
    while time.monotonic() < until and (
        threading.active_count() > threads or children(os.getpid())
    ):
        time.sleep(0.01)
    assert threading.active_count() <= threads, [t.name for t in threading.enumerate()]
    assert not children(os.getpid())
    assert {fd: what for fd, what in descriptors().items() if fd not in before} == {}


@pytest.fixture
def stop() -> Iterator[Stop]:
    made = Stop()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one TCP connection."""
    (listener,) = open_listeners("127.0.0.1:0")
    near = socket.create_connection((listener.address.host or "", listener.address.port))
    accepted = listener.accept()
    assert accepted is not None
    listener.close()
    far = accepted[0]
    far.setblocking(True)
    yield near, far
    near.close()
    far.close()
