"""meari compare: do two loads differ?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import click

from ..client.compare import LEAST, Ratio, rounds, saved
from ..client.plan import Plan
from ..client.results import Result, load_results
from ..client.tally import NETWORK
from ..client.workers import Workers
from ..errors import ConnectError, Stopped
from ..net import resolve
from . import say
from .addresses import families, parse_all
from .load import stoppable
from .output import show
from .seconds import Seconds
from .security import Security, secured
from .sizes import Sizes

_WARM = 0.3  # seconds of the warm-up round
_COUNT = click.IntRange(min=1)


@click.command("compare", short_help="Tell whether two loads differ, and by how much.")
@click.argument("files", metavar="[A B]", nargs=-1)
@click.option(
    "--through",
    metavar="ADDRESS",
    help="Load this address and that of --direct in alternating rounds.",
)
@click.option(
    "--direct", metavar="ADDRESS", help="Address of the same far end without the middlebox."
)
@click.option(
    "--rounds",
    "n",
    type=click.IntRange(min=LEAST),
    default=9,
    show_default=True,
    metavar="N",
    help="Rounds of each.",
)
@click.option(
    "-t",
    "--seconds",
    type=Seconds(),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Duration of a round.",
)
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
    type=_COUNT,
    default=1,
    show_default=True,
    metavar="N",
    help="Outstanding messages on each connection.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Open loop: N messages a second.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@secured
@families
def command(
    files: tuple[str, ...],
    through: str | None,
    direct: str | None,
    n: int,
    seconds: float,
    connections: int,
    size: tuple[int, int],
    depth: int,
    rate: float | None,
    as_json: bool,
    family: int | None,
    security: Security,
) -> int:
    """Compare two saved results, or two addresses loaded in alternating rounds.

    Each round is a run of its own; each ratio has an interval from the variance between rounds. If
    the interval contains 1, no difference was found (method: docs/measuring.md). Exits 0 whether or
    not they differ, 1 if a load found faults.

    \b
    meari compare before.json after.json
    meari compare --through proxy:7007 --direct server:7007
    """
    context = click.get_current_context()
    if (through is None) != (direct is None):
        raise click.UsageError("--through and --direct go together", context)
    if (through is not None) == bool(files) or len(files) not in (0, 2):
        raise click.UsageError(
            "two saved results were expected, or --through ADDRESS --direct ADDRESS", context
        )
    if files:
        one, other = load_results(files[0]), load_results(files[1])
        names, ratios = (files[0], files[1]), saved(one, other)
        faults = sum(_faults(result) for result in (*one, *other))
        if str(one[0].plan) != str(other[0].plan):
            say(f"meari compare: they were not run alike: {one[0].plan}; {other[0].plan}")
        if ratios and not ratios[0].between:
            say(
                f"meari compare: {len(one)} and {len(other)} runs: how much two runs of the same"
                " vary is not known, so no difference can be concluded; save rounds (meari load"
                " --rounds 7 --save FILE), or load both in turns (--through, --direct)"
            )
        network = [_again(one), _again(other)]
    else:
        plan = Plan(str(through), connections, *size, depth, seconds, None, min(0.2, seconds), rate)
        try:
            pairs = _rounds(plan, str(through), str(direct), n, family or 0, security)
        except ConnectError as error:
            say(f"meari compare: {error}")
            return 2
        except Stopped:
            return 130
        names, ratios = ("through", "direct"), rounds([a for a, _ in pairs], [b for _, b in pairs])
        faults = sum(_faults(a) + _faults(b) for a, b in pairs)
        network = [_again([a for a, _ in pairs]), _again([b for _, b in pairs])]
    if not ratios:
        say(
            f"meari compare: nothing to compare: {LEAST} rounds of each are needed in which"
            " messages came back"
        )
        return 1 if faults else 2
    _report(names, ratios, as_json, faults, network)
    return 1 if faults else 0


def _rounds(
    plan: Plan, through: str, direct: str, n: int, family: int, security: Security
) -> list[tuple[Result, Result]]:
    """Load one, then the other, *n* times; the order alternates.

    A short round of each before is not counted.
    """
    where = {address: parse_all([address], http=True)[0] for address in (through, direct)}
    tls = security.tls(list(where.values()))
    targets = {address: resolve(where[address], family, tls=tls) for address in where}
    roles = (("through", through), ("direct", direct))
    found: list[tuple[Result, Result]] = []
    for i in range(-1, n):
        results = {}
        for role, address in roles if i % 2 == 0 else reversed(roles):
            seconds = plan.seconds if i >= 0 or plan.seconds is None else min(_WARM, plan.seconds)
            workers = Workers(
                dataclasses.replace(plan, address=address, seconds=seconds), targets[address]
            )
            with stoppable(workers):
                results[role] = workers.run()
            if workers.stopped:
                raise Stopped("stopped")
        if i >= 0:
            found.append((results["through"], results["direct"]))
    return found


def _faults(result: Result) -> int:
    """Faults, and messages and connections without an answer: the reasons for exit code 1."""
    return (
        result.faults
        + result.count.unserved
        + (
            0
            if result.complete
            else result.count.missing + result.count.unfinished + result.count.unconnected
        )
    )


def _again(results: Sequence[Result]) -> dict[str, int]:
    """The kernel's counters of all rounds (tally.NETWORK)."""
    return {name: sum(getattr(result.count, name) for result in results) for name in NETWORK}


def _report(
    names: tuple[str, str],
    ratios: list[Ratio],
    as_json: bool,
    faults: int,
    network: list[dict[str, int]],
) -> None:
    if as_json:
        found = [dataclasses.asdict(ratio) | {"differs": ratio.differs} for ratio in ratios]
        show(
            json.dumps(
                {
                    "type": "comparison",
                    "first": names[0],
                    "second": names[1],
                    "faults": faults,
                    "ratios": found,
                    "network": network,
                }
            )
        )
        return
    if faults:
        show(
            f"the loads found {faults:,} faults, which meari load reports; damaged messages are not"
            " compared"
        )
    for ratio in ratios:
        show(ratio.sentence(*names))
    if any(any(counts.values()) for counts in network):
        show(
            "; ".join(
                f"{name}: {_counts(counts)}" for name, counts in zip(names, network, strict=True)
            )
        )


def _counts(counts: dict[str, int]) -> str:
    again, order = counts["retransmitted"], counts["out_of_order"]
    return f"{again:,} segments sent again, {order:,} arrived out of order"
