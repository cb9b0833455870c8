"""The trial of one property: its finding, and the observations of a started server."""

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
from .web.client import Malformed

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
# Seconds between a failure and the end of the process that caused it, on a busy machine.
_DYING = 0.5
_FORKS = 0.3  # seconds until a forking server has forked after a connection
# Seconds until its child has died of some data; children end with the connection.
_DIES = 2.0
_PROVOKED = 20_000  # bytes of data sent to a child that may die of it


def judge(module: ModuleType, path: Path) -> Finding:
    """The finding of the property; an unexpected error becomes a finding too."""
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
    except Malformed as error:
        return fail("no-http", how=str(error))
    except Different as error:
        return fail("not-as-sent", came=repr(error.came)[1:])
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        if ".web." not in module.__name__:
            raise
        return unknown("strange", how=f"{type(error).__name__} {error}")
    except (OSError, IncompleteRead) as error:
        return fail("broke", how=getattr(error, "strerror", None) or str(error))


def try_spawned(module: ModuleType, server: Spawned, path: Path) -> tuple[Finding, Watched]:
    """The finding on *server*, which is then ended, and the observations of it.

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
            path.wait(0.02)  # an interpreter takes some time to end after an error
        if not server.alive:
            code, how = server.ending()
            finding = fail("died", ending=how) if code < 0 else fail("exited", code=code)
        elif finding.verdict is Verdict.FAIL:
            doing = server.doing() if finding.seen in _STUCK else ""
            child = _death_of_a_child(server, path)
        printed = "" if finding.verdict is Verdict.OK else server.printed.last()
        return finding, Watched(server.language, printed, doing, child)


def _death_of_a_child(server: Spawned, path: Path) -> str:
    """The signal that ends the child of one more connection, or "".

    The server reaps its children and with them their status; it is stopped (SIGSTOP) while the
    child receives some data, so a child that dies stays a zombie, whose status /proc shows
    (proc(5), stat, exit_code).
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
                # Its sockets are closed some time before its status is there.
                until = time.monotonic() + _DYING
                while not (died := [n for pid in children if (n := server.died_of(pid))]):
                    if time.monotonic() > until:
                        break
                    path.wait(0.01)
            finally:
                os.kill(server.process.pid, signal.SIGCONT)
        return signal.Signals(died[0]).name if died else ""
    except (OSError, ValueError, ConnectError, LocalError):
        return ""
