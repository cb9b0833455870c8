"""A far end that lies is found out: a thousand lies of each kind, each by kind and place."""

from __future__ import annotations

import time
import typing
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from meari import Stop, UsageError, open_client
from meari.client import tally
from meari.client.flow import Flow
from meari.client.flows import Flows
from meari.client.load import Load
from meari.client.plan import Plan
from meari.client.tally import Count
from meari.net import resolve
from meari.stream.pattern import origin
from meari.stream.verify import Fault
from meari.testing import LIES, Liar
from meari.testing.liar import _Lying
from meari.tls_context import client_context, server_context
from meari.wire.secured import ClientTls

from . import certificates
from .lies import told
from .program import Serving, run

RUN = 0xC0FFEE
LEAST = 1000
# What is sent until each has been told so often: (connections, messages, more of the plan, bytes
# from lie to lie).
PLANS: dict[str, tuple[int, int, dict[str, typing.Any], int]] = {
    "truncate": (64, 6000, {}, 4096),
    "append": (16, 1300, {"depth": 1, "new_connections": True}, 1024),
    "delay": (64, 4200, {"late": 0.02}, 4096),
    "stall": (128, 6200, {"timeout": 1.0}, 4096),
    "reset": (64, 10_000, {}, 4096),
}


def load(
    liar: Liar, plan: Plan, monkeypatch: pytest.MonkeyPatch, tls: ClientTls | None = None
) -> tuple[Count, dict[int, int], dict[int, int]]:
    """What a load finds, its number of each of the liar's connections, and how many bytes went out
    on each of its own.
    """
    numbers: dict[int, int] = {}
    sent: dict[int, int] = {}
    receiving, dropping = _Lying.receive, Flows.drop

    def receive(self: _Lying, data: bytes, /) -> bytes:
        if self.number not in numbers:
            found = origin(data[:16])
            assert found is not None
            numbers[self.number] = found.connection
        return receiving(self, data)

    def drop(self: Flows, flow: Flow, again: int | None) -> None:
        sent[flow.connection] = flow._made
        dropping(self, flow, again)

    monkeypatch.setattr(_Lying, "receive", receive)
    monkeypatch.setattr(Flows, "drop", drop)
    monkeypatch.setattr(tally, "FAULTS", 1 << 30)  # all of them are told, not the first thousand
    count = Count()
    stop = Stop()
    one = Load(plan, resolve(liar.addresses[0], tls=tls), RUN, (0, 1), stop, count.add)
    one.connect()
    one.run(time.monotonic_ns())
    count.add(one.finish())
    stop.close()
    return count, numbers, sent


SLOW = ("stall", "delay", "drop")
# A Unix socket has no reset: its end is the end of file.
TRIED = [
    pytest.param(kind, transport, marks=[pytest.mark.long] * (transport != "tcp" or kind in SLOW))
    for transport in ("tcp", "unix", "tls")
    for kind in LIES
    if (kind, transport) != ("reset", "unix")
]


@pytest.mark.parametrize(("kind", "transport"), TRIED)
def test_a_thousand_lies_are_named(
    kind: str, transport: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connections, messages, more, every = PLANS.get(kind, (16, 1200, {}, 8192))
    plan = Plan(
        "x", connections, 8192, 16_384, **{"depth": 4, "seconds": 60, "messages": messages, **more}
    )
    address, far, near = "127.0.0.1:0", None, None
    if transport == "unix":
        address = f"unix:{tmp_path}/liar"
    elif transport == "tls":
        path = certificates.path
        address, far = "tls://127.0.0.1:0", server_context(path("server.pem"), path("server.key"))
        near = ClientTls(client_context(path("ca.pem")))
    with Liar(address, lies=(kind,), every=every, seed=7, tls=far) as liar:
        count, numbers, sent = load(liar, plan, monkeypatch, near)
    assert len(liar.lies) >= LEAST
    lies: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for lie in liar.lies:
        number = numbers[lie.connection]
        expected = told(lie, RUN, number)
        if kind == "drop" and expected[1] + expected[2] >= sent[number]:
            expected = ("truncated", *expected[1:])  # nothing came after it
        lies[number].append(expected)
    faults: dict[int, list[Fault]] = defaultdict(list)
    for fault in count.faults:
        faults[fault.connection].append(fault)
    for number in sent:
        found = sorted((fault.kind, fault.offset, fault.length) for fault in faults[number])
        # One that only our own half-close ends, when all is sent, is told as truncated.
        if kind == "stall":
            found = [(row[0].replace("truncated", "stalled"), *row[1:]) for row in found]
        if kind == "delay":  # a busy machine may delay more
            assert {row[:2] for row in lies[number]} <= {row[:2] for row in found}
        elif kind in ("truncate", "stall"):  # the length is what was under way just then
            assert [row[:2] for row in found] == sorted(row[:2] for row in lies[number])
        elif kind == "reset":  # what was on its way back went with it
            assert [row[0] for row in found] == [row[0] for row in lies[number]]
            assert all(one[1] <= other[1] for one, other in zip(found, lies[number], strict=True))
        else:
            assert found == sorted(lies[number])
    if kind == "stall":
        assert sum(fault.kind == "stalled" for fault in count.faults) >= 0.9 * LEAST
    if kind == "swap":
        assert all(
            fault.origin is not None and fault.origin.connection != fault.connection
            for fault in count.faults
        )


def test_lies_are_48_to_4096_bytes_and_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with Liar(
        "127.0.0.1:0",
        lies=("flip", "drop", "insert", "duplicate", "reorder", "replay"),
        every=2048,
        seed=3,
    ) as liar:
        load(liar, Plan("x", 1, 65536, 65536, depth=2, seconds=60, messages=30), monkeypatch)
    lengths = [lie.length for lie in liar.lies]
    assert (
        all(n == 1 or 48 <= n <= 4096 for n in lengths)
        and len({lie.kind for lie in liar.lies}) == 6
    )
    for one, other in zip(liar.lies, liar.lies[1:], strict=False):
        taken = 0 if one.kind in ("insert", "replay") else one.length
        assert other.offset - one.offset - taken >= 1024


def test_a_seed_gives_the_same_lies() -> None:
    def lies(seed: int) -> list[tuple[str, int, int]]:
        with (
            Liar("127.0.0.1:0", lies=("flip", "duplicate"), every=1024, seed=seed) as liar,
            open_client(liar.addresses[0]) as rio,
        ):
            for _ in range(20):  # each message is one read: at least as many bytes come back
                rio.writen(bytes(1000))
                rio.readexactly(1000)
            rio.shutdown()
            assert rio.readn(1 << 20)
        return [(lie.kind, lie.offset, lie.length) for lie in liar.lies]

    assert lies(1) == lies(1) != lies(2)


def test_what_cannot_be_is_said() -> None:
    cases: list[dict[str, typing.Any]] = [{"lies": ("fib",)}, {"lies": ()}, {"every": 100}]
    for wrong in cases:
        with pytest.raises(UsageError):
            Liar("127.0.0.1:0", **wrong)


def test_the_fixtures(meari_server: typing.Any, meari_liar: Callable[..., Liar]) -> None:
    with open_client(meari_server.addresses[0]) as rio:
        rio.writen(b"hello\n")
        assert rio.readline() == b"hello\n"
    liar = meari_liar("flip", every=1024)
    with open_client(liar.addresses[0]) as rio:
        rio.writen(bytes(4096))
        assert rio.readexactly(4096) != bytes(4096)
    assert liar.lies


def test_on_the_command_line() -> None:
    with Serving("--lie", "flip", "--lie-every", "2000", "--seed", "5") as server:
        assert (
            server.lines[0]
            == "THIS FAR END LIES: flip; a lie in about 2,000 bytes of a connection; seed 5"
        )
        done = run("load", str(server.address), "-s", "1000", "-n", "100")
        assert done.returncode == 1
        assert b"flipped" in done.stdout and b"bit " in done.stdout
        server.wait_for("lied to .*: flipped, 1 byte at ")
    for wrong in (
        ["--lie", "fib", "0"],
        ["--seed", "1", "0"],
        ["--lie", "flip", "--engine", "event", "0"],
        ["--lie-every", "9999", "0"],
    ):
        done = run("serve", *wrong)
        assert done.returncode == 2 and b"Traceback" not in done.stderr
