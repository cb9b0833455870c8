"""The stage: plays a scene, and reports the system calls of its parts in one order.

A scene has parts: a server, a client, sometimes more of each. Every part is a forked process that
runs the book's functions on a Recorder (recorder.py). The stage runs in the parent. It decides
which part may go on, collects what each part recorded, and yields one Step per call.

The order must not depend on the speed of the machine, and the state that the kernel reports just
after a call must not show effects of the next one. Three mechanisms provide this:

    gates     A part that has reported a call blocks on its gate, a pipe, until the stage writes one
              byte to it. So at most one part runs between two steps.
    board     Shared memory with one slot for each part (board.py). A part writes there which call
              it is about to make, how often it has looked for its cue, and which cues it has given.
    states    /proc/PID/stat says whether a process sleeps (proc(5)). A part that is in a call that
              can block, and sleeps, is blocked in that call.

A scene is quiescent when every process has reported its call, or is blocked in one, or has looked
for its cue in vain after all others had stopped. Only then are steps yielded, and the caller may
take as long as it likes: nothing moves meanwhile, so `ss -tan` in another terminal shows the same
state as the step.

Example: the first calls of the scene "echo", after both parts have made their sockets.

    server    accept(3)      begins; the process sleeps: blocked
    client    connect(3)     returns, is reported, and the client blocks on its gate

The scene is quiescent: the server is blocked in accept, the client has reported. accept began
before connect returned, so the steps are

    Step(accept, waits=True)     the server waits in accept
    Step(connect)                the client's connect returned 0

The caller asks for the next step. The stage opens the client's gate. Meanwhile accept has returned
in the server too, and is reported when the scene is quiescent again.

A part reports over one pipe, each report in one write(2) of at most PIPE_BUF bytes, which a pipe
never splits (pipe(7)).
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
from functools import partial

from ..child import Child
from ..errors import LocalError
from .board import LOOK, SLOTS, Board, Reporter, over, state
from .observed import ended, ends
from .recorder import Recorder
from .row import Row

# Seconds without a report after which a scene is given up.
PATIENCE = 10.0
# The stage's descriptors start here, so that a part's first socket is 3, as in the book.
_AWAY = 100
_DESCRIPTORS = _AWAY + 2 * SLOTS + 16
_PR_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>
# Seconds between two checks for quiescence.
_QUIET = 0.001


class Part(typing.NamedTuple):
    """A program of the scene.

    *name* is "server", "client", or one of these with a number; its first word is its column.
    """

    name: str
    plays: Callable[[typing.Any], None]


class Step(typing.NamedTuple):
    """A call that has returned, or (*waits*) one in which a part is blocked."""

    row: Row
    waits: bool = False


class Stage:
    """Plays *parts* once, on *port*.

    *book* makes what a part is given from its recorder, its reporter and the slots of all parts.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        book: Callable[[Recorder, Reporter, dict[str, int]], typing.Any],
        port: int,
    ) -> None:
        """Raises LocalError if the limit of descriptors is too low."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < _DESCRIPTORS:
            if hard < _DESCRIPTORS:
                raise LocalError(
                    f"a scene needs {_DESCRIPTORS} descriptors; the limit is {hard} (ulimit -n)"
                )
            resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, hard))
        self._parts, self._book, self._port = parts, book, port
        self._board = Board()
        self._reads, self._writes = _pipe()
        # A byte on its gate lets the part of that slot go on.
        self._gates = [_pipe() for _ in range(SLOTS)]
        self._children: dict[str, Child] = {}
        # The call that each process is in, by process id.
        self._begun: dict[int, Row] = {}
        # Calls that have returned and are not yielded yet, each with the slot of its part.
        self._held: list[tuple[Row, int]] = []
        # Slots of the parts whose calls are yielded, and whose gates are still closed.
        self._next: list[int] = []
        # Processes that are blocked in a call, and whose waiting is yielded.
        self._waits_reported: set[int] = set()
        # Processes that a part has forked.
        self._forked: set[int] = set()
        # How often each part had looked for its cue when all others had stopped.
        self._looked: list[int] | None = None
        self._rest = b""
        # Connections on this port that are older than the scene.
        self._old = frozenset((entry.local, entry.remote) for entry in ends(port, ()) or ())

    def steps(self) -> Iterator[Step]:
        """Yield the steps in order; a part goes on when the step after its own is requested.

        Raises LocalError if a part fails, or if nothing happens for PATIENCE seconds.
        """
        # The stage reaps the children of a part that is killed.
        _control(_PR_SET_CHILD_SUBREAPER, 1)
        for slot, part in enumerate(self._parts):
            self._start(slot, part)
        writes, self._writes = self._writes, -1
        os.close(writes)
        poller = select.poll()
        poller.register(self._reads, select.POLLIN)
        last = time.monotonic()
        while True:
            if poller.poll(1000 * _QUIET):
                if not self._receive():
                    break
                self._looked = None
            elif (self._held or self._next) and self._quiescent():
                yield from self._reap(0.0)
                if self._held:
                    yield from self._settled()
                else:
                    os.write(self._gates[self._next.pop(0)][1], b".")
                self._looked = None
            elif time.monotonic() > last + PATIENCE:
                calls = [f"{row.part} is in {row.call}" for row in self._begun.values()]
                raise LocalError(
                    f"nothing happened for {PATIENCE:g} s:"
                    f" {', '.join(calls) or 'no call is under way'}"
                )
            else:
                yield from self._reap(0.0)
                continue
            last = time.monotonic()
        yield from self._reap(None)

    def _quiescent(self) -> bool:
        """True if every process has reported its call, is blocked in one, or waits for its cue."""
        waiting = {slot for _, slot in self._held} | set(self._next)
        processes = [self._board.process(slot) for slot in range(SLOTS)]
        started = {child.pid for child in self._children.values()} | self._forked
        if any(pid not in processes and not over(pid) for pid in started):
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

    def _receive(self) -> bool:
        """Read reports; False once every part has ended. Raises LocalError if one has failed."""
        data = os.read(self._reads, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "failed" in message:
                raise LocalError(message["failed"])
            if "begin" in message:
                row = Row.from_json(message["begin"])
                self._begun[row.process] = row
            else:
                row = Row.from_json(message["row"])
                self._begun.pop(row.process, None)
                if row.name == "fork" and row.returned:
                    self._forked.add(row.returned)
                self._held.append((row, message["slot"]))
        return bool(data)

    def _receive_pending(self) -> None:
        poller = select.poll()
        poller.register(self._reads, select.POLLIN)
        while poller.poll(0) and self._receive():
            pass

    def _settled(self) -> Iterator[Step]:
        """Yield the calls that have returned, each after the waits that began before it."""
        asleep = [one for one in self._begun.values() if state(one.process) == "S"]
        asleep += [one for one, _ in self._held if one.waited]
        asleep = sorted((_asleep(one) for one in asleep), key=lambda one: one.began)
        for row, slot in sorted(self._held, key=lambda held: _place(held[0])):
            for one in asleep:
                if one.began < _moment(row) and one.process not in (
                    row.process,
                    *self._waits_reported,
                ):
                    self._waits_reported.add(one.process)
                    yield Step(one, waits=True)
            # Its wait, if it had one, is over.
            self._waits_reported.add(row.process)
            # A process that has exited cannot look at the kernel's state: the stage does.
            if row.name == "exit":
                row = self._exit(row, slot)
            else:
                self._next.append(slot)
            yield Step(row)
        self._waits_reported -= {row.process for row, _ in self._held}
        self._held.clear()

    def _exit(self, row: Row, slot: int) -> Row:
        """Let a part exit, and record what the kernel still holds."""
        began = time.monotonic_ns()
        os.write(self._gates[slot][1], b".")
        until = time.monotonic() + PATIENCE
        while not over(row.process) and time.monotonic() < until:
            time.sleep(LOOK)
        left = ends(self._port, self._old)
        return dataclasses.replace(
            row, began=began, ended=began, looked=time.monotonic_ns(), table=left
        )

    def _start(self, slot: int, part: Part) -> None:
        try:
            self._children[part.name] = Child(
                partial(self._play, slot, part),
                ignore=(signal.SIGINT,),
                default=(signal.SIGTERM, signal.SIGHUP),
                mortal=True,
            )
        except OSError as error:
            raise LocalError(f"no process could be started: {error.strerror}") from None

    def _play(self, slot: int, part: Part) -> int:
        """In the child: play the part."""
        reporter = Reporter(self._board, slot, self._writes, self._gates)
        try:
            for _, opens in self._gates:
                os.close(opens)
            os.closerange(3, _AWAY)
            self._board.calls(slot, "")
            recorder = Recorder(reporter, part=part.name, port=self._port, old=self._old)
            recorder.install()
            slots = {part.name: slot for slot, part in enumerate(self._parts)}
            part.plays(self._book(recorder, reporter, slots))
            recorder.exit(0)
        except Exception as error:
            with contextlib.suppress(OSError):
                reporter.failed(f"{part.name}: {type(error).__name__}: {error}")
        return 1

    def _reap(self, seconds: float | None) -> Iterator[Step]:
        """Reap the parts that end within *seconds*.

        A part that a signal killed gets a row for that, after the call in which it was.
        """
        for name, child in list(self._children.items()):
            code = child.wait(seconds)
            if code is None:
                continue
            del self._children[name]
            if code > 0:
                raise LocalError(f"{name} ended with {code}")
            if code < 0:
                # The report of the call that killed it may be in the pipe still.
                self._receive_pending()
                now = time.monotonic_ns()
                if (row := self._begun.pop(child.pid, None)) is not None:
                    now = row.began
                    yield Step(row)
                yield Step(self._killed(name, child.pid, code, now))

    def _killed(self, name: str, pid: int, code: int, at: int) -> Row:
        return Row(
            "killed",
            (signal.Signals(-code).name,),
            None,
            None,
            ended(code),
            at,
            at,
            0,
            pid,
            pid,
            name,
            table=ends(self._port, self._old),
            looked=time.monotonic_ns(),
        )

    def close(self) -> None:
        """Kill every part that still runs, and close every descriptor."""
        for child in self._children.values():
            child.end(0.0)
        # Forked parts die with their parents, and are reaped by them if they still run.
        for pid in self._forked:
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
    """*row* as it was while the call was blocked, without what is known since."""
    return dataclasses.replace(
        row,
        returned=None,
        error=None,
        gave="",
        ended=0,
        waited=0,
        view=None,
        table=None,
        looked=0,
        holds=(),
    )


def _moment(row: Row) -> int:
    """The time that orders a call among others: its return if it waited, else its begin."""
    return row.ended if row.waited else row.began


def _place(row: Row) -> tuple[bool, int, bool]:
    """The sort key of a call: exits come last; of one fork, the return in the child is second."""
    return row.name == "exit", _moment(row), row.name == "fork" and row.returned == 0


def _control(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _AWAY) for fd in ends)
    for fd in ends:
        os.close(fd)
    return moved[0], moved[1]
