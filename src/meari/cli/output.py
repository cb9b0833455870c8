"""The output of a load: lines, JSON, or on a terminal a live display."""

from __future__ import annotations

import json
import os
import sys
import time
import typing

from ..client.results import Point, Result, interval
from ..client.workers import Workers
from ..errors import LocalError
from ..histogram import Histogram
from ..report import text
from . import say

if typing.TYPE_CHECKING:
    from rich.live import Live

_read_enough = False  # standard output is not read any more
_REFRESH = 0.2  # seconds
_PATIENT = 0.5  # seconds from the stop until the display says what it waits for


class Output:
    """A context manager for the duration of the run.

    A terminal gets the live display, unless JSON is requested.
    """

    def __init__(self, workers: Workers, as_json: bool, ndjson: bool) -> None:
        self._crew, self._as_json, self._ndjson = workers, as_json, ndjson
        self._live: Live | None = None
        self._last: Point | None = None
        self._drawn = self._stopped = 0.0
        self._said = False

    def __enter__(self) -> typing.Self:
        if sys.stdout is not None and os.isatty(1) and not self._as_json and not self._ndjson:
            from rich.live import Live

            self._live = Live(
                transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def interval(self, point: Point) -> None:
        self._last = point
        if self._ndjson and not show(json.dumps(interval(point))) and not self._crew.stopped:
            self._crew.stop()

    def idle(self) -> None:
        """Called several times a second."""
        if self._crew.stopped and not self._said:
            self._stopped = self._stopped or time.monotonic()
            if time.monotonic() - self._stopped > _PATIENT:
                self._said = True
                say("stopping: what is under way is waited for (Ctrl-C: not any longer)")
        if self._live is not None and time.monotonic() - self._drawn >= _REFRESH:
            self._drawn = time.monotonic()
            self._live.update(self._display(), refresh=True)

    def _display(self) -> typing.Any:
        from rich.table import Table
        from rich.text import Text

        result, last = self._crew.result, self._last
        count = last.count if last is not None else None
        table = Table.grid(padding=(0, 2))
        # Without markup: brackets would be interpreted.
        table.add_row(Text(result.far_end, style="bold"), str(result.plan))
        elapsed = (time.monotonic_ns() - self._crew.began) / 1e9 if self._crew.began else 0.0
        if self._crew.began and result.plan.seconds is not None:
            table.add_row(
                "time left",
                f"{max(0.0, result.plan.seconds - elapsed):.0f} s"
                if elapsed >= 0
                else "warming up",
            )
        if count is not None and last is not None:
            histogram: Histogram = count.times[
                "round_trip" if result.plan.rate is None else "from_due"
            ]
            table.add_row(
                "now", f"{count.messages / last.seconds:,.0f}/s   {text.quantiles(histogram)}"
            )
            table.add_row(
                "so far", f"{result.messages_per_second:,.0f}/s   {text.quantiles(result.headline)}"
            )
            colour = "red" if result.faults else "green"
            table.add_row("faults", f"[{colour}]{result.faults:,}[/]")
        return table

    def result(self, result: Result) -> None:
        if self._as_json or self._ndjson:
            show(json.dumps(result.to_json()))
        else:
            for line in text.lines(result):
                show(line)


def show(line: str) -> bool:
    """Print one line on standard output; False once its reader has closed it (EPIPE).

    Raises LocalError if it cannot be written.
    """
    global _read_enough
    if sys.stdout is None:
        return not _read_enough
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        return True
    except BrokenPipeError:
        sys.stdout, _read_enough = None, True
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return False
    except OSError as error:
        raise LocalError(f"standard output: {error.strerror}") from None
