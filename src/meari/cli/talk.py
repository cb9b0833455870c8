"""meari talk: the echo client."""

from __future__ import annotations

import os
import select
import sys
import time
from dataclasses import replace

import click

from ..channel import open_channel
from ..client.comparison import Comparison
from ..client.talk import talk
from ..errors import ConnectError, DeadlineError
from ..http_layers import HttpLayers
from ..net import Endpoint
from . import say
from .addresses import families, parse_one
from .load import hint
from .seconds import Seconds
from .security import Security, proxy_header, secured


class _OutputError(Exception):
    """Standard output cannot take the echo."""


@click.command("talk", short_help="Be the near end: send lines, compare what comes back.")
@click.argument("address", metavar="HOST PORT", nargs=-1, required=True)
@click.option(
    "--timeout",
    type=Seconds(),
    metavar="SECONDS",
    help="Give up when no byte moved for SECONDS, or when the echo is not complete ten times "
    "SECONDS after the end of the input.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Print each system call, its result and the socket's state after it on standard error.",
)
@proxy_header
@secured
@families
def command(
    address: tuple[str, ...],
    timeout: float | None,
    explain: bool,
    family: int | None,
    security: Security,
) -> int:
    """Send standard input to HOST PORT, print the echo, and compare the two.

    At the end of the input the connection is half-closed, and the rest of the echo is read. Exits 0
    if every byte was returned unchanged, 1 if not, 2 if the far end could not be reached.

    \b
    echo hello | meari talk localhost 7007
    meari talk localhost:7007 < file > copy
    meari talk http://localhost:8080/echo < file       the body of one request
    meari talk ws://localhost:8080/ws                  a message for each line
    """
    if explain:
        from .narrator import narrate

        narrate()
    comparison = Comparison()
    trouble = None
    where = parse_one(address, http=True)
    try:
        patience = timeout or 10.0
        began = time.monotonic()
        found = [_streamed(each) for each in security.resolve(where, family or 0, patience)]
        connected = open_channel(found, max(0.001, began + patience - time.monotonic())).channel
    except ConnectError as error:
        say(f"meari talk: {error}{hint(error, where)}")
        return 2
    with connected as channel:
        try:
            talk(channel, 0, _show, comparison, timeout)
        except KeyboardInterrupt:
            pass
        except _OutputError as error:
            say(f"meari talk: standard output: {error}")
            return 1
        except DeadlineError as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"the connection ended: {error.strerror or error}"
    if trouble is not None:
        say(f"meari talk: {trouble}")
    say(str(comparison))
    return 0 if comparison.identical and trouble is None else 1


def _streamed(endpoint: Endpoint) -> Endpoint:
    """The whole input is one request of HTTP, and each line a message of WebSocket."""
    if isinstance(endpoint.layer, HttpLayers):
        return replace(endpoint, layer=replace(endpoint.layer, streamed=True))
    return endpoint


def _show(data: bytes) -> None:
    """Write all of *data* to standard output; if that was closed from the start, it is ignored."""
    if sys.stdout is None:
        return
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(1, left) :]
        except BlockingIOError:  # another process that shares standard output made it nonblocking
            poller = select.poll()
            poller.register(1, select.POLLOUT)
            poller.poll()
        except OSError as error:
            raise _OutputError(error.strerror) from None
