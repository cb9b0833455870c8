"""meari load: many connections, many messages, every byte verified."""

from __future__ import annotations

import contextlib
import json
import signal
import typing
from collections.abc import Iterator
from dataclasses import replace

import click

from ..address import UNIX, Address
from ..client.plan import Plan
from ..client.results import Result, series
from ..client.thresholds import Threshold
from ..client.workers import Workers
from ..errors import ConnectError, Stopped
from ..report import text
from . import say
from .addresses import families, parse_one
from .output import Output, show
from .saved import Saved
from .seconds import Seconds
from .security import Security, proxy_header, secured
from .sizes import Sizes

if typing.TYPE_CHECKING:
    from ..report.junit import Case

_COUNT = click.IntRange(min=1)


@click.command("load", short_help="Load a far end, and verify every byte.")
@click.argument("address", metavar="HOST PORT", nargs=-1, required=True)
@click.option(
    "-c",
    "--connections",
    type=_COUNT,
    default=1,
    show_default=True,
    metavar="N",
    help="Connections.",
)
@click.option(
    "-s",
    "--size",
    type=Sizes(),
    default="64",
    show_default=True,
    metavar="BYTES",
    help="Size of a message: 64, 64K, or a range: 1-4096.",
)
@click.option(
    "--depth",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    metavar="N",
    help="Outstanding messages on each connection.",
)
@click.option(
    "-t",
    "--seconds",
    type=Seconds(),
    metavar="SECONDS",
    help="Duration.  [default: 10, or until -n]",
)
@click.option("-n", "--messages", type=_COUNT, metavar="N", help="Total number of messages.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Open loop: N messages a second in total, each sent when it is due.",
)
@click.option(
    "--get",
    is_flag=True,
    help="GET the path of an http:// address from any server: every response has the status and "
    "the length of the first.",
)
@click.option("--new-connections", is_flag=True, help="Open a new connection for each message.")
@click.option(
    "--rounds",
    type=_COUNT,
    default=1,
    metavar="N",
    help="Repeat the load N times, to measure the variance between runs, for compare.",
)
@click.option(
    "--warmup",
    type=Seconds(zero=True),
    default=0.0,
    metavar="SECONDS",
    help="Warm up for SECONDS before counting.",
)
@click.option(
    "--processes",
    type=_COUNT,
    default=1,
    show_default=True,
    metavar="N",
    help="Number of processes that share the connections.",
)
@click.option(
    "--interval",
    "every",
    type=Seconds(),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two interim reports.",
)
@click.option(
    "--timeout",
    type=Seconds(),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Close a connection as stalled after SECONDS without a byte.",
)
@click.option(
    "--late",
    type=Seconds(),
    metavar="SECONDS",
    help="Report a fault, delayed, after SECONDS without a byte.  [default: no fault]",
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document.")
@click.option(
    "--ndjson", is_flag=True, help="A JSON object for each interval, and one for the result."
)
@click.option(
    "--save",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Save the result, for meari compare.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Save the result as a self-contained HTML page.",
)
@click.option(
    "--junit",
    "junit_file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Save the result as JUnit XML, for a CI system.",
)
@click.option(
    "--fail-if",
    "fail_if",
    multiple=True,
    metavar="TEST",
    help="Exit 3 if this is true: 'p99>2ms', 'rate<10000'. May be repeated.",
)
@proxy_header
@secured
@families
def command(
    address: tuple[str, ...],
    connections: int,
    size: tuple[int, int],
    depth: int,
    seconds: float | None,
    messages: int | None,
    rate: float | None,
    get: bool,
    new_connections: bool,
    rounds: int,
    warmup: float,
    processes: int,
    every: float,
    timeout: float,
    late: float | None,
    as_json: bool,
    ndjson: bool,
    save: str | None,
    html: str | None,
    junit_file: str | None,
    fail_if: tuple[str, ...],
    family: int | None,
    security: Security,
) -> int:
    """Send messages to HOST PORT, verify every returned byte, and report rates and round trips.

    A closed loop keeps --depth messages in flight on each connection. With --rate the loop is open:
    messages are sent when they are due, and timed from then, so that waiting is not hidden. Exits 1
    if bytes differ or are lost, 3 if a --fail-if is so.
    --get loads any web server; without it, HTTP and WebSocket go to meari's own far end, which
    echoes.

    \b
    meari load localhost 7007 -c 64 -t 5
    meari load localhost:7007 --rate 1000 --fail-if 'p99>2ms'
    meari load --get http://localhost:8000/ -c 64
    """
    where = parse_one(address, http=True)
    if get:
        size = _one_byte(where, size)
    tests = [Threshold.parse(one) for one in fail_if]
    if seconds is None and messages is None:
        seconds = 10.0
    if as_json and ndjson:
        raise click.UsageError(
            "--json is one document, --ndjson a line for each: one of them",
            click.get_current_context(),
        )
    plan = Plan(
        str(where),
        connections,
        *size,
        depth,
        seconds,
        messages,
        warmup,
        rate,
        new_connections,
        processes,
        every,
        timeout,
        late,
    )
    with Saved(save) as saved, Saved(html) as paged, Saved(junit_file) as cases:
        results: list[Result] = []
        try:
            targets = security.resolve(where, family or 0, timeout)
            if get:
                from ..client.probe import probe

                targets, content, kept = probe(targets, timeout)
                plan = replace(plan, content=content)
                if not kept and not new_connections:
                    say(
                        "meari load: the server ends the connection after a response: use"
                        " --new-connections"
                    )
                    return 2
            while len(results) < rounds:
                workers = Workers(plan, targets)
                with Output(workers, as_json, ndjson) as output, stoppable(workers):
                    results.append(workers.run(output.interval, output.idle))
                if rounds == 1 or not as_json:
                    output.result(results[-1])
                if workers.stopped:
                    break
        except ConnectError as error:
            say(f"meari load: {error}{hint(error, where)}")
            return 2
        except Stopped:
            return 130
        document = results[0].to_json() if rounds == 1 else series(results)
        if as_json and rounds > 1:
            show(json.dumps(document))
        written = [
            saved.write(lambda: json.dumps(document) + "\n"),
            paged.write(lambda: _page(results[-1])),
            cases.write(lambda: _cases(results, tests)),
        ]
    return max(verdict(result, tests) for result in results) or (0 if all(written) else 2)


def _one_byte(where: Address, size: tuple[int, int]) -> tuple[int, int]:
    """The size of a message that stands for a GET request. Raises click.UsageError."""
    context = click.get_current_context()
    if where.scheme not in ("http", "https", "http+unix"):
        raise click.UsageError("--get is of an http:// or https:// address", context)
    if context.get_parameter_source("size") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--size is of an echo's messages: --get sends none", context)
    return 1, 1


def _page(result: Result) -> str:
    from ..report.html import page

    return page(result)


def _cases(results: list[Result], tests: list[Threshold]) -> str:
    """JUnit's XML: for each round a case for the bytes, and one for each threshold."""
    from ..report.junit import junit

    return junit([(f"meari load {result.far_end}", _of_round(result, tests)) for result in results])


def _of_round(result: Result, tests: list[Threshold]) -> list[Case]:
    from ..report.junit import Case

    said = list(text.lines(result))
    spoiled = (
        "\n".join(text.faults(result))
        if result.faults
        or not result.complete
        or result.count.unserved
        or not result.count.messages
        else None
    )
    cases = [Case("bytes", result.seconds, failure=spoiled, note="\n".join(said))]
    cases += [Case(test.text, 0.0, failure=test.crossed(result)) for test in tests]
    return cases


def hint(error: ConnectError, where: Address) -> str:
    """The remedy if nothing listens."""
    secure = f"://:{where.port} --cert FILE"
    listening = {
        **dict.fromkeys(UNIX, str(where)),
        "tls": f"tls{secure}",
        **dict.fromkeys(("https", "wss"), f"https{secure}"),
        **dict.fromkeys(("http", "ws"), f"http://:{where.port}"),
    }.get(where.scheme, str(where.port))
    serve = f"meari serve {listening}"
    return f"; does a server listen there? ({serve})" if "refused" in str(error) else ""


def verdict(result: Result, tests: list[Threshold]) -> int:
    """The exit code, and the message about it."""
    crossed = [said for test in tests if (said := test.crossed(result)) is not None]
    for said in crossed:
        say(f"meari load: {said}")
    if not result.count.messages:
        say("meari load: not one message came back as it was sent")
        return 1
    if result.faults or not result.complete or result.count.unserved:
        return 1
    return 3 if crossed else 0


@contextlib.contextmanager
def stoppable(workers: Workers) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run early, and what was counted is reported; SIGQUIT (Ctrl-\\)
    shows the status.
    """
    before = {
        number: signal.signal(number, lambda *_: workers.stop())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    before[signal.SIGQUIT] = signal.signal(
        signal.SIGQUIT, lambda *_: say(text.status(workers.result))
    )
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
