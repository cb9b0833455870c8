"""`make bench`: every engine beside the C server and other makes, in one run, as ratios.

A round loads each server in turn; a ratio is of one round, the C server's figure below the line,
and the median of the rounds is printed. The server has one core and the load the other, so where
the server is fast the load is the limit of both rates: the ratio of processor time is the one to
trust there. --rounds, --seconds, --only NAME change the run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import sys
from collections.abc import Callable

import rig

MEARI = [sys.executable, "-m", "meari", "serve"]
RIVALS = [sys.executable, rig.HERE / "rivals.py"]
SPECS = [(1, 64), (64, 64), (8, 65536)]


def candidates() -> dict[str, list[object]]:
    found: dict[str, list[object]] = {
        "C epoll": [rig.BUILT / "epoll_echo", "PORT"],
        "meari event": [*MEARI, "127.0.0.1:PORT"],
    }
    for engine in ("thread", "prethread", "process"):
        threads = ["--threads", "64"] if engine == "prethread" else []
        found[f"meari {engine}"] = [*MEARI, "--engine", engine, *threads, "127.0.0.1:PORT"]
    for rival in ("asyncio", "uvloop", "gevent", "socketserver"):
        if importlib.util.find_spec(rival) is None:
            print(f"{rival} is not installed here and left out")
        else:
            found[rival] = [*RIVALS, rival, "PORT"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="part of a server's name; may be repeated"
    )
    options = parser.parse_args()
    rig.build()
    commands = {
        name: words
        for name, words in candidates().items()
        if name == "C epoll" or any(o in name for o in options.only or [""])
    }
    print(
        f"median of {options.rounds} rounds of {options.seconds:g} s; ratios to the C server of "
        "the same round"
    )
    with contextlib.ExitStack() as stack:
        servers = []
        for name, words in commands.items():
            servers.append(rig.Server(name, words))
            stack.callback(servers[-1].close)
        for connections, size in SPECS:
            print(f"\n{connections} connection{'s' * (connections > 1)} of {size:,} bytes")
            print(
                f"  {'':18} {'messages/s':>11} {'rate':>7} {'p50':>7} {'p99':>7} "
                f"{'cpu/message':>12}"
            )
            rounds = [
                [rig.load(server, connections, size, options.seconds) for server in servers]
                for _ in range(options.rounds)
            ]
            for i, server in enumerate(servers):

                def ratio(of: Callable[[rig.Result], float], i: int = i) -> float:
                    return statistics.median(of(one[i]) / max(of(one[0]), 1e-9) for one in rounds)  # noqa: B023

                rate = statistics.median(one[i].rate for one in rounds)
                ratios = (
                    ratio(lambda r: r.rate),
                    ratio(lambda r: r.p50),
                    ratio(lambda r: r.p99),
                    ratio(lambda r: r.cpu),
                )
                print(
                    f"  {server.name:18} {rate:11,.0f} {ratios[0]:7.2f} {ratios[1]:7.2f} "
                    f"{ratios[2]:7.2f} {ratios[3]:12.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
