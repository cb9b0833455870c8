"""What load and ping say of far ends and paths that do not keep up: no all-clear that was not
measured, no wrong blame.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
import typing
from pathlib import Path

import pytest

from meari.client.compare import saved
from meari.client.plan import Plan
from meari.client.results import Result
from meari.client.tally import Count
from meari.histogram import Histogram

from . import servers
from .network import FAR, Network
from .program import MEARI, Serving, run


def load(address: object, *words: str) -> tuple[int, dict[str, typing.Any]]:
    done = run("load", str(address), "--json", *words)
    return done.returncode, json.loads(done.stdout)


def trickle(sock: socket.socket, over: threading.Event) -> None:
    """An honest echo of one byte each 50 ms."""
    held = b""
    for data in servers.reading(sock, over):
        held += data
        while held and not over.wait(0.05):
            servers.sending(sock, held[:1])
            held = held[1:]


def test_messages_that_are_still_outstanding_are_no_all_clear() -> None:
    with servers.far_end(trickle) as address:
        done = run("load", str(address), "--rate", "200", "-t", "1", "--timeout", "1")
        code, found = load(address, "--rate", "200", "-t", "1", "--timeout", "1")
    assert done.returncode == 1 and b"every byte came back" not in done.stdout
    assert code == 1 and found["unfinished_messages"] + found["missing_messages"] > 100
    assert found["from_due_us"]["p50"] > 500_000


def test_a_client_that_is_not_served_is_seen() -> None:
    with Serving("-q", "--engine", "iterative") as server:
        done = run("load", str(server.address), "-c", "2", "-t", "1")
        code, found = load(server.address, "-c", "2", "-t", "1")
    assert done.returncode == 1 and b"1 connection received nothing" in done.stdout
    assert (code, found["connections"]["unserved"]) == (1, 1)
    assert found["round_trip_us"]["max"] >= 900_000


def test_clients_beyond_a_limit_are_seen_and_it_ends() -> None:
    with Serving("-q", "--connections", "12") as server:
        began = time.monotonic()
        code, found = load(server.address, "-c", "60", "-n", "600", "--timeout", "2")
        assert time.monotonic() - began < 10
    assert (code, found["connections"]["unserved"]) == (1, 48)
    assert found["round_trip_us"]["p99"] >= 1_900_000


def test_connections_that_could_not_be_made_are_no_all_clear() -> None:
    """A far end that goes away: one message of 20 came back as it was sent, and that is not all of
    them.
    """
    with Serving("-q", "--once") as server:
        words = [
            "load",
            str(server.address),
            "--new-connections",
            "-n",
            "20",
            "-c",
            "1",
            "--timeout",
            "1",
        ]
        done = run(*words)
    assert done.returncode == 1 and b"to connect failed" in done.stdout
    assert b"none: every byte" not in done.stdout


def test_the_probe_into_a_stalled_connection_is_no_message_of_the_load() -> None:
    with servers.far_end(servers.swallow) as address:
        code, found = load(address, "-t", "3", "--timeout", "1")
    assert code == 1
    assert found["missing_messages"] == sum(found["fault_counts"].values())  # one in flight on each


@pytest.mark.long
def test_a_path_that_is_cut_is_not_the_near_end_s_doing() -> None:
    with Network(delay=0.004, cut=3, for_=30) as network:
        network.serve()
        done = network.run(
            "load", FAR, "7007", "-c", "2", "--rate", "200", "-t", "4", "--timeout", "1"
        )
    text = done.stdout.decode()
    assert done.returncode == 1
    assert "RATE NOT KEPT" in text and "the far end, or the path, did not keep up" in text
    assert "was the limit" not in text and "and replaced" not in text


@pytest.mark.long
def test_the_near_end_is_not_the_limit_of_a_long_path() -> None:
    with Network(delay=0.025) as network:
        network.serve()
        found = json.loads(
            network.run("load", FAR, "7007", "--rate", "100", "-t", "2", "--json").stdout
        )
    assert (
        found["near_end"]["was_the_limit"] is False and found["near_end"]["kept_its_rate"] is True
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "name"),
    [({"loss": 0.02}, "retransmitted"), ({"late": 0.1, "by": 0.006}, "out_of_order")],
)
def test_loss_and_reordering_are_counted(path: dict[str, float], name: str, tmp_path: Path) -> None:
    with Network(delay=0.002, **path) as network:
        network.serve()
        words = ["load", FAR, "7007", "-c", "4", "-s", "20000", "-t", "2"]
        saved_as = tmp_path / "result.json"
        done = network.run(*words, "--save", str(saved_as), "--html", str(tmp_path / "result.html"))
        ping = json.loads(
            network.run(
                "ping", FAR, "7007", "-c", "200", "-i", "0", "-s", "9000", "-q", "--json"
            ).stdout
        )
    found = json.loads(saved_as.read_text())
    assert found["network"][name] > 0
    assert f"{found['network']['retransmitted']:,} segment" in done.stdout.decode()
    assert "sent again" in (tmp_path / "result.html").read_text()
    assert ping["network"][name] > 0


def test_no_free_port_is_the_near_end_s_limit() -> None:
    """In a namespace of its own, where a few ports are all there are."""
    script = (
        "ip link set lo up; sysctl -qw net.ipv4.ip_local_port_range='40000 40015' "
        "net.ipv4.tcp_tw_reuse=0\n"
        '"$PY" -m meari serve -q 127.0.0.1:7007 & far=$!; trap "kill $far; wait $far" EXIT\n'
        "until ss -ltn | grep -q 127.0.0.1:7007; do sleep 0.05; done\n"
        '"$PY" -m meari load 127.0.0.1:7007 --new-connections -t 2 --timeout 2'
    )
    words = [
        "unshare",
        "--map-root-user",
        "--net",
        "bash",
        "-c",
        f'PATH="$PATH:/usr/sbin:/sbin"; {script}',
    ]
    if subprocess.run([*words[:3], "true"], check=False).returncode:
        pytest.skip("the kernel gives no network namespace here")
    done = subprocess.run(
        words, capture_output=True, timeout=60, check=False, env={**os.environ, "PY": MEARI[0]}
    )
    assert b"no local port was free" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["load", "--rate", "200", "-t", "2"],
        ["load", "-c", "2", "-t", "2", "--late", "0.7"],
        ["load", "-c", "2", "-s", "65536", "-t", "2", "--processes", "2"],
        ["ping", "-i", "0.01", "-c", "150"],
        ["ping", "-i", "0", "-w", "3.5", "-W", "1"],
    ],
    ids=["load-open", "load", "load-two", "ping", "ping-after"],
)
def test_a_pause_is_not_the_far_end_s_maximum(command: list[str]) -> None:
    with Serving() as server:
        words = [*MEARI, command[0], str(server.address), "--json", *command[1:]]
        with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as running:
            # On a busy machine it may take seconds to begin.
            server.wait_for("server received")
            time.sleep(0.5)
            os.killpg(running.pid, signal.SIGSTOP)
            time.sleep(1.5)
            os.killpg(running.pid, signal.SIGCONT)
            out, _ = running.communicate(timeout=20)
    found = json.loads(out.splitlines()[-1])
    assert running.returncode == 0
    assert found["round_trip_us"]["max"] < 700_000
    if command[0] == "load":
        assert "--rate" not in command or found["from_due_us"]["max"] < 700_000
        assert 1.2 < found["near_end"]["paused_s"] / (2 if "--processes" in command else 1) < 1.8
        assert found["near_end"]["was_the_limit"] is False


# ping


def test_an_outage_is_measured_from_the_last_good_reply() -> None:
    connections = itertools.count()

    def mute_after_a_while(sock: socket.socket, over: threading.Event) -> None:
        first, began = next(connections) == 0, time.monotonic()
        for data in servers.reading(sock, over):
            if not first or time.monotonic() - began < 0.5:
                servers.sending(sock, data)

    with servers.far_end(mute_after_a_while) as address:
        done = run("ping", str(address), "-i", "0.1", "-W", "1", "-w", "4", "--json")
    outages = [
        event["outage_ms"]
        for line in done.stdout.splitlines()
        if (event := json.loads(line))["type"] == "connected"
    ]
    assert len(outages) >= 2 and 900 < outages[1] < 2500


def test_a_reset_at_accept_is_reported_as_one() -> None:
    with servers.far_end(lambda sock, over: servers.reset(sock)) as address:
        for _ in range(6):
            done = run("ping", str(address), "-c", "1", "-W", "1", "--json")
            reasons = [
                event["reason"]
                for line in done.stdout.splitlines()
                if (event := json.loads(line))["type"] == "broken"
            ]
            # It came before connect returned.
            reasons += [done.stderr.decode()] if done.returncode == 2 else []
            assert reasons and all(
                "reset" in reason.lower() or "Broken pipe" in reason for reason in reasons
            ), reasons


def test_a_ping_of_which_some_did_not_come_back_is_no_success() -> None:
    def two(sock: socket.socket, over: threading.Event) -> None:
        left = 2 * 64
        for data in servers.reading(sock, over):
            servers.sending(sock, data[:left])
            left = max(0, left - len(data))

    with servers.far_end(two) as address:
        done = run("ping", str(address), "-c", "5", "-i", "0.05", "-w", "4", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["returned"] == 2


def test_a_byte_after_our_fin_is_a_fault() -> None:
    def one_more(sock: socket.socket, over: threading.Event) -> None:
        for data in servers.reading(sock, over):
            servers.sending(sock, data)
        servers.sending(sock, b"!")

    with servers.far_end(one_more) as address:
        done = run("ping", str(address), "-c", "3", "-i", "0", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["faults"] == 1


# compare


def result(rate: float) -> Result:
    histogram = Histogram()
    histogram.add([int(1e9 / rate)] * 100)
    made = Result(Plan("x"), 1, "", "x", 1.0, Count(messages=int(rate)))
    made.count.times["round_trip"] = histogram
    return made


def test_saved_rounds_cover_what_varies_between_runs() -> None:
    one, other = (
        [result(rate) for rate in (1000, 1010, 990, 1005, 1001)],
        [result(rate) for rate in (800, 805, 795, 803, 799)],
    )
    assert any(ratio.differs for ratio in saved(one, other))
    assert not any(ratio.differs for ratio in saved(one[:1], other[:1]))
    assert not any(ratio.differs for ratio in saved(one, one))
