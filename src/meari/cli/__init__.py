"""The command line: one file per command, imported when it is called."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys

import click

from .. import __version__
from ..errors import MeariError

COMMANDS = {
    "serve": "Be the far end: send back every byte.",
    "tiny": "Be a web server: the files of a directory.",
    "talk": "Be the near end: send lines, and compare the echo.",
    "explain": "Show the system calls of both ends, and what the kernel did.",
    "check": "Check what a path does to a connection, property by property.",
    "ping": "Time one round trip after another.",
    "load": "Load a far end, and verify every byte.",
    "compare": "Compare two loads: whether they differ, and by how much.",
}


class _Commands(click.Group):
    """A group that knows the short help of each command without importing it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f".{name}", __name__).command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="meari", message="%(prog)s %(version)s")
def group() -> None:
    """meari (메아리, "echo"): what does the network between two programs do to a connection?

    Exit codes: 0 all well; 1 bytes differ or are lost; 2 usage, or it could not start; 3 a
    threshold was crossed.
    """


def occupy_standard_descriptors() -> None:
    """Open /dev/null where standard input, output or error is closed.

    Otherwise the next socket would get that number, and output would be sent to a client. A closed
    output is still known as closed: sys.stdout is None.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # returns the lowest free number, which is fd


def say(text: str) -> None:
    """Print one line on standard error; errors are ignored."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode(errors="backslashreplace") + b"\n")


def main() -> None:
    """The console script. Ends the process with the exit codes above."""
    occupy_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Characters that the locale lacks are escaped.
            stream.reconfigure(errors="backslashreplace")
    # If SIGCHLD is ignored, which may be inherited, no child can be reaped.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if not sys.platform.startswith("linux"):
        say("meari: Linux is needed: epoll, pidfds and SO_REUSEPORT are used as Linux has them")
        sys.exit(2)
    try:
        code = group.main(prog_name="meari", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        code = 2
    except click.UsageError as error:
        usage = "" if error.ctx is None else "\n" + error.ctx.get_usage()
        say(f"{_name(error.ctx)}: {error.format_message()}{usage}")
        code = 2
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except MeariError as error:
        say(f"meari: {error}")
        code = 2
    except BrokenPipeError:  # of --help, say
        code = 1
    except OSError as error:
        say(f"meari: {error.strerror or error}")
        code = 2
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        say(
            f"meari: an internal error: {type(error).__name__}: {error}"
            " (python -X dev -m meari shows where)"
        )
        code = 2
    sys.exit(_flushed(code if isinstance(code, int) else 0))


def _flushed(code: int) -> int:
    """Flush standard output; the exit code, 2 instead of 0 if that fails.

    Otherwise the interpreter would try again at its end, print a traceback, and exit with 120.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if code == 0:
            say(f"meari: standard output: {error.strerror}")
            return 2
    return code


def _name(ctx: click.Context | None) -> str:
    return "meari" if ctx is None else ctx.command_path
