"""`make bench`, second part: the near end beside C, each against the same C server, in alternating
rounds, as ratios.

The server has one core and the near end the other; two processes of a near end have both cores, and
so has the server then. --rounds, --seconds change the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable

import rig

MEARI = [sys.executable, "-m", "meari"]
SPIN = 20_000  # messages of a round


def meari_load(
    port: int, connections: int, size: int, seconds: float, *more: object, core: bool = True
) -> rig.Result:
    """What `meari load` measures; every byte is verified."""
    words = [
        *MEARI,
        "load",
        f"127.0.0.1:{port}",
        "-c",
        connections,
        "-s",
        size,
        "-t",
        seconds,
        "--json",
        *more,
    ]
    done = subprocess.run(
        rig.pinned(1, words) if core else list(map(str, words)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"meari load: exit code {done.returncode}: {done.stderr}{done.stdout[:300]}")
    found = json.loads(done.stdout)
    trip = found["round_trip_us"]
    return rig.Result(found["messages_per_second"], trip["p50"], trip["p99"], 0.0)


def c_loads(port: int, connections: int, size: int, seconds: float, processes: int) -> rig.Result:
    """Several C loads at once, not pinned: their rates added, their round trips averaged."""
    words = [
        str(word) for word in (rig.BUILT / "load", port, connections // processes, size, seconds)
    ]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    rows = [list(map(float, process.communicate()[0].split())) for process in running]
    return rig.Result(
        sum(r[0] / r[1] for r in rows),
        statistics.mean(r[2] for r in rows),
        statistics.mean(r[3] for r in rows),
        0.0,
    )


def show(
    name: str, rounds: int, ours: Callable[[], rig.Result], theirs: Callable[[], rig.Result]
) -> None:
    """A row: medians of the rounds, ratios of the same round."""
    pairs = [
        (ours(), theirs()) if i % 2 else tuple(reversed((theirs(), ours()))) for i in range(rounds)
    ]
    rate = statistics.median(a.rate / b.rate for a, b in pairs)
    medians = [
        statistics.median(getattr(pair[i], what) for pair in pairs)
        for what in ("rate", "p50", "p99")
        for i in (0, 1)
    ]
    print(
        f"  {name:34} {medians[0]:10,.0f} {medians[1]:10,.0f} {rate:6.2f}   "
        f"{medians[2]:8.1f} {medians[3]:8.1f}   {medians[4]:8.1f} {medians[5]:8.1f}",
        flush=True,
    )


def ping(port: int) -> tuple[float, float]:
    """p50 of the C ping and of ours, in turns."""
    theirs = subprocess.run(
        rig.pinned(1, [rig.BUILT / "ping", port, 64, SPIN]),
        capture_output=True,
        text=True,
        check=True,
    )
    words = [*MEARI, "ping", f"127.0.0.1:{port}", "-c", SPIN, "-i", 0, "-q", "--spin", "--json"]
    ours = subprocess.run(rig.pinned(1, words), capture_output=True, text=True, check=True)
    return json.loads(ours.stdout)["round_trip_us"]["p50"], float(theirs.stdout.split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="a server's name: the first part's, and not used here",
    )
    options = parser.parse_args()
    rig.build()
    server = rig.Server("C epoll", [rig.BUILT / "epoll_echo", "PORT"])
    port, n, seconds = server.port, options.rounds, options.seconds
    print(
        "\nmeari load (every byte verified) beside a C load (none is), against the C server: "
        f"medians of {n} rounds of {seconds:g} s"
    )
    print(
        f"  {'':34} {'meari/s':>10} {'C/s':>10} {'ratio':>6}   {'p50 us':>8} {'C':>8}   "
        f"{'p99 us':>8} {'C':>8}"
    )
    try:
        for connections, size in ((64, 64), (8, 65536)):
            show(
                f"{connections} of {size:,} bytes",
                n,
                lambda c=connections, s=size: meari_load(port, c, s, seconds),  # type: ignore[misc]
                lambda c=connections, s=size: rig.load(server, c, s, seconds),  # type: ignore[misc]
            )
        two = lambda: meari_load(port, 64, 64, seconds, "--processes", 2, core=False)  # noqa: E731
        show("64 of 64 bytes, two processes", n, two, lambda: c_loads(port, 64, 64, seconds, 2))
        for rate in (2000, 10_000):
            show(
                f"8 of 64 bytes, {rate:,}/s, open loop",
                n,
                lambda r=rate: meari_load(port, 8, 64, seconds, "--rate", r),  # type: ignore[misc]
                lambda r=rate: rig.load(server, 8, 64, seconds, r),  # type: ignore[misc]
            )
    finally:
        server.close()
    spinning = rig.Server("meari serve --spin", [*MEARI, "serve", "-q", "--spin", "127.0.0.1:PORT"])
    try:
        pairs = [ping(spinning.port) for _ in range(n)]
    finally:
        spinning.close()
    ours, theirs = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    apart = statistics.median(a - b for a, b in pairs)
    print(
        f"\nmeari ping --spin, against meari serve --spin: p50 {ours:.1f} us; a C client that "
        f"spins {theirs:.1f} us; {apart:+.1f} us"
    )


if __name__ == "__main__":
    main()
