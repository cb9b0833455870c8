"""A scene as text: a timeline in three columns, the client's calls, what the kernel did, the
server's calls.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..explain import facts
from ..explain.row import Row, View
from ..explain.timeline import CLIENT, SERVER, End, Ends, Moment, Segment

_TIME = 9  # columns of a terminal
_NARROW = 78  # narrower terminals get one column
_LEAST = 30
_BOTH = 24  # columns of two states side by side


class Teller:
    """Formats the moments of one *scene* in *language*, for a terminal of *width* columns;
    *colour*: with colours.

    Arrows are drawn with *line*.
    """

    def __init__(
        self, scene: str, language: str, width: int, *, colour: bool, line: str = "─"
    ) -> None:
        self._scene, self._language = scene, language
        self._narrow = width < _NARROW
        width = max(width, _LEAST)
        self._console = Console(
            width=width,
            file=io.StringIO(),
            force_terminal=colour,
            no_color=not colour,
            highlight=False,
            legacy_windows=False,
        )
        room = width - _TIME
        self._kernel = room - 1 if self._narrow else max(_BOTH, room // 4)
        self._side = (room - self._kernel - 2) // 2
        self._line = line
        self._names: set[str] = set()  # of connections
        self._forked = False

    def opening(self) -> str:
        """The scene's question and the heads of the columns."""
        word = facts.word
        table = self._grid()
        heads = [
            Text(word(name, self._language), style="bold") for name in (CLIENT, "kernel", SERVER)
        ]
        table.add_row(
            Text("ms".rjust(_TIME - 1), style="dim"),
            heads[0],
            Text(heads[1].plain.center(self._kernel).rstrip(), style="bold"),
            heads[2],
        )
        question = Text.assemble(
            (self._scene, "bold cyan"), "  ", (facts.question(self._scene, self._language), "bold")
        )
        return self._render(question) + "\n" + ("" if self._narrow else self._render(table))

    def moment(self, moment: Moment) -> str:
        """A step: its call, its effects in the kernel, and its sentences."""
        self._forked = self._forked or moment.row.name == "fork"
        cell = self._call(moment)
        if self._narrow:
            return self._stacked(moment, cell)
        table = self._grid()
        client, server = (cell, Text()) if moment.side == CLIENT else (Text(), cell)
        table.add_row(
            Text(f"{moment.at / 1e6:8.1f}", style="dim"), client, self._in_between(moment), server
        )
        return self._render(table) + self._said(moment, _TIME + 2)

    def _stacked(self, moment: Moment, call: Text) -> str:
        """The same for a narrow terminal: side and call, below them the effects in the kernel."""
        who = Text(f"{moment.at / 1e6:8.1f} ", style="dim")
        who.append(f"{facts.word(moment.side, self._language)}: ", style="bold")
        call.overflow = None
        found = self._render(Text.assemble(who, call))
        between = self._in_between(moment)
        if between.plain:
            found += self._render(Padding(between, (0, 0, 0, _TIME)))
        return found + self._said(moment, _TIME)

    def _said(self, moment: Moment, indent: int) -> str:
        return "".join(
            self._render(Padding(Text(text, style=style), (0, 2, 0, indent)))
            for text, style in self._sayings(moment)
        )

    def closing(self) -> str:
        return "\n" + self._render(
            Padding(Text(facts.answer(self._scene, self._language), style="bold"), (0, 2, 0, 2))
        )

    def _sayings(self, moment: Moment) -> Iterator[tuple[str, str]]:
        if moment.explained:
            yield facts.call(moment.explained, self._language), "dim"
        if moment.note:
            yield "> " + facts.note(self._scene, moment.note, self._language), "cyan"

    def _call(self, moment: Moment) -> Text:
        row = moment.row
        text = Text(overflow="fold")
        if row.part not in (CLIENT, SERVER):
            text.append(f"{row.part}: ", style="bold")
        text.append(row.call)
        if moment.waits:
            text.append(f" ... {facts.word('waits', self._language)}", style="yellow")
            return text
        text.append(f" {row.result}" if row.result else "", style="red" if row.failed else "green")
        if row.waited:
            text.append(
                f"  ({facts.word('waited', self._language, time=duration(row.waited))})",
                style="yellow",
            )
        if self._forked and row.name in ("fork", "close", "accept"):
            fds = ", ".join(str(fd) for fd, _ in row.holds) or "-"
            text.append(f"  [{facts.word('open', self._language, fds=fds)}]", style="dim")
        for record in moment.records:
            text.append(f"\n  {record.name}", style="magenta")
            text.append(f" {record.size:,}", style="dim")
        return text

    def _in_between(self, moment: Moment) -> Text:
        self._names.update(ends.name for ends in moment.ends)
        lines = [Text(self._arrow(segment), style="bold magenta") for segment in moment.segments]
        for ends in moment.ends:
            if ends.name in moment.changed:
                lines += [Text(line, style="blue") for line in self._states(ends)]
        if moment.queue is not None and moment.queue[0]:
            text = facts.word("queue", self._language, n=moment.queue[0], limit=moment.queue[1])
            lines.append(Text(text.center(self._kernel).rstrip(), style="yellow"))
        return Text("\n").join(lines)

    def _arrow(self, segment: Segment) -> str:
        label = segment.kind
        if segment.kind == "data":
            label = facts.word(
                "byte" if segment.size == 1 else "data", self._language, n=segment.size
            )
        if len(self._names) > 1:
            label = f"{segment.name}: {label}"
        line = f" {label} "
        rest = max(2, self._kernel - 1 - cell_len(line))
        line = self._line * (rest // 2) + line + self._line * (rest - rest // 2)
        return line + ">" if segment.source == CLIENT else "<" + line

    def _states(self, ends: Ends) -> Iterator[str]:
        if len(self._names) > 1:
            yield f"{ends.name}:".center(self._kernel).rstrip()
        left, right = (
            end.state or facts.word("gone", self._language) for end in (ends.client, ends.server)
        )
        yield left + " " * max(1, self._kernel - cell_len(left) - cell_len(right)) + right
        for who, end in ((CLIENT, ends.client), (SERVER, ends.server)):
            for text in self._queues(who, end):
                yield text if who == CLIENT else " " * max(0, self._kernel - cell_len(text)) + text

    def _queues(self, who: str, end: End) -> Iterator[str]:
        for name, n in (("unread", end.unread), ("unsent", end.unsent)):
            if n:
                yield facts.word(name, self._language, who=facts.word(who, self._language), n=n)

    def _grid(self) -> Table:
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=_TIME - 1)
        for width in (self._side, self._kernel, self._side - 1):
            table.add_column(width=width, overflow="fold")
        return table

    def _render(self, what: Table | Text | Padding) -> str:
        with self._console.capture() as capture:
            self._console.print(what)
        return "\n".join(line.rstrip() for line in capture.get().split("\n"))


def duration(nanoseconds: int) -> str:
    """ "45 us", "12.3 ms", "1.2 s"."""
    if nanoseconds < 1e5:
        return f"{nanoseconds / 1e3:.0f} us"
    return f"{nanoseconds / 1e6:.1f} ms" if nanoseconds < 1e9 else f"{nanoseconds / 1e9:.1f} s"


def line(row: Row, language: str) -> str:
    """One row of `serve --explain` or `talk --explain` as a line: process, call, result, and the
    socket's state after it.
    """
    who = str(row.process) if row.process == row.thread else f"{row.process}/{row.thread}"
    waited = f"  {facts.word('waited', language, time=duration(row.waited))}" if row.waited else ""
    return (
        f"[{who}] {row.call} {row.result}".rstrip()
        + waited
        + (f"  | {_seen(row.view, language)}" if row.view is not None else "")
    )


def _seen(view: View, language: str) -> str:
    if view.queue is not None:
        return f"{view.state}, {facts.word('queue', language, n=view.queue, limit=view.limit)}"
    counts = (("read", view.unread), ("acknowledged", view.unsent))
    return ", ".join([view.state, *(facts.word(name, language, n=n) for name, n in counts if n)])
