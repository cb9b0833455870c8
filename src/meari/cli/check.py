"""meari check: what does this path do to a connection?"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Iterator

import click

from ..address import Address
from ..check.battery import Battery, choose
from ..check.finding import Verdict
from ..check.known import about
from ..check.path import Plan
from ..check.spawned import Spawned
from ..check.spawned import command as command_of
from ..errors import ConnectError, LocalError, Stopped
from ..reach import Target, connect, resolve
from ..report import check as report
from ..report.junit import Case, junit
from ..stop import Stop
from . import say
from .addresses import families, parse_one
from .language import language, of_environment
from .output import Saved, show
from .seconds import Seconds
from .sides import Side, try_all

_PATIENCE = 3.0  # seconds


@click.command("check", short_help="Tell what a path does to a connection.")
@click.argument("address", metavar="[HOST PORT]", nargs=-1)
@click.option(
    "--idle", type=Seconds(), default=60.0, show_default=True, metavar="SECONDS", help="The longest that connections are left idle."
)
@click.option("--clients", type=click.IntRange(2, 10_000), default=20, show_default=True, metavar="N", help="Clients at once, at the most.")
@click.option("--only", multiple=True, metavar="NAMES", help="These properties alone: names, with commas between. May be repeated.")
@click.option("--skip", multiple=True, metavar="NAMES", help="All but these.")
@click.option("--quick", is_flag=True, help="Some seconds in all: less of each, shorter waits, nothing idle.")
@click.option("--list", "as_list", is_flag=True, help="What the properties are.")
@click.option("--against", metavar="ADDRESS", help="Check this too, and tell what the first path adds: through a proxy, and around it.")
@click.option("--spawn", metavar="COMMAND", help="Start this server, {port} put in, and watch it too: './echoserver {port}'.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document.")
@click.option("--junit", "junit_file", type=click.Path(dir_okay=False), metavar="FILE", help="The result as JUnit's XML, for a CI system.")
@language
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
    as_json: bool,
    junit_file: str | None,
    lang: str | None,
    family: int | None,
) -> int:
    """Try what a TCP connection has by right, on the way to the echo at HOST PORT: property by property, with a verdict,
    what was seen, and where it fails the likely cause and what to do.

    The far end may be any echo (RFC 862), and anything may stand in between. Exits 0 if nothing fails, 1 if a property does
    not hold, 2 if nobody could be reached.

    \b
    meari check localhost 7007
    meari check lb.example:7007 --idle 400 --against backend.example:7007
    meari check --spawn './echoserver {port}'
    """
    spoken = lang or of_environment()
    chosen = choose(_names(only), _names(skip), quick=quick, spawned=spawn is not None or as_list)
    if as_list:
        for each in chosen:
            show(f"  {each.name:11}  {about(each.name, spoken)}")
        return 0
    if (spawn is None) == (not address) or (spawn is not None and against is not None):
        wrong = "either HOST PORT, perhaps --against another, or --spawn COMMAND was expected"
        raise click.UsageError(wrong, click.get_current_context())
    plan = Plan(clients, idle, quick)
    stop = Stop()
    with Saved(junit_file) as saved, _stoppable(stop):
        try:
            if spawn is not None:
                words = command_of(spawn)
                sides = [Side(spawn, Battery([], chosen, plan, stop, lambda: _spawned(words, stop, family)), chosen, spawned=True)]
            else:
                where = [parse_one(address)] + ([] if against is None else [parse_one([against])])
                sides = [Side(str(one), Battery(resolve(one, family or 0), chosen, plan, stop), chosen) for one in where]
                if len(sides) > 1:  # whether the last is there is known before the first has taken its time
                    connect(resolve(where[1], family or 0), _PATIENCE, stop)[0].close()
            try_all(sides, None if as_json else spoken)
        except (ConnectError, LocalError) as error:
            say(f"meari check: {error}")
            start = [(f"meari check {spawn or ' '.join(address)}", [Case("start", 0.0, failure=str(error))])]
            saved.write(lambda: junit(start))
            return 2
        except Stopped:
            return 130
        suites = [(f"meari check {side.name}", report.cases(side.results, spoken, spawned=side.spawned)) for side in sides]
        written = saved.write(lambda: junit(suites))
        if as_json:
            documents = [report.document(side.name, side.spawned, side.results, plan, side.seconds, spoken) for side in sides]
            show(json.dumps(documents[0] | ({"against": documents[1]} if len(documents) > 1 else {})))
        elif len(sides) > 1 and all(side.unreachable is None for side in sides):
            for line in report.added(sides[0].results, sides[1].results, sides[0].name, sides[1].name, spoken):
                show(line)
        for side in sides:
            if side.unreachable is not None:
                say(f"meari check: cannot connect to {side.name}: {side.unreachable}{_hint(side.unreachable)}")
                return 2
    if any(result.finding.verdict is Verdict.FAIL for side in sides for result in side.results):
        return 1
    return 0 if written else 2


def _names(given: tuple[str, ...]) -> list[str]:
    return [name.strip() for each in given for name in each.split(",") if name.strip()]


def _hint(reason: str) -> str:
    return "; does a server listen there?" if "refused" in reason else ""


def _spawned(words: list[str], stop: Stop, family: int | None) -> tuple[Spawned, list[Target]]:
    """A server of ours, and where it can be reached: its port on this machine, in each family."""
    has_ipv6 = _has_ipv6()
    server = Spawned(words, stop)
    hosts = [("127.0.0.1", socket.AF_INET)] + ([("::1", socket.AF_INET6)] if has_ipv6 else [])
    targets = [target for host, of in hosts if family in (None, int(of)) for target in resolve(Address(host, server.port), 0)]
    return server, targets


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@contextlib.contextmanager
def _stoppable(stop: Stop) -> Iterator[None]:
    """Ctrl-C and SIGTERM end it."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()
