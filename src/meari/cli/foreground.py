"""Runs a server until a signal, and writes its events in a process of their own."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from types import FrameType

import click

from ..engines import ENGINES
from ..errors import ListenError, MeariError
from ..events import Events, Kind
from ..live import LiveEvents, Table
from ..report.events import Form, escape
from ..server import Server
from ..totals import Totals
from ..wire.protocol import Service
from ..writer import WriterProcess
from . import say
from .holders import holders

# Options of every server.
engine_option = click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    default="event",
    show_default=True,
    help="How connections are served.",
)
connections_option = click.option(
    "--connections",
    type=click.IntRange(min=1),
    metavar="N",
    help="Connections at once; more wait in the backlog.  [default: what fits]",
)
allow_option = click.option(
    "--allow", multiple=True, metavar="CIDR", help="Serve only these networks. May be repeated."
)

proxy_option = click.option(
    "--proxy-from",
    "proxies",
    multiple=True,
    metavar="CIDR",
    help="Connections from these networks start with a PROXY header (version 1 or 2). May be "
    "repeated.",
)


def admitted(allow: Sequence[str], service: Service) -> Service:
    """*service* for the peers of the networks in *allow*; for all, if there are none.

    Raises UsageError.
    """
    if not allow:
        return service
    from ..wire.allow import allowing, parse_network

    return allowing([parse_network(text) for text in allow], service)


def run(
    command: str,
    make: Callable[[Events], Server],
    *,
    form: Form,
    verbose: bool,
    omit: Collection[Kind],
    resolve: bool = False,
    totals: Totals | None = None,
    table: Table | None = None,
) -> int:
    """Run the server that *make* returns until a signal stops it; the exit code of *command*.

    Events of the kinds *omit* are not written; all are added to *totals*. Open connections are in
    *table*.

    SIGTERM and SIGINT stop it; a second one ends it at once, with 1.
    """
    if sys.stdout is None and totals is None:  # closed at the start: events are discarded
        events, writer = Events(), None
    else:
        writer = WriterProcess(
            1, form=form, verbose=verbose, omit=omit, resolve=resolve, totals=totals
        )
        # So that its sums reach the writer within the writer's interval.
        unseen = omit if totals is None else ()
        if table is None:
            events = Events(writer.hand, verbose=verbose, second=0.8, omit=unseen)
        else:
            events = LiveEvents(writer.hand, table, verbose=verbose, second=0.8, omit=unseen)
    try:
        server = make(events)
        _heed_signals(server)  # first: a reader of the listening line may stop the server at once
        server.open()
        server.run()
    except ListenError as error:
        say(f"meari {command}: {error}{_held(error)}")
        return 2
    except MeariError as error:
        say(f"meari {command}: {error}")
        return 2
    finally:
        if writer is not None:
            writer.close()
    return 0


def _held(error: ListenError) -> str:
    """The holders of the port in use, and the remedy."""
    if error.errno != errno.EADDRINUSE or error.port is None:
        return ""
    who = [f"process {pid} ({escape(command)})" for pid, command in holders(error.port)]
    return f"; held by {', '.join(who)}" if who else "; choose another port, or 0 for a free one"


def _heed_signals(server: Server) -> None:
    stopping = False

    def heed(number: int, _: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            server.kill()
            os._exit(1)  # at once: open connections are reset or lost
        stopping = True
        server.stop()

    signal.signal(signal.SIGTERM, heed)
    signal.signal(signal.SIGINT, heed)
