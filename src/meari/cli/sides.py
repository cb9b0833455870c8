"""The paths of a check, tried one after the other, and their display meanwhile."""

from __future__ import annotations

import os
import sys
import threading
import time
import typing
from collections.abc import Sequence

from ..check.battery import Battery, Result
from ..check.tables import Property
from ..errors import Stopped
from ..report import check as report
from .output import show

_LOOK = 0.2  # seconds between two looks at finished properties


class Side:
    """One path or one started server: *name* is the requested address, *chosen* is reported
    of it.
    """

    def __init__(
        self, name: str, battery: Battery, chosen: Sequence[Property], *, spawned: bool = False
    ) -> None:
        self.name, self.battery, self.spawned = name, battery, spawned
        self._names = [each.name for each in chosen]
        self.over = threading.Event()
        self.error: BaseException | None = None
        self.began = self.seconds = 0.0
        self._thread = threading.Thread(target=self._try)

    def start(self) -> None:
        self.began = time.monotonic()
        self._thread.start()

    def _try(self) -> None:
        try:
            self.battery.run()
        except BaseException as error:  # raised by the waiting thread
            self.error = error
        finally:
            self.seconds = time.monotonic() - self.began
            self.over.set()

    def join(self) -> None:
        if self.began:
            self._thread.join()

    @property
    def results(self) -> list[Result]:
        """The finished properties, in the battery's order."""
        return [self.battery.results[name] for name in self._names if name in self.battery.results]

    @property
    def in_order(self) -> list[Result]:
        """The finished properties up to the first unfinished one."""
        missing = next(
            (i for i, name in enumerate(self._names) if name not in self.battery.results),
            len(self._names),
        )
        return [self.battery.results[name] for name in self._names[:missing]]

    @property
    def unreachable(self) -> str | None:
        """The reason why no connection could be made, if none could."""
        connect = self.battery.results.get("connect")
        if connect is None or connect.finding.seen != "none":
            return None
        return str(connect.finding.evidence["reasons"])


def try_all(sides: Sequence[Side], language: str | None) -> None:
    """Try each side, one after the other: they often lead to the same far end.

    Shown in *language*, if any. Raises the exception of a battery once that has ended.
    """
    shown = _Shown(sides, language)
    try:
        for side in sides:
            side.start()
            while not side.over.wait(_LOOK):
                shown.update()
            if side.error is not None or side.unreachable is not None:
                break
    finally:
        for side in sides:
            side.join()
        shown.close()
    for side in sides:
        if side.error is not None:
            raise side.error


class _Shown:
    """Prints finished properties in order, and on a terminal the running ones below them."""

    def __init__(self, sides: Sequence[Side], language: str | None) -> None:
        self._sides, self._language = sides, language
        self._side = self._line = 0
        self._live: typing.Any = None
        if language is not None and sys.stdout is not None and os.isatty(1):
            from rich.live import Live

            self._live = Live(
                transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()

    def update(self) -> None:
        if self._language is None:
            return
        lines = list(self._next(self._language))
        if self._live is None:
            for line in lines:
                show(line)
            return
        from rich.text import Text

        for line in lines:
            self._live.console.print(_coloured(line), soft_wrap=True)
        self._live.update(Text(self._status(), style="dim"), refresh=True)

    def _next(self, language: str) -> list[str]:
        """The lines that can be shown now."""
        lines: list[str] = []
        while self._side < len(self._sides):
            side = self._sides[self._side]
            if not side.began or side.unreachable is not None:
                break
            over = side.over.is_set()  # read first: later results are shown by the next call
            ready = side.in_order
            if self._line == 0 and ready:
                lines.append(side.name)
            for result in ready[self._line :]:
                if result.finding.seen in report.UNTRIED:  # reported together, at the end
                    continue
                lines.append(report.line(result, language))
                lines += report.behind(result, language, spawned=side.spawned)
            self._line = len(ready)
            # Finished properties behind an unfinished one.
            if over and isinstance(side.error, Stopped):
                rest = [result for result in side.results if result not in ready]
                lines += [
                    report.line(result, language)
                    for result in rest
                    if result.finding.seen not in report.UNTRIED
                ]
                self._side = len(self._sides)
            if not over or side.error is not None:
                break
            lines += report.unjudged(ready, language)
            lines.append(report.closing(ready, side.seconds, language))
            self._side, self._line = self._side + 1, 0
        return lines

    def _status(self) -> str:
        running = [name for side in self._sides for name in sorted(side.battery.running.copy())]
        began = min((side.began for side in self._sides if side.began), default=time.monotonic())
        return f"  ...   {', '.join(running)} ({time.monotonic() - began:.0f} s)" if running else ""

    def close(self) -> None:
        self.update()
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(""))
            self._live.stop()


def _coloured(line: str) -> typing.Any:
    """The line with its verdict in colour."""
    from rich.text import Text

    text = Text(line)
    style = {"ok": "green", "FAIL": "bold red", "warn": "yellow", "?": "cyan"}.get(
        line[2:6].strip() if line.startswith("  ") else ""
    )
    if style is not None:
        text.stylize(style, 2, 6)
    return text
