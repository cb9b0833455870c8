"""A scene on its stage: a process for each part, forked from this one, and what each recorded.

The parts give each other cues through memory that all share (a Board): what has been done, and which call each is in. A
part that waits for another to wait asks the kernel whether that one sleeps (proc(5), the state in /proc/PID/stat). So a
scene plays the same on a slow machine as on a fast one. Rows come through one pipe, each in one write(2), which a pipe
keeps whole up to PIPE_BUF.

They take turns: after each call a part waits until whoever asks for the steps wants the next, and until nothing else
happens any more. So what the kernel says just after a call is not yet what comes of the next; and while one is looked at,
nothing moves: the kernel can be asked by others (ss -tan), too.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import json
import os
import resource
import select
import signal
import time
import typing
from collections.abc import Callable, Iterator, Sequence

from ..errors import LocalError
from .board import LOOK, SLOTS, Board, Wire, over, state
from .recorder import Recorder, ended, ends
from .row import Row

PATIENCE = 10.0  # seconds without a row after which a scene is given up
_AWAY = 100  # the stage's own descriptors are from here on, so that a part's first socket is 3, as in the book
_DESCRIPTORS = _AWAY + 2 * SLOTS + 16
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_QUIET = 0.001  # seconds from one look at whether all have come as far as they come by themselves to the next


class Part(typing.NamedTuple):
    """A program of the scene: *name* is "server", "client", or one of these with a number; the first word is its column."""

    name: str
    plays: Callable[[typing.Any], None]


class Step(typing.NamedTuple):
    """A call that has returned, or (*waits*) one in which a part now sleeps."""

    row: Row
    waits: bool = False


class Stage:
    """Plays the *parts* once, on *port*, each with what *book* makes of its recorder, its wire and the parts' slots."""

    def __init__(self, parts: Sequence[Part], book: Callable[[Recorder, Wire, dict[str, int]], typing.Any], port: int) -> None:
        """Raises LocalError if this process may not have as many descriptors as it takes."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < _DESCRIPTORS:
            if hard < _DESCRIPTORS:
                raise LocalError(f"a scene needs {_DESCRIPTORS} descriptors, and {hard} are allowed (ulimit -n)")
            resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, hard))
        self._parts, self._book, self._port = parts, book, port
        self._board = Board()
        self._reads, self._writes = _pipe()
        self._gates = [_pipe() for _ in range(SLOTS)]  # a byte lets the part of that slot go on
        self._children: dict[int, str] = {}
        self._begun: dict[int, Row] = {}  # of each process, the call that it is in
        self._held: list[tuple[Row, int]] = []  # calls that have returned and are not told, each with its part's slot
        self._next: list[int] = []  # slots of the parts whose calls are told, and which have not gone on
        self._told: set[int] = set()  # processes that are in a call, and it is told that they wait
        self._forked: set[int] = set()  # processes that a part has made
        self._looked: list[int] | None = None  # how often each part had looked for its cue when all others were still
        self._rest = b""
        self._old = frozenset((entry.local, entry.remote) for entry in ends(port, ()) or ())  # of others, before

    def steps(self) -> Iterator[Step]:
        """What happens, in its order; a part goes on when the step after its own is asked for.

        Raises LocalError if a part fails, or nothing happens any more.
        """
        _control(_PR_SET_CHILD_SUBREAPER, 1)  # a child of a part that is killed is ours to wait for
        for slot, part in enumerate(self._parts):
            self._start(slot, part)
        writes, self._writes = self._writes, -1
        os.close(writes)
        poller = select.poll()
        poller.register(self._reads, select.POLLIN)
        last = time.monotonic()  # when something happened
        while True:
            if poller.poll(1000 * _QUIET):
                if not self._hear():
                    break
                self._looked = None
            elif (self._held or self._next) and self._still():
                yield from self._reap(os.WNOHANG)
                if self._held:
                    yield from self._settled()
                else:
                    os.write(self._gates[self._next.pop(0)][1], b".")
                self._looked = None
            elif time.monotonic() > last + PATIENCE:
                raise LocalError(f"nothing happened for {PATIENCE:g} s: {', '.join(self._doing()) or 'no call is under way'}")
            else:
                yield from self._reap(os.WNOHANG)
                continue
            last = time.monotonic()
        yield from self._reap(0)

    def _still(self) -> bool:
        """Whether each part has come as far as it comes by itself: its call is told or to be told, or it sleeps in one, or it
        looks for a cue, and has done so in vain since all of the others were still."""
        waiting = {slot for _, slot in self._held} | set(self._next)
        processes = [self._board.process(slot) for slot in range(SLOTS)]
        if any(pid not in processes and not over(pid) for pid in (*self._children, *self._forked)):
            return False
        looking = []
        for slot, pid in enumerate(processes):
            if not pid or slot in waiting or over(pid):
                continue
            if name := self._board.calling(slot):
                if pid not in self._begun or not self._board.sleeps(slot, name):
                    self._looked = None
                    return False
            else:
                looking.append(slot)
        looked = [self._board.looked(slot) for slot in range(SLOTS)]
        if self._looked is None:
            self._looked = looked
        return all(looked[slot] >= self._looked[slot] + 2 for slot in looking)

    def _hear(self) -> bool:
        """Take what the parts tell; False if none of them is there any more. Raises LocalError if one has failed."""
        data = os.read(self._reads, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "failed" in told:
                raise LocalError(told["failed"])
            if "begin" in told:
                row = Row.from_json(told["begin"])
                self._begun[row.process] = row
            else:
                row = Row.from_json(told["row"])
                self._begun.pop(row.process, None)
                if row.name == "fork" and row.returned:
                    self._forked.add(row.returned)
                self._held.append((row, told["slot"]))
        return bool(data)

    def _settled(self) -> Iterator[Step]:
        """Nothing moves: tell what has returned, each after those who had begun to wait before it."""
        asleep = [one for one in self._begun.values() if state(one.process) == "S"]
        asleep += [one for one, _ in self._held if one.waited]
        asleep = sorted((_asleep(one) for one in asleep), key=lambda one: one.began)
        for row, slot in sorted(self._held, key=lambda held: _place(held[0])):
            for one in asleep:
                if one.began < _moment(row) and one.process not in (row.process, *self._told):
                    self._told.add(one.process)
                    yield Step(one, waits=True)
            self._told.add(row.process)  # its wait, if it was one, is over
            if row.name == "exit":  # nothing is left of it that could look at what it has done: that is seen from here
                row = self._exit(row, slot)
            else:
                self._next.append(slot)
            yield Step(row)
        self._told -= {row.process for row, _ in self._held}
        self._held.clear()

    def _exit(self, row: Row, slot: int) -> Row:
        """Let a part end, and look at what is left."""
        began = time.monotonic_ns()
        os.write(self._gates[slot][1], b".")
        until = time.monotonic() + PATIENCE
        while not over(row.process) and time.monotonic() < until:
            time.sleep(LOOK)
        return dataclasses.replace(row, began=began, ended=began, looked=time.monotonic_ns(), table=ends(self._port, self._old))

    def _doing(self) -> list[str]:
        return [f"{row.part} is in {row.call}" for row in self._begun.values()]

    def _start(self, slot: int, part: Part) -> None:
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # else the child could run what the parent does at one
        try:
            pid = os.fork()
            if pid == 0:
                self._play(slot, part, parent)
            self._children[pid] = part.name
        except OSError as error:
            raise LocalError(f"no process could be started: {error.strerror}") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _play(self, slot: int, part: Part, parent: int) -> typing.NoReturn:
        """In the child: the part, and nothing of the parent's after it."""
        wire = Wire(self._board, slot, self._writes, self._gates)
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to hear
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
            die_with(parent)
            for _, opens in self._gates:
                os.close(opens)
            os.closerange(3, _AWAY)
            self._board.calls(slot, "")
            recorder = Recorder(wire, part=part.name, port=self._port, old=self._old)
            recorder.install()
            part.plays(self._book(recorder, wire, {part.name: slot for slot, part in enumerate(self._parts)}))
            recorder.exit(0)
        except Exception as error:  # no traceback reaches a user
            with contextlib.suppress(OSError):
                wire.failed(f"{part.name}: {type(error).__name__}: {error}")
        os._exit(1)

    def _reap(self, how: int) -> Iterator[Step]:
        """Those that have ended; one that a signal killed has a row for that, after the call in which it was."""
        for pid, name in list(self._children.items()):
            found, status = os.waitpid(pid, how)
            if not found:
                continue
            del self._children[pid]
            code = os.waitstatus_to_exitcode(status)
            if code > 0:
                raise LocalError(f"{name} ended with {code}")
            if code < 0:
                now = time.monotonic_ns()
                if (row := self._begun.pop(pid, None)) is not None:  # it was in that call
                    now = row.began
                    yield Step(row)
                left = ends(self._port, self._old)
                by = (signal.Signals(-code).name,)
                yield Step(Row("killed", by, None, None, ended(code), now, now, 0, pid, pid, name, table=left, looked=time.monotonic_ns()))

    def close(self) -> None:
        """End whoever is still on the stage, and let go of everything."""
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for pid in self._forked:  # they die with their parents, and their parents wait for them, if they live
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        _control(_PR_SET_CHILD_SUBREAPER, 0)
        self._children.clear()
        for fd in (self._reads, self._writes, *(fd for gate in self._gates for fd in gate)):
            if fd >= 0:
                os.close(fd)
        self._board.close()

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _asleep(row: Row) -> Row:
    """A call that has not returned: of one that has by now, nothing is told of that."""
    return dataclasses.replace(row, returned=None, error=None, gave="", ended=0, waited=0, view=None, table=None, looked=0, holds=())


def _moment(row: Row) -> int:
    """Where a call stands among those of others: one that had to wait, when that was over; else when it began."""
    return row.ended if row.waited else row.began


def _place(row: Row) -> tuple[bool, int, bool]:
    """Among what has returned: exits are last, and of one fork the child's return comes second."""
    return row.name == "exit", _moment(row), row.name == "fork" and row.returned == 0


def _control(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def die_with(parent: int) -> None:
    """To be called first in a child: it is killed when its parent ends, however that may be (prctl(2))."""
    _control(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # too late
        os._exit(1)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _AWAY) for fd in ends)
    for fd in ends:
        os.close(fd)
    return moved[0], moved[1]
