"""meari tiny: a web server for files and programs."""

from __future__ import annotations

from functools import partial

import click

from ..address import Address
from ..errors import UsageError
from ..events import Event, Events, Kind
from ..limits import Limits
from ..report.events import Form
from ..server import Server
from ..wire.protocol import Service
from .addresses import families, parse_all
from .foreground import admitted, allow_option, connections_option, engine_option, proxy_option, run
from .requests import count_request, log_request
from .seconds import Seconds
from .security import certified, server_tls
from .sizes import Size

_DEFAULT = "localhost:8000"


@click.command("tiny", short_help="Be a web server: the files of a directory, and CGI.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.argument("addresses", metavar="[ADDRESS...]", nargs=-1)
@engine_option
@click.option("--list", "listing", is_flag=True, help="Show the names in a directory.")
@click.option("--cgi", is_flag=True, help="Run the programs in DIRECTORY/cgi-bin/ (CGI).")
@click.option(
    "--cgi-time",
    type=Seconds(),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Kill a program after SECONDS.",
)
@click.option(
    "--max-body",
    type=Size(),
    default="64M",
    show_default=True,
    help="Reject a request whose body is larger.",
)
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
@proxy_option
@certified
@click.option("--json", "as_json", is_flag=True, help="Log events as JSON, one object per line.")
@click.option(
    "--log",
    "form",
    type=click.Choice(["text", "common"]),
    help="common: requests in the Common Log Format; other events go to standard error.",
)
@click.option("-q", "--quiet", is_flag=True, help="Log addresses and errors, not requests.")
@click.option("-v", "--verbose", is_flag=True, help="Log connections too.")
@families
def command(
    directory: str,
    addresses: tuple[str, ...],
    engine: str,
    listing: bool,
    cgi: bool,
    cgi_time: float,
    max_body: int,
    connections: int | None,
    idle: float,
    allow: tuple[str, ...],
    proxies: tuple[str, ...],
    cert: str | None,
    key: str | None,
    self_signed: bool,
    client_ca: str | None,
    as_json: bool,
    form: Form | None,
    quiet: bool,
    verbose: bool,
    family: int | None,
) -> int:
    """Serve the files of DIRECTORY over HTTP/1.1 on each ADDRESS.

    ADDRESS is as for `meari serve`; without one it is localhost:8000. Files outside DIRECTORY are
    not served, whatever links lead there. index.html stands for its directory. Ranges and
    conditional requests are answered. With --cgi, programs in cgi-bin/ answer GET, HEAD and POST
    (RFC 3875); without it they are neither run nor shown. SIGTERM and Ctrl-C drain, then it exits
    0.

    \b
    meari tiny public
    meari tiny --list . 8080                         on every interface
    meari tiny --cgi examples                        /cgi-bin/adder?1&2
    meari tiny --cert site.pem public https://:8443
    """
    from ..web.cgi import Cgi, no_cgi
    from ..web.conversation import Answer, Conversation
    from ..web.files import Files

    if form is not None and as_json:
        raise UsageError("--json and --log are two forms of the log")
    asked: list[Address] = parse_all(addresses or (_DEFAULT,), http=True)
    tls, pin = server_tls(asked, cert, key, client_ca, self_signed=self_signed)

    def make(events: Events) -> Server:
        def say(text: str) -> None:
            events.report(Event(Kind.NOTICE, detail=text))

        files = Files(directory, listing=listing)
        answer: Answer = Cgi(directory, files, seconds=cgi_time, say=say) if cgi else no_cgi(files)
        log = count_request if quiet else partial(log_request, events)
        service: Service = partial(Conversation, answer=answer, log=log, body=max_body)
        service = admitted(allow, service)
        if pin:
            notice = f"self-signed certificate, SHA-256 {pin}"
            events.report(Event(Kind.NOTICE, detail=notice))
        return Server(
            *asked,
            engine=engine,
            service=service,
            http=service,
            proxies=proxies,
            # A socket and a file; or three pipes, an epoll and a pidfd.
            limits=Limits(connections, idle=idle, descriptors=6 if cgi else 2),
            family=family or 0,
            events=events,
            tls=tls,
        )

    omit = [] if verbose else [Kind.CONNECTED, Kind.CLOSED]
    if quiet:
        omit += [Kind.REQUEST, Kind.FAILED]
    form = "json" if as_json else form or "text"
    return run("tiny", make, form=form, verbose=verbose, omit=omit)
