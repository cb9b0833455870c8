"""meari serve: the far end."""

from __future__ import annotations

import re
import typing
from functools import partial

import click

from ..address import HTTP, UNIX
from ..events import Event, Events, Kind
from ..limits import Limits
from ..live import Table
from ..report.events import Form
from ..server import Server
from ..totals import Totals
from ..wire.echo import LineEcho, StreamEcho
from ..wire.protocol import Service
from .addresses import families, parse_all
from .far_end import HttpOptions, http_options
from .foreground import admitted, allow_option, connections_option, engine_option, proxy_option, run
from .lies import LieOptions, lie_options
from .requests import log_request
from .seconds import Seconds
from .security import certified, server_tls

if typing.TYPE_CHECKING:
    pass

_COUNT = click.IntRange(min=1)
# What -q omits.
_QUIET = (Kind.CONNECTED, Kind.RECEIVED, Kind.REQUEST, Kind.CLOSED, Kind.FAILED)


class _Mode(click.ParamType[int]):
    """A file's permissions, in octal."""

    name = "mode"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        text = str(value)
        if not re.fullmatch("0?[0-7]{3}", text):
            self.fail(
                f"{value!r} is not a mode: three octal digits were expected, as in 0600", param, ctx
            )
        return int(text, 8)


@click.command("serve", short_help="Be the far end: send back every byte.")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@engine_option
@click.option(
    "--lines",
    is_flag=True,
    help="Echo line by line, as the book's server does, instead of as received.",
)
@click.option(
    "--workers",
    type=_COUNT,
    default=1,
    metavar="N",
    help="N processes, each with its own loop (event only); limits are divided by N.",
)
@click.option(
    "--threads",
    type=_COUNT,
    default=32,
    show_default=True,
    metavar="N",
    help="Threads of the prethread engine.",
)
@connections_option
@click.option(
    "--per-source",
    type=_COUNT,
    metavar="N",
    help="Connections at once from one address; more are reset.",
)
@click.option(
    "--idle",
    type=Seconds(),
    metavar="SECONDS",
    help="Close a connection on which no byte moved for SECONDS.",
)
@click.option(
    "--peer-timeout",
    type=Seconds(),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Reset a connection whose peer has not acknowledged anything for SECONDS.",
)
@click.option(
    "--drain",
    type=Seconds(zero=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Time to drain: from the stop to the reset of open connections.",
)
@click.option(
    "--line",
    type=_COUNT,
    default=8192,
    show_default=True,
    metavar="BYTES",
    help="The longest line; a longer one is echoed in pieces.",
)
@allow_option
@proxy_option
@click.option(
    "--mode",
    type=_Mode(),
    metavar="MODE",
    help="Mode of a Unix socket's file, in octal.  [default: 0600]",
)
@certified
@http_options
@click.option("--once", is_flag=True, help="Serve one connection, then exit.")
@click.option(
    "--spin",
    is_flag=True,
    help="Poll without sleeping (event only): steadier round trips, for a whole core.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Print each system call, its result and the socket's state after it on standard error.",
)
@lie_options
@click.option("--json", "as_json", is_flag=True, help="Log events as JSON, one object per line.")
@click.option("--resolve", is_flag=True, help="Log host names of clients instead of addresses.")
@click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Log addresses and errors, not connections.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log every connection, even at high rates.")
@families
def command(
    addresses: tuple[str, ...],
    engine: str,
    lines: bool,
    workers: int,
    threads: int,
    connections: int | None,
    per_source: int | None,
    idle: float | None,
    peer_timeout: float,
    drain: float,
    line: int,
    allow: tuple[str, ...],
    proxies: tuple[str, ...],
    mode: int | None,
    cert: str | None,
    key: str | None,
    self_signed: bool,
    client_ca: str | None,
    http: HttpOptions,
    once: bool,
    spin: bool,
    explain: bool,
    lies: LieOptions,
    as_json: bool,
    resolve: bool,
    quiet: bool,
    verbose: bool,
    family: int | None,
) -> int:
    """Listen on each ADDRESS and return every received byte.

    ADDRESS is a port (7007: on every interface), host:port, [::1]:7007 or HOST PORT; port 0 is a
    free one. With tls:// before it, it is over TLS. unix:/path and unix:@name are Unix sockets.
    http://, https:// and http+unix: are an HTTP far end: GET / shows what it has.
    SIGTERM and Ctrl-C drain: bytes already sent by clients are echoed, then it exits 0. A second
    one ends it at once.

    \b
    meari serve 7007
    meari serve --engine iterative --lines 7007      the book's server
    meari serve --lie drop --lie flip 7007           a far end to try a near end on
    meari serve 7007 http://:8080                    /echo, /report, /stream, ...
    """
    asked = parse_all(addresses, http=True)
    bounds = http.check(asked)
    asked += http.beside
    web = any(address.scheme in HTTP for address in asked)
    unix = [address.scheme in UNIX for address in asked]
    if mode is not None and not any(unix):
        raise click.UsageError(
            "--mode is of a Unix socket's file: unix:/path", click.get_current_context()
        )
    if allow and any(unix):
        raise click.UsageError(
            "--allow names networks, and a Unix socket is of none: its --mode admits",
            click.get_current_context(),
        )
    tls, pin = server_tls(asked, cert, key, client_ca, self_signed=self_signed)
    if workers > 1 and once:
        raise click.UsageError(
            "--once serves one connection: it cannot be shared among --workers",
            click.get_current_context(),
        )
    if spin and explain:
        raise click.UsageError(
            "--spin looks without end, and --explain would tell each look",
            click.get_current_context(),
        )
    if spin and engine != "event":
        raise click.UsageError(
            f"--spin is the event engine's, not {engine}'s", click.get_current_context()
        )
    others = lines or workers > 1 or spin or allow or proxies or web
    lies.check(bool(others))
    if explain:
        from .narrator import narrate

        narrate()
    limits = Limits(
        connections, per_source, 1 if once else None, idle, drain, line, threads, spin, peer_timeout
    )
    service: Service = partial(LineEcho, limit=line) if lines else StreamEcho
    permissions = 0o600 if mode is None else mode
    totals, table = (Totals(), Table()) if web else (None, None)

    def make(events: Events) -> Server:
        far_end = None
        if web:
            from ..web.far_end import FarEnd
            from ..web.status import State

            state = State(
                totals,
                _facts(engine, workers, limits),
                table,
                show_peers=http.show_peers,
            )
            far_end = FarEnd(partial(log_request, events), bounds, state)
        if lies.kinds:
            server: Server = lies.liar(asked, limits, events, family or 0, permissions, tls)
        else:
            server = Server(
                *asked,
                engine=engine,
                service=admitted(allow, service),
                http=None if far_end is None else admitted(allow, far_end),
                proxies=proxies,
                limits=limits,
                workers=workers,
                family=family or 0,
                events=events,
                mode=permissions,
                tls=tls,
            )
        if web:
            state.stopping, state.addresses = server.stopping, lambda: server.addresses
        if pin:
            notice = f"self-signed certificate, SHA-256 {pin}: --pin on the near end accepts it"
            events.report(Event(Kind.NOTICE, detail=notice))
        return server

    omit = _QUIET if quiet else ()
    form: Form = "json" if as_json else "text"
    return run(
        "serve",
        make,
        form=form,
        verbose=verbose,
        omit=omit,
        resolve=resolve,
        totals=totals,
        table=table,
    )


def _facts(engine: str, workers: int, limits: Limits) -> dict[str, str]:
    """The settings that the status page lists."""
    found = {
        "engine": engine if workers == 1 else f"{engine}, {workers} workers",
    }
    for name, value in (
        ("connections", limits.connections),
        ("per source", limits.per_source),
        ("idle", None if limits.idle is None else f"{limits.idle:g} s"),
        ("drain", f"{limits.drain:g} s"),
    ):
        if value is not None:
            found[name] = str(value)
    return found
