"""The shared memory of a scene's parts (Board), and a part's reports to the stage (Reporter)."""

from __future__ import annotations

import json
import mmap
import os
import struct
import time
import typing
from collections.abc import Callable

from .row import Row

SLOTS = 8  # parts of a scene, at most
LOOK = 0.0005  # seconds from one look at the board to the next
# Process id, number of looks for a cue, name of the current call.
_SLOT = struct.Struct("iI24s")
_MARKS = 64


class Board:
    """The state of each part, visible to all."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * _SLOT.size + _MARKS)  # shared with forked processes

    def calls(self, slot: int, name: str) -> None:
        """The process of *slot* is in the call *name*; in none if that is empty."""
        _SLOT.pack_into(
            self._memory, slot * _SLOT.size, os.getpid(), self.looked(slot), name.encode()
        )

    def looks(self, slot: int) -> None:
        """The process of *slot* has looked for its cue once more."""
        pid, looked, name = _SLOT.unpack_from(self._memory, slot * _SLOT.size)
        _SLOT.pack_into(self._memory, slot * _SLOT.size, pid, looked + 1, name)

    def looked(self, slot: int) -> int:
        """The number of its looks."""
        return int(_SLOT.unpack_from(self._memory, slot * _SLOT.size)[1])

    def sleeps(self, slot: int, name: str) -> bool:
        """True if the process of *slot* is blocked in the call *name*."""
        return self.calling(slot) == name and state(self.process(slot)) == "S"

    def calling(self, slot: int) -> str:
        """The call of the process of *slot*; empty for none."""
        name: bytes = _SLOT.unpack_from(self._memory, slot * _SLOT.size)[2]
        return name.rstrip(b"\0").decode()

    def process(self, slot: int) -> int:
        return int(_SLOT.unpack_from(self._memory, slot * _SLOT.size)[0])

    def gone(self, slot: int) -> bool:
        """True if the process of *slot* has ended."""
        pid = self.process(slot)
        return pid != 0 and over(pid)

    def mark(self, number: int) -> None:
        self._memory[SLOTS * _SLOT.size + number] = 1

    def marked(self, number: int) -> bool:
        return bool(self._memory[SLOTS * _SLOT.size + number])

    def close(self) -> None:
        self._memory.close()


class Reporter:
    """Reports a part's calls to the stage: the sink of its recorder."""

    def __init__(self, board: Board, slot: int, fd: int, gates: list[tuple[int, int]]) -> None:
        self.board, self.slot = board, slot
        self._fd, self._gates = fd, gates

    def begin(self, row: Row) -> None:
        self.board.calls(self.slot, row.name)
        self._write("begin", row)

    def returned(self) -> None:
        self.board.calls(self.slot, "")

    def row(self, row: Row) -> None:
        self._write("row", row)
        if not os.read(self._gates[self.slot][0], 1):
            os._exit(1)  # the stage has gone

    def look(self, ready: Callable[[], bool]) -> None:
        """Wait for a cue. The stage's PATIENCE is the limit."""
        while not ready():
            self.board.looks(self.slot)
            time.sleep(LOOK)

    def failed(self, why: str) -> None:
        self._report({"failed": why[:1000]})

    def _write(self, what: str, row: Row) -> None:
        self._report({what: row.to_json(), "slot": self.slot})

    def _report(self, message: dict[str, typing.Any]) -> None:
        os.write(self._fd, json.dumps(message).encode() + b"\n")


def state(pid: int) -> str:
    """R, S, Z, ... as proc(5) has it; empty for none."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def over(pid: int) -> bool:
    """True if a process has ended, reaped or not."""
    return state(pid) in ("", "Z", "X")
