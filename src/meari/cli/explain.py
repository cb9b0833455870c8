"""meari explain: see what the kernel does."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import sys
import termios
import tty
import typing
from collections.abc import Iterator

import click

from ..errors import LocalError
from ..explain import facts
from ..explain.book import Book
from ..explain.scenes import SCENES
from ..explain.stage import Stage
from ..explain.timeline import Moment, Timeline
from ..report.explain import Teller
from ..sockets import free_port
from . import say
from .language import language
from .language import spoken as language_of
from .output import show
from .saved import Saved

_WIDTH = 100  # columns without a terminal
_WIDEST = 160
_FIRST_PORT = 7007  # the book's, if it is free


@click.command("explain", short_help="Show the system calls of both ends, and what the kernel did.")
@click.argument("scenes", metavar="[SCENE...]", nargs=-1, type=click.Choice([*SCENES, "all"]))
@click.option("--list", "as_list", is_flag=True, help="List the scenes.")
@click.option(
    "--step",
    is_flag=True,
    help="Wait for a key after each step; both programs are stopped meanwhile, so ss(8) shows the"
    " same.",
)
@click.option("--json", "as_json", is_flag=True, help="The steps as one JSON document.")
@click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Save the scenes as one HTML page with diagrams.",
)
@language
def command(
    scenes: tuple[str, ...],
    as_list: bool,
    step: bool,
    as_json: bool,
    html_file: str | None,
    lang: str | None,
) -> int:
    """Run a server and a client, two processes on this machine, and show each system call of both,
    with its result and the state of the connection just after it. Without a SCENE: echo.

    Each scene answers a question (--list). The programs are variants of CS:APP's echo server and
    echo client. Everything shown is from a real run.

    \b
    meari explain
    meari explain fork --lang ko
    meari explain --html page.html all
    """
    spoken = language_of(lang)
    if as_list:
        for name in SCENES:
            show(f"  {name:16} {facts.question(name, spoken)}")
        return 0
    if step and (as_json or html_file):
        raise click.UsageError(
            "--step is for a terminal: it goes without --json and --html",
            click.get_current_context(),
        )
    if not os.path.exists("/proc/self/stat"):
        raise LocalError("/proc is not mounted: what the kernel does is read there")
    chosen = list(SCENES) if "all" in scenes else list(dict.fromkeys(scenes)) or ["echo"]
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    with Saved(html_file) as saved:
        try:
            if as_json or html_file:
                played = {name: list(play(name)) for name in chosen}
                if as_json:
                    show(
                        json.dumps(
                            {
                                "scenes": [
                                    _document(name, moments, spoken)
                                    for name, moments in played.items()
                                ]
                            }
                        )
                    )
                if html_file:
                    from ..report.explain_page import page

                    if not saved.write(lambda: page(played, spoken)):
                        return 2
                return 0
            with _keys() if step else contextlib.nullcontext():
                for number, name in enumerate(chosen):
                    step = _report(name, spoken, step, first=number == 0)
        except LocalError as error:
            say(f"meari explain: {error}")
            return 2
    return 0


def _end(number: int, _: object) -> typing.NoReturn:
    """Exit through the cleanup: the terminal's mode, an incomplete file, the parts of a scene."""
    sys.exit(128 + number)


def play(name: str) -> Iterator[Moment]:
    """Run one scene.

    Each moment is made when it is requested, and both programs are stopped until the next. Raises
    LocalError.
    """
    with _first(_FIRST_PORT) as first:
        yield from _play(name, free_port(_FIRST_PORT if first else None))


@contextlib.contextmanager
def _first(port: int) -> Iterator[bool]:
    """True if no other `meari explain` uses *port* now: the user of it holds an abstract Unix
    socket of that name (unix(7)).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mutex:
        try:
            mutex.bind(f"\0meari explain {port}")
        except OSError:
            yield False
        else:
            yield True


def _play(name: str, port: int) -> Iterator[Moment]:
    timeline = Timeline(port)
    with Stage(SCENES[name], functools.partial(Book, port=port), port) as stage:
        for step in stage.steps():
            yield timeline.take(step)


def _report(name: str, spoken: str, step: bool, *, first: bool) -> bool:
    """Print one scene as text; whether the next is still to be shown step by step."""
    colour = sys.stdout is not None and os.isatty(1) and "NO_COLOR" not in os.environ
    colour = colour and os.environ.get("TERM", "dumb") != "dumb"
    width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDEST)
    encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"
    teller = Teller(
        name, spoken, width, colour=colour, line="─" if encoding.lower().startswith("utf") else "-"
    )
    for moment in play(name):
        if moment.number == 1:
            show(("" if first else "\n") + teller.opening().rstrip("\n"))
            if step:
                say(facts.word("step", spoken))
        show(teller.moment(moment).rstrip("\n"))
        step = step and _key()
    show(teller.closing().rstrip("\n"))
    return step


def _key() -> bool:
    """Wait for a key; False if it requests the rest at once, or at end of file. Raises
    KeyboardInterrupt.
    """
    return os.read(0, 1) not in (b"", b"q", b"\x04")


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Read single keys from a terminal, without echo.

    A key that was typed earlier counts: TCSANOW discards no input.
    """
    if not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    try:
        tty.setcbreak(0, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)


def _document(name: str, moments: list[Moment], spoken: str) -> dict[str, object]:
    return {
        "scene": name,
        "question": facts.question(name, spoken),
        "answer": facts.answer(name, spoken),
        "steps": [moment.to_json() | {"says": _says(name, moment, spoken)} for moment in moments],
    }


def _says(scene: str, moment: Moment, spoken: str) -> list[str]:
    return ([facts.call(moment.explained, spoken)] if moment.explained else []) + (
        [facts.note(scene, moment.note, spoken)] if moment.note else []
    )
