"""meari ping: one round trip after another."""

from __future__ import annotations

import json
import signal

import click

from ..client.ping import Ping
from ..client.ping_events import Connected, PingEvent
from ..errors import ConnectError, Stopped
from ..report import ping as report
from ..stop import Stop
from . import say
from .addresses import families, parse_one
from .load import hint
from .output import show
from .seconds import Seconds
from .security import Security, proxy_header, secured
from .sizes import Sizes


@click.command("ping", short_help="Time one round trip after another.")
@click.argument("address", metavar="HOST PORT", nargs=-1, required=True)
@click.option(
    "-c",
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of messages.  [default: until Ctrl-C]",
)
@click.option(
    "-i",
    "--interval",
    type=Seconds(zero=True),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two messages; 0: send the next when the last is returned.",
)
@click.option(
    "-s",
    "--size",
    type=Sizes(),
    default="64",
    show_default=True,
    metavar="BYTES",
    help="Size of a message: 64, 64K, ...",
)
@click.option(
    "-W",
    "--patience",
    type=Seconds(),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="A message not returned within SECONDS is lost.",
)
@click.option(
    "-w",
    "--deadline",
    type=Seconds(),
    metavar="SECONDS",
    help="End after SECONDS, even before COUNT messages.",
)
@click.option("--spin", is_flag=True, help="Poll without sleeping: no wake-up in the round trip.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the summary.")
@click.option(
    "--json", "as_json", is_flag=True, help="A JSON object for each reply, and one for the summary."
)
@proxy_header
@secured
@families
def command(
    address: tuple[str, ...],
    count: int | None,
    interval: float,
    size: tuple[int, int],
    patience: float,
    deadline: float | None,
    spin: bool,
    quiet: bool,
    as_json: bool,
    family: int | None,
    security: Security,
) -> int:
    """Send a message to HOST PORT each second, verify the echo, and time the round trip.

    Ctrl-C ends it with a summary, Ctrl-\\ (SIGQUIT) prints an interim summary. Exits 0 if all
    messages were returned, 1 if any was lost or differs, 2 if the far end could not be reached.

    \b
    meari ping localhost 7007
    meari ping localhost:7007 -c 1000 -i 0 -q
    """
    if size[0] != size[1]:
        raise click.UsageError("a ping has messages of one size", click.get_current_context())
    where = parse_one(address, http=True)

    try:
        targets = security.resolve(where, family or 0, min(patience, deadline or patience))
    except ConnectError as error:
        say(f"meari ping: {error}")
        return 2

    stop = Stop()

    def publish(event: PingEvent) -> None:
        shown = True
        if as_json and not quiet:
            shown = show(json.dumps(report.of(event)))
        elif not as_json and (
            not quiet or (isinstance(event, Connected) and not ping.summary.returned)
        ):
            shown = show(report.line(event))
        if not shown:
            stop.set()

    ping = Ping(
        targets,
        publish,
        size=size[0],
        interval=interval,
        count=count,
        seconds=deadline,
        patience=patience,
        spin=spin,
    )
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGQUIT, lambda *_: say(report.counts(ping.summary)))
    try:
        summary = ping.run(stop)
    except ConnectError as error:
        say(f"meari ping: {error}{hint(error, where)}")
        return 2
    except Stopped:
        return 130
    finally:
        stop.close()
    if as_json:
        show(json.dumps(report.summary_of(summary)))
    else:
        for line in report.closing(summary, str(where)):
            show(line)
    return 0 if 0 < summary.returned == summary.sent and not summary.faults else 1
