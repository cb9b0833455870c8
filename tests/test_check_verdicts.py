"""Verdicts that were wrong once: a green exit where nothing was tried, a path that dies, loss that
is reordering.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
import threading
import typing
from collections.abc import Iterator
from pathlib import Path as File
from xml.etree import ElementTree

import pytest

from meari import Server, Stop, net
from meari.check.finding import Verdict
from meari.check.path import Known, Path, Plan
from meari.check.properties import connect, slow_reader
from meari.net import Endpoint, resolve
from meari.sockets import free_port

from . import servers
from .middleboxes import need, running
from .network import FAR, Network
from .program import run


def verdicts(port: int | str, *options: str) -> tuple[int, dict[str, dict[str, typing.Any]]]:
    """The exit code, and each property by its name."""
    done = run(
        "check",
        *(["localhost"] if isinstance(port, int) else []),
        str(port),
        "--json",
        *options,
        timeout=100,
    )
    return done.returncode, {each["name"]: each for each in json.loads(done.stdout)["properties"]}


# Nothing was tried


class EveryFourth:
    """An echo behind which one of four connections ends at once."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def __call__(self, sock: socket.socket, over: threading.Event) -> None:
        if next(self._numbers) % 4 == 3:
            return
        for data in servers.reading(sock, over):
            servers.sending(sock, data)


def test_one_of_four_connections_that_is_not_served_is_a_share() -> None:
    with servers.far_end(EveryFourth()) as address:
        code, found = verdicts(address.port, "--quick")
    share = found.pop("share")
    assert (code, share["verdict"], share["seen"], share["evidence"]["one_in"]) == (
        1,
        "FAIL",
        "one-in",
        4,
    )
    assert share["causes"][0]["name"] == "one-dead-backend"
    found.pop("connect")
    assert {each["seen"] for each in found.values()} <= {"needs", "ok"}


@pytest.mark.long
def test_haproxy_over_four_servers_one_of_them_dead(tmp_path: File) -> None:
    need("haproxy")
    with Server("127.0.0.1:0") as server:
        far, own = server.addresses[0].port, free_port()
        lines = "\n".join(f" server s{n} 127.0.0.1:{far if n else free_port()}" for n in range(4))
        (tmp_path / "haproxy.cfg").write_text(
            "defaults\n mode tcp\n retries 0\n timeout connect 1s\n timeout client 50s\n timeout "
            "server 50s\n"
            f"frontend near\n bind 127.0.0.1:{own}\n default_backend far\nbackend far\n balance "
            f"roundrobin\n{lines}\n"
        )
        with running(own, "haproxy", "-f", str(tmp_path / "haproxy.cfg"), "-db"):
            for _ in range(5):
                code, found = verdicts(own, "--quick")
                share = found["share"]
                assert (code, share["verdict"], share["seen"], share["evidence"]["one_in"]) == (
                    1,
                    "FAIL",
                    "one-in",
                    4,
                )


def test_an_answer_and_a_close_is_no_echo() -> None:
    def once(sock: socket.socket, over: threading.Event) -> None:
        for data in servers.reading(sock, over):
            servers.sending(sock, data)
            return

    with servers.far_end(once) as address:
        code, found = verdicts(address.port, "--quick")
    assert (code, found["repeat"]["verdict"], found["repeat"]["seen"]) == (
        1,
        "FAIL",
        "closes-first",
    )
    assert found["repeat"]["sentence"].startswith("the far end closes after its first answer")
    assert found["bytes"]["verdict"] == "can't tell"


@pytest.mark.parametrize(
    ("options", "code", "kind"), [([], 1, "error"), (["--lenient"], 0, "skipped")]
)
def test_a_property_that_could_not_be_judged_is_no_success(
    options: list[str], code: int, kind: str, tmp_path: File
) -> None:
    with servers.far_end(servers.swallow) as address:
        got, found = verdicts(
            address.port,
            "--quick",
            "--only",
            "half-close",
            "--junit",
            str(tmp_path / "x.xml"),
            *options,
        )
    assert (got, [each["verdict"] for each in found.values()]) == (code, ["can't tell"])
    (case,) = ElementTree.parse(tmp_path / "x.xml").getroot()[0]
    assert [child.tag for child in case] == [kind]


# The path


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    with Network(**request.param) as made:
        made.serve()
        yield made


def of(network: Network, *options: str) -> tuple[int, dict[str, dict[str, typing.Any]]]:
    done = network.run("check", FAR, "7007", "--json", *options)
    return done.returncode, {each["name"]: each for each in json.loads(done.stdout)["properties"]}


@pytest.mark.long
@pytest.mark.parametrize(
    "network", [{"delay": 0.004, "cut": 4, "for_": 1000}], indirect=True, ids=["cut"]
)
def test_a_path_that_dies_is_one_statement(network: Network) -> None:
    code, found = of(network, "--idle", "3")
    failed = {name: each["seen"] for name, each in found.items() if each["verdict"] == "FAIL"}
    assert (code, failed) == (1, {"alive": "gone"})
    assert {each["seen"] for each in found.values() if each["verdict"] == "can't tell"} == {
        "path-gone"
    }


@pytest.mark.long
@pytest.mark.parametrize("cut", [3.0, 4.0, 5.0, 6.0])
def test_an_outage_of_two_seconds_is_one_statement(cut: float) -> None:
    with Network(delay=0.004, cut=cut, for_=2) as network:
        network.serve()
        code, found = of(network, "--quick")
    failed = {name: each["seen"] for name, each in found.items() if each["verdict"] == "FAIL"}
    assert (code, failed) in ((1, {"alive": "outage"}), (0, {})), {
        n: each["sentence"] for n, each in found.items()
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("network", "seen"),
    [
        ({"delay": 0.002, "late": 0.1, "by": 0.006}, "reordered"),
        ({"delay": 0.002, "loss": 0.03}, "loss"),
    ],
    indirect=["network"],
    ids=["reordered", "lost"],
)
def test_reordering_is_told_from_loss(network: Network, seen: str) -> None:
    found = [of(network, "--only", "large")[1]["large"]["seen"] for _ in range(4)]
    # TCP learns how far packets are out of order, and sends fewer again.
    assert set(found) <= {seen, "ok"}
    assert seen in found


def test_an_address_without_a_route_here_is_no_fault_of_the_far_end(
    monkeypatch: pytest.MonkeyPatch, stop: Stop
) -> None:
    class NoIpv6(net.Kernel):
        def open(self, family: int, kind: int, protocol: int) -> socket.socket:
            if family == socket.AF_INET6:
                raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
            return super().open(family, kind, protocol)

    monkeypatch.setattr(net.kernel, "open", NoIpv6().open)
    with Server("127.0.0.1:0") as server:
        port = server.addresses[0].port
        targets: list[Endpoint] = [
            Endpoint(socket.AF_INET, socket.SOCK_STREAM, 6, ("127.0.0.1", port)),
            Endpoint(socket.AF_INET6, socket.SOCK_STREAM, 6, ("::1", port)),
        ]
        found = connect.check(Path(targets, Plan(), Known(), stop))
    assert (str(found.verdict), found.seen, found.evidence["unrouted"]) == ("ok", "no-route", 1)


def test_nothing_read_slowly_is_no_ok_for_a_slow_reader(
    monkeypatch: pytest.MonkeyPatch, stop: Stop
) -> None:
    with Server("127.0.0.1:0") as server:
        targets = resolve(server.addresses[0])
        assert slow_reader.check(Path(targets, Plan(), Known(), stop)).seen == "ok"
        monkeypatch.setattr(slow_reader, "_SLOWLY", 0.0)  # as on a machine that stood still
        found = slow_reader.check(Path(targets, Plan(), Known(), stop))
    assert (found.verdict, found.seen) == (Verdict.UNKNOWN, "not-slowly")
