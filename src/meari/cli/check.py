"""meari check: what does this path do to a connection?"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import click

from ..address import HTTP, Address
from ..channel import open_channel
from ..check.battery import Battery, choose
from ..check.catalogue import about
from ..check.finding import Verdict
from ..check.path import Plan
from ..check.spawned import START, Spawned, adopt
from ..check.spawned import command as command_of
from ..check.web.path import endpoints
from ..errors import ConnectError, LocalError, Stopped
from ..net import Endpoint, resolve
from ..report import check as report
from ..report.junit import Case, junit
from ..stop import Stop
from . import say
from .addresses import families, parse_one
from .language import language
from .language import spoken as language_of
from .output import show
from .saved import Saved
from .seconds import Seconds
from .security import Security, proxy_header, secured
from .sides import Side, try_all

_PATIENCE = 3.0  # seconds


@click.command("check", short_help="Tell what a path does to a connection.")
@click.argument("address", metavar="[HOST PORT]", nargs=-1)
@click.option(
    "--idle",
    type=Seconds(),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest time for which connections are left idle.",
)
@click.option(
    "--clients",
    type=click.IntRange(2, 10_000),
    default=20,
    show_default=True,
    metavar="N",
    help="Number of clients at once, at most.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAMES",
    help="Check only these properties: names, separated by commas. May be repeated.",
)
@click.option("--skip", multiple=True, metavar="NAMES", help="Check all properties except these.")
@click.option(
    "--quick",
    is_flag=True,
    help="Finish in a few seconds: less data, shorter waits, no idle connections.",
)
@click.option("--list", "as_list", is_flag=True, help="List the properties.")
@click.option(
    "--against",
    metavar="ADDRESS",
    help="Check this address too, and report what differs: through a proxy, and around it.",
)
@click.option(
    "--spawn",
    metavar="COMMAND",
    help="Start this server, with its port for {port}, and watch its process: "
    "'./echoserver {port}'.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="With --spawn: the fixed port on which the server listens.",
)
@click.option(
    "--start",
    type=Seconds(),
    default=START,
    show_default=True,
    metavar="SECONDS",
    help="With --spawn: time within which the server has to listen.",
)
@click.option("--lenient", is_flag=True, help="Exit 0 also if a property could not be judged.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document.")
@click.option(
    "--junit",
    "junit_file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Save the result as JUnit XML, for a CI system.",
)
@language
@proxy_header
@secured
@families
def command(
    address: tuple[str, ...],
    idle: float,
    clients: int,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    quick: bool,
    as_list: bool,
    against: str | None,
    spawn: str | None,
    port: int | None,
    start: float,
    lenient: bool,
    as_json: bool,
    junit_file: str | None,
    lang: str | None,
    family: int | None,
    security: Security,
) -> int:
    """Check the path to the echo server at HOST PORT, property by property: a verdict, the
    measurements, and for a failure the likely cause and the remedy.

    The far end may be any echo server (RFC 862), and there may be any middlebox between. Exits 0 if
    nothing fails, 1 if a property does not hold or could not be judged, 2 if the far end could not
    be reached. Ctrl-C reports the properties tried so far.

    \b
    meari check localhost 7007
    meari check lb.example:7007 --idle 400 --against backend.example:7007
    meari check --spawn './echoserver {port}'
    """
    spoken = language_of(lang)
    asked = [[*address], [against] if against else []]
    where = [parse_one(words, http=True) for words in asked if words]
    if any(one.scheme in HTTP and "?" in one.path for one in where):
        raise click.UsageError(
            "a prefix of paths has no query: http://HOST:PORT/PREFIX", click.get_current_context()
        )
    chosen = choose(
        _names(only),
        _names(skip),
        quick=quick,
        spawned=None if as_list else spawn is not None,
        schemes={one.scheme for one in where} or ({"tls"} if as_list else {"tcp"}),
    )
    web = any(one.scheme in HTTP for one in where)
    if as_list:
        for each in chosen:
            show(f"  {each.name:11}  {about(each.name, spoken, web=web)}")
        return 0
    if (spawn is None) == (not address) or (spawn is not None and against is not None):
        wrong = "either HOST PORT, perhaps --against another, or --spawn COMMAND was expected"
        raise click.UsageError(wrong, click.get_current_context())
    if port is not None and spawn is None:
        raise click.UsageError(
            "--port is of a server that is started: --spawn COMMAND", click.get_current_context()
        )
    plan = Plan(clients, idle, quick)
    stop = Stop()
    sides: list[Side] = []
    with (
        Saved(junit_file) as saved,
        _stoppable(stop, lambda: _status(sides, len(chosen))) as signals,
    ):
        interrupted = False
        try:
            if spawn is not None:
                words = command_of(spawn, port)
                adopt()
                started = partial(_spawned, words, stop, family, port=port, start=start)
                battery = Battery([], chosen, plan, stop, started)
                battery.one_server = port is not None
                sides = [Side(spawn, battery, chosen, spawned=True)]
            else:
                tls = security.tls(where, known=True)
                plan.pin = security.digest
                found = [security.announced(resolve(one, family or 0, tls=tls)) for one in where]
                found = [
                    endpoints(targets, one, tls) if one.scheme in HTTP else targets
                    for one, targets in zip(where, found, strict=True)
                ]
                sides = [
                    Side(str(one), Battery(targets, chosen, plan, stop, address=one), chosen)
                    for one, targets in zip(where, found, strict=True)
                ]
                # The second path is tried for reachability before the first takes its time.
                if len(sides) > 1:
                    open_channel(found[1], _PATIENCE, stop).channel.close()
            try_all(sides, None if as_json else spoken)
        except (ConnectError, LocalError) as error:
            say(f"meari check: {error}")
            failed = [
                (
                    f"meari check {spawn or ' '.join(address)}",
                    [Case("start", 0.0, failure=str(error))],
                )
            ]
            saved.write(lambda: junit(failed))
            return 2
        except Stopped:
            interrupted = True
        sides = [side for side in sides if side.began]
        suites = [
            (
                f"meari check {side.name}",
                report.cases(side.results, spoken, spawned=side.spawned, lenient=lenient),
            )
            for side in sides
        ]
        written = saved.write(lambda: junit(suites))
        if as_json and sides:
            documents = [
                report.document(
                    side.name,
                    side.spawned,
                    side.results,
                    plan,
                    side.seconds,
                    spoken,
                    interrupted=interrupted,
                )
                for side in sides
            ]
            show(
                json.dumps(documents[0] | ({"against": documents[1]} if len(documents) > 1 else {}))
            )
        if interrupted:
            tried = sum(len(side.results) for side in sides)
            say(report.interrupted(tried, len(chosen) * (2 if against else 1), spoken))
            return 128 + (signals[0] if signals else signal.SIGINT)
        if not as_json and len(sides) > 1 and all(side.unreachable is None for side in sides):
            for line in report.added(
                sides[0].results, sides[1].results, sides[0].name, sides[1].name, spoken
            ):
                show(line)
        for side in sides:
            if side.unreachable is not None:
                say(
                    f"meari check: cannot connect to {side.name}: {side.unreachable}"
                    f"{_hint(side.unreachable)}"
                )
                return 2
    wrong_ones = {Verdict.FAIL} if lenient else {Verdict.FAIL, Verdict.UNKNOWN}
    if any(result.finding.verdict in wrong_ones for side in sides for result in side.results):
        return 1
    return 0 if written else 2


def _names(given: tuple[str, ...]) -> list[str]:
    return [name.strip() for each in given for name in each.split(",") if name.strip()]


def _hint(reason: str) -> str:
    return "; does a server listen there?" if "refused" in reason else ""


def _spawned(
    words: list[str], stop: Stop, family: int | None, *, port: int | None, start: float
) -> tuple[Spawned, list[Endpoint]]:
    """A started server and its targets: its port on this machine, in each family."""
    has_ipv6 = _has_ipv6()
    server = Spawned(words, stop, port=port, start=start)
    hosts = [("127.0.0.1", socket.AF_INET)] + ([("::1", socket.AF_INET6)] if has_ipv6 else [])
    targets = [
        target
        for host, of in hosts
        if family in (None, int(of))
        for target in resolve(Address(host, server.port), 0)
    ]
    return server, targets


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def _status(sides: Sequence[Side], chosen: int) -> str:
    """One line: progress, properties that do not hold, properties being tried."""
    results = [result for side in sides for result in side.results]
    wrong = (
        ", ".join(result.name for result in results if result.finding.verdict is Verdict.FAIL)
        or "none"
    )
    running = ", ".join(sorted({name for side in sides for name in side.battery.running.copy()}))
    tried = f"{len(results)} of {chosen * max(1, len(sides))} tried"
    return f"{tried}, FAIL: {wrong}; running: {running or '-'}"


@contextlib.contextmanager
def _stoppable(stop: Stop, status: Callable[[], str]) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM end it, SIGQUIT (Ctrl-\\) shows its status; the signals that came."""
    came: list[int] = []

    def end(number: int, _: object) -> None:
        came.append(number)
        stop.set()

    before = {
        number: signal.signal(number, end)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    before[signal.SIGQUIT] = signal.signal(signal.SIGQUIT, lambda *_: say(status()))
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()
