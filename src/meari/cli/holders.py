"""The processes that hold a port (proc(5): /proc/net/tcp, and the descriptors of each process)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_LISTEN = "0A"  # the state LISTEN in /proc/net/tcp


def listening_inodes(port: int) -> set[str]:
    """The sockets that listen on *port* of any address."""
    found = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/net/{table}") as rows:
            for row in rows:
                fields = row.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def holders(port: int) -> list[tuple[int, str]]:
    """The (process id, command) of each process with a listener on *port*, as far as we may
    see it.
    """
    inodes = listening_inodes(port)
    found = []
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        with contextlib.suppress(OSError):
            if any(_link(fd) in inodes for fd in (process / "fd").iterdir()):
                command = (
                    (process / "cmdline")
                    .read_bytes()
                    .replace(b"\0", b" ")
                    .decode(errors="replace")
                    .strip()
                )
                found.append((int(process.name), command))
    return sorted(found)


def _link(fd: Path) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(fd)
    return ""
