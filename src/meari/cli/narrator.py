"""The output of `serve --explain` and `talk --explain`: each of their system calls as it returns,
on standard error.
"""

from __future__ import annotations

import contextlib
import select

from ..explain import facts
from ..explain.recorder import Recorder
from ..explain.row import Row
from ..report.explain import line
from . import say
from .language import of_environment

_PATIENCE = 1000  # milliseconds that a call waits for the reader of standard error


class _Narrator:
    """A Sink of rows.

    The sentence about a call is printed when the call first appears.

    If standard error is not read, a row waits for a second; from then on rows are discarded and
    counted until it is read again: otherwise a stopped reader would block the program for ever.
    """

    def __init__(self) -> None:
        self._language = of_environment()
        self._said: set[str] = set()
        self._left_out = 0

    def begin(self, row: Row) -> None:
        pass

    def returned(self) -> None:
        pass

    def row(self, row: Row) -> None:
        self._say(line(row, self._language))
        key = facts.saying(row)
        if key and key not in self._said:
            self._said.add(key)
            self._say(f"    {facts.call(key, self._language)}")

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            poller = select.poll()  # two threads in one buffered writer would raise
            poller.register(2, select.POLLOUT)
            if not poller.poll(0 if self._left_out else _PATIENCE):
                self._left_out += 1
                return
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            say(f"... {left_out:,} lines were not read in time")
        say(text)


def narrate() -> None:
    """Record the calls of this process and of those that it forks."""
    Recorder(_Narrator()).install()
