"""How often `compare` reports a difference between a far end and itself, for real: python
bench/same.py [COMPARISONS] [BUSY].

BUSY: processes that only compute, beside it. At most one comparison in twenty should report any
difference.
"""

from __future__ import annotations

import multiprocessing
import sys
import time

from meari import Address, Server
from meari.client.compare import rounds
from meari.client.plan import Plan
from meari.client.results import Result
from meari.client.workers import Workers
from meari.net import resolve

ROUNDS, SECONDS = 9, 0.1


def spin() -> None:
    while True:
        pass


def one(address: str) -> bool:
    """One comparison in alternating rounds: whether it reports a difference."""
    targets = resolve(Address.parse(address), 0)
    plan = Plan(address, seconds=SECONDS)
    found: list[list[Result]] = [[], []]
    for i in range(-1, ROUNDS):
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            result = Workers(plan, targets).run()
            if i >= 0:
                found[which].append(result)
    return any(ratio.differs for ratio in rounds(found[0], found[1]))


def main() -> None:
    comparisons = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    busy = [
        multiprocessing.Process(target=spin, daemon=True)
        for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    ]
    for process in busy:
        process.start()
    began, differ = time.monotonic(), 0
    with Server("127.0.0.1:0", engine="process") as server:
        for n in range(1, comparisons + 1):
            differ += one(str(server.addresses[0]))
            if n % 20 == 0:
                print(
                    f"{differ} of {n} comparisons report a difference "
                    f"({time.monotonic() - began:.0f} s)",
                    flush=True,
                )
    for process in busy:
        process.kill()


if __name__ == "__main__":
    main()
