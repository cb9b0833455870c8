"""meari tiny: a web server for files."""

from __future__ import annotations

from functools import partial

import click

from ..address import Address
from ..events import Event, Events, Kind
from ..limits import Limits
from ..server import Server
from ..wire.http import Request
from ..wire.protocol import Connection, Service
from .addresses import families, parse_all
from .foreground import allow_option, connections_option, engine_option, run
from .seconds import Seconds
from .security import certified, server_tls

_DEFAULT = "localhost:8000"


@click.command("tiny", short_help="Be a web server: the files of a directory.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.argument("addresses", metavar="[ADDRESS...]", nargs=-1)
@engine_option
@click.option("--list", "listing", is_flag=True, help="Show the names in a directory.")
@connections_option
@click.option(
    "--idle",
    type=Seconds(),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="End a connection on which no byte moved for SECONDS.",
)
@allow_option
@certified
@click.option("--json", "as_json", is_flag=True, help="Log events as JSON, one object per line.")
@click.option("-q", "--quiet", is_flag=True, help="Log addresses and errors, not requests.")
@click.option("-v", "--verbose", is_flag=True, help="Log connections too.")
@families
def command(
    directory: str,
    addresses: tuple[str, ...],
    engine: str,
    listing: bool,
    connections: int | None,
    idle: float,
    allow: tuple[str, ...],
    cert: str | None,
    key: str | None,
    self_signed: bool,
    client_ca: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    family: int | None,
) -> int:
    """Serve the files of DIRECTORY over HTTP/1.1 on each ADDRESS.

    ADDRESS is as for `meari serve`; without one it is localhost:8000. Files outside DIRECTORY are
    not served, whatever links lead there. index.html stands for its directory. Ranges and
    conditional requests are answered. SIGTERM and Ctrl-C drain, then it exits 0.

    \b
    meari tiny public
    meari tiny --list . 8080                         on every interface
    meari tiny --cert site.pem public tls://:8443    https://
    """
    from ..web.conversation import Conversation
    from ..web.files import Files

    asked: list[Address] = parse_all(addresses or (_DEFAULT,))
    tls, pin = server_tls(asked, cert, key, client_ca, self_signed=self_signed)

    def make(events: Events) -> Server:
        answer = Files(directory, listing=listing)
        service: Service = partial(Conversation, answer=answer, log=partial(_log, events))
        if allow:
            from ..wire.allow import allowing, parse_network

            service = allowing([parse_network(text) for text in allow], service)
        if pin:
            notice = f"self-signed certificate, SHA-256 {pin}"
            events.report(Event(Kind.NOTICE, detail=notice))
        return Server(
            *asked,
            engine=engine,
            service=service,
            limits=Limits(connections, idle=idle, descriptors=2),
            family=family or 0,
            events=events,
            tls=tls,
        )

    omit = [] if verbose else [Kind.CONNECTED, Kind.CLOSED]
    if quiet:
        omit += [Kind.REQUEST, Kind.FAILED]
    return run("tiny", make, as_json=as_json, verbose=verbose, omit=omit)


def _log(
    events: Events,
    connection: Connection,
    request: Request | None,
    status: int,
    sent: int,
    seconds: float,
) -> None:
    from ..web.response import line

    shown = "-" if request is None else f'"{line(request)}"'
    detail = f"{shown} {status}"
    peers = (connection.peer,)
    event = Event(Kind.REQUEST, peers, bytes=sent, seconds=seconds, detail=detail)
    events.answered(connection, event)
