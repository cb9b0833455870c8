"""One property, tried: what it shows; and where the far end is a server of ours, what its process
did meanwhile.
"""

from __future__ import annotations

import os
import signal
import time
from types import ModuleType

from ..errors import ConnectError, DeadlineError, IncompleteRead, LocalError, Stopped
from .connection import pump
from .finding import Finding, Verdict, Watched, fail, unknown
from .path import Different, Path, Unfinished
from .spawned import Spawned

_STUCK = frozenset(
    {
        "stuck",
        "stuck-large",
        "silent",
        "never",
        "nothing",
        "nobody",
        "starved",
        "not-served",
        "some-at-a-time",
    }
)
_DYING = 0.5  # seconds from a failure to the end that was its cause, on a busy machine
_FORKS = 0.3  # seconds after the connection until a server that forks has forked
# Seconds until its child, given some data, has died of it: they end with the connection.
_DIES = 2.0
_PROVOKED = 20_000  # bytes that a child is given, in which it may die


def judge(module: ModuleType, path: Path) -> Finding:
    """What the property shows; an error that it did not expect is a finding too."""
    try:
        found: Finding = module.check(path)
        return found
    except ConnectError as error:
        return fail("unreachable", reason="; ".join(error.reasons))
    except LocalError as error:
        return unknown("here", reason=str(error))
    except Stopped:
        raise
    except DeadlineError:
        return fail("stuck", patience_s=path.patience)
    except Unfinished as error:
        return unknown("unfinished", missing=error.missing, after_s=error.seconds)
    except Different as error:
        return fail("not-as-sent", came=repr(error.came)[1:])
    except (OSError, IncompleteRead) as error:
        return fail("broke", how=getattr(error, "strerror", None) or str(error))


def try_spawned(module: ModuleType, server: Spawned, path: Path) -> tuple[Finding, Watched]:
    """The finding on *server*, which is ended, and what was seen of the server.

    Raises LocalError, Stopped.
    """
    with server:
        finding = judge(module, path)
        doing = child = ""
        until = time.monotonic() + _DYING
        while (
            finding.verdict is Verdict.FAIL
            and finding.seen not in _STUCK
            and server.alive
            and time.monotonic() < until
        ):
            path.wait(0.02)  # an interpreter that ends in an error is some time about it
        if not server.alive:
            code, how = server.ending()
            finding = fail("died", ending=how) if code < 0 else fail("exited", code=code)
        elif finding.verdict is Verdict.FAIL:
            doing = server.doing() if finding.seen in _STUCK else ""
            child = _death_of_a_child(server, path)
        printed = "" if finding.verdict is Verdict.OK else server.printed.last()
        return finding, Watched(server.language, printed, doing, child)


def _death_of_a_child(server: Spawned, path: Path) -> str:
    """The signal that the child for one more connection dies of, or "".

    The server reaps its children, and so takes what is known of their end; it is stopped (SIGSTOP)
    while the child is given some data, and a child that dies stays a zombie, whose status /proc
    shows (proc(5), stat, exit_code).
    """
    before = set(server.family())
    try:
        with path.connect() as connection:
            until = time.monotonic() + _FORKS
            while not (children := set(server.family()) - before) and time.monotonic() < until:
                path.wait(0.01)
            if not children:
                return ""
            os.kill(server.process.pid, signal.SIGSTOP)
            try:
                for amount in (1, _PROVOKED):
                    connection.ask(amount)
                    pump(
                        [connection],
                        lambda: not connection.missing or connection.end is not None,
                        path.stop,
                        quiet=_DIES,
                        most=_DIES,
                    )
                died = [number for pid in children if (number := server.died_of(pid))]
            finally:
                os.kill(server.process.pid, signal.SIGCONT)
        return signal.Signals(died[0]).name if died else ""
    except (OSError, ValueError, ConnectError, LocalError):
        return ""
