"""What strace(1) saw of a run: the calls of each process, as they were made."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import typing
from pathlib import Path

import pytest

from .shared import once

NAMES = {
    "accept4": "accept",
    "recvfrom": "recv",
    "sendto": "send",
    "wait4": "waitpid",
    "clone": "fork",
    "clone3": "fork",
    "exit_group": "exit",
    "pselect6": "select",
    "rt_sigaction": "signal",
}
_TRACED = (
    "trace=%network,read,write,close,poll,select,pselect6,clone,clone3,fork,wait4,kill,"
    "exit_group,rt_sigaction"
)
_LINE = re.compile(r"^(\d+) +(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+|\?)(?: (E[A-Z]+))?.*$", re.S)


class Seen(typing.NamedTuple):
    """A call: *began* and *ended* are places in the one order in which strace saw all processes
    stop.

    That order holds, other than its times: a call begins only after strace has seen that it will,
    and has ended before strace sees that it has. The times of -ttt and -T leave out what strace
    takes to decode the arguments.
    """

    name: str
    arguments: str
    returned: int | None
    error: str | None
    began: int
    ended: int


@functools.cache
def traced(*words: str) -> tuple[dict[str, typing.Any], dict[int, list[Seen]]]:
    """The rows of `meari explain`, and the calls that strace saw of each process of that run."""
    return once("-".join(("traced", *words)), lambda: _trace(*words))


def _trace(*words: str) -> tuple[dict[str, typing.Any], dict[int, list[Seen]]]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace"
        command = ["strace", "-f", "-qq", "-s", "4", "-o", str(file), "-e", _TRACED]
        done = subprocess.run(
            [*command, sys.executable, "-m", "meari", "explain", *words],
            capture_output=True,
            timeout=120,
            check=False,
        )
        if b"PTRACE" in done.stderr:
            pytest.skip("the kernel forbids tracing here")
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout), _parsed(file.read_text(errors="replace"))


def _parsed(text: str) -> dict[int, list[Seen]]:
    found: dict[int, list[Seen]] = {}
    unfinished: dict[int, tuple[str, int]] = {}
    for at, line in enumerate(text.splitlines()):
        matched = _LINE.match(line)
        assert matched is not None, line
        pid, what, began = int(matched[1]), matched[2], at
        if what.startswith(("---", "+++")):
            continue
        if what.endswith("<unfinished ...>"):
            unfinished[pid] = (what.removesuffix("<unfinished ...>").rstrip(), at)
            continue
        if what.startswith("<..."):
            before, began = unfinished.pop(pid)
            what = before + what.partition("resumed>")[2]
        call = _CALL.match(what)
        if call is None:
            continue  # of a process that was killed in it
        name, arguments, returned, error = call.groups()
        number = None if returned == "?" else int(returned)
        seen = Seen(NAMES.get(name, name), arguments, number, error, began, at)
        found.setdefault(pid, []).append(seen)
    return found


_OF_SOCKETS = frozenset(
    [
        "bind",
        "listen",
        "accept",
        "connect",
        "recv",
        "send",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "getsockname",
        "getpeername",
        "close",
        "read",
        "write",
    ]
)


def of_program(calls: list[Seen], sockets: set[int]) -> list[Seen]:
    """Those of *calls* that the program made about its sockets and processes; *sockets* it has from
    its parent, kept up to date.

    Left out are what the resolver does (sockets of other kinds), what the recorder asks (TCP_INFO),
    and the getsockname by which Python looks at what accept gave.
    """
    found: list[Seen] = []
    accepted: int | None = None
    for call in calls:
        fd = int(call.arguments.partition(",")[0]) if call.name in _OF_SOCKETS else -1
        if call.name == "socket":
            if not call.arguments.startswith(("AF_INET, SOCK_STREAM", "AF_INET6, SOCK_STREAM")):
                continue
            sockets.add(call.returned or 0)
        elif call.name in _OF_SOCKETS:
            if fd not in sockets or "TCP_INFO" in call.arguments:
                continue
            if call.name == "getsockname" and fd == accepted:
                accepted = None
                continue
            if call.name == "close":
                sockets.discard(fd)
            if call.name == "accept" and call.returned is not None and call.returned >= 0:
                accepted = call.returned
                sockets.add(accepted)
        elif call.name == "poll":
            if not any(f"fd={each}," in call.arguments for each in sockets):
                continue
        elif call.name == "signal":
            if not re.match(r"SIG(PIPE|USR1), \{", call.arguments):
                continue
        elif call.name not in ("select", "fork", "waitpid", "kill", "exit"):
            continue
        found.append(call)
    return found
