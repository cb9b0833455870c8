"""What real middleboxes do to a connection: as Debian ships them, and as mended. docs/paths.md has
what this shows.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from meari import Server
from meari.sockets import free_port

from .middleboxes import SHIPPED, haproxy, need, nginx, running, socat, ssh, stunnel
from .program import MEARI, run

TCP = SHIPPED.replace("mode http", "mode tcp")
BRIEF = TCP.replace("50000", "2000")

pytestmark = pytest.mark.long


@pytest.fixture
def far() -> Iterator[int]:
    """The far end behind them."""
    with Server("127.0.0.1:0") as server:
        yield server.addresses[0].port


Verdicts = dict[str, tuple[str, str]]


def verdicts(port: int, *options: str) -> Verdicts:
    """Of each property its verdict, and what was seen, unless all is well."""
    done = run("check", str(port), "--json", *options, timeout=200)
    assert done.stderr == b"", done.stderr.decode()
    found: dict[str, typing.Any] = json.loads(done.stdout)
    return {
        each["name"]: (each["verdict"], each["seen"])
        for each in found["properties"]
        if each["verdict"] != "ok"
    }


def test_nginx_as_shipped_loses_what_is_under_way_at_our_fin(far: int, tmp_path: Path) -> None:
    with nginx(far, tmp_path) as port:
        assert verdicts(port, "--idle", "3") == {"half-close": ("FAIL", "lost")}


def test_nginx_as_mended(far: int, tmp_path: Path) -> None:
    with nginx(far, tmp_path, "proxy_half_close on;") as port:
        assert verdicts(port, "--idle", "3") == {}


def test_nginx_with_a_timeout(far: int, tmp_path: Path) -> None:
    with nginx(far, tmp_path, "proxy_half_close on;", "proxy_timeout 2s;") as port:
        found = verdicts(port, "--idle", "4", "--only", "idle")
    assert found == {"idle": ("FAIL", "closed")}


def test_haproxy_as_shipped_speaks_http(far: int, tmp_path: Path) -> None:
    with haproxy(far, tmp_path) as port:
        done = json.loads(run("check", str(port), "--quick", "--json").stdout)
    partial = next(each for each in done["properties"] if each["name"] == "partial")
    assert (partial["verdict"], partial["seen"], partial["causes"][0]["name"]) == (
        "FAIL",
        "different",
        "http-proxy",
    )
    assert "HTTP/1.1 400" in partial["sentence"]


def test_haproxy_in_tcp_mode_holds_but_for_50_seconds_of_idleness(far: int, tmp_path: Path) -> None:
    with haproxy(far, tmp_path, TCP) as port:
        found = json.loads(run("check", str(port), "--idle", "60", "--json", timeout=200).stdout)
    failed = [each for each in found["properties"] if each["verdict"] != "ok"]
    assert [(each["name"], each["seen"]) for each in failed] == [("idle", "closed")]
    assert 49 < failed[0]["evidence"]["dead_s"] < 52
    assert failed[0]["causes"][0]["name"] == "haproxy-debian-50-seconds"


def test_an_inspect_delay_is_no_buffering_of_standard_output(far: int, tmp_path: Path) -> None:
    own = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        f"defaults\n {TCP}\nfrontend near\n bind 127.0.0.1:{own}\n tcp-request inspect-delay 20s\n"
        " tcp-request content accept if { req.len gt 1000 }\n default_backend far\n"
        f"backend far\n server echo 127.0.0.1:{far}\n"
    )
    need("haproxy")
    with running(own, "haproxy", "-f", str(tmp_path / "haproxy.cfg"), "-db"):
        found = json.loads(run("check", str(own), "--quick", "--only", "partial", "--json").stdout)
    (partial,) = found["properties"]
    assert (partial["verdict"], partial["seen"]) == ("FAIL", "end"), partial
    assert partial["causes"][0]["name"] == "holds-the-first-bytes"


def test_haproxy_as_mended(far: int, tmp_path: Path) -> None:
    with haproxy(far, tmp_path, f"{BRIEF} timeout tunnel 1h\n") as port:
        assert verdicts(port, "--idle", "4") == {}


def test_socat_as_shipped_ends_half_a_second_after_an_end_of_file(far: int) -> None:
    with socat(far) as port:
        found = verdicts(port, "--idle", "3")
    # Its backlog is 5: a race, who is first.
    assert found.pop("concurrency", ("warn", "queue")) == ("warn", "queue")
    assert found == {"half-close": ("FAIL", "lost"), "small": ("warn", "nagle")}


def test_socat_as_mended(far: int) -> None:
    with socat(far, "-t", "60", listening=",nodelay,backlog=128", connecting=",nodelay") as port:
        assert verdicts(port, "--idle", "3") == {}


def test_ssh(far: int, tmp_path: Path) -> None:
    with ssh(far, tmp_path) as port:
        assert verdicts(port, "--idle", "3") == {}


def test_stunnel_may_lose_the_last_of_what_it_owes(far: int, tmp_path: Path) -> None:
    """It is a race of its own: most runs see it."""
    with stunnel(far, tmp_path) as port:
        assert set(verdicts(port, "--idle", "3")) <= {"half-close"}
        seen = [verdicts(port, "--only", "half-close") for _ in range(6)]
    assert {"half-close": ("FAIL", "lost")} in seen


def test_a_proxy_whose_backend_is_down(tmp_path: Path) -> None:
    with nginx(free_port(), tmp_path) as port:
        found = json.loads(run("check", str(port), "--quick", "--json").stdout)
    told = {each["name"]: each for each in found["properties"]}
    assert told["connect"]["verdict"] == "ok"
    assert told["partial"]["verdict"] == "FAIL"
    assert told["partial"]["causes"][0]["name"] == "accepted-before-the-backend"


def test_what_a_proxy_adds(far: int) -> None:
    with socat(far) as port:
        done = run(
            "check",
            str(port),
            "--against",
            f"localhost:{far}",
            "--idle",
            "2",
            "--lang",
            "en",
            timeout=120,
        )
    lines = done.stdout.decode().splitlines()
    (heading,) = (i for i, line in enumerate(lines) if line.startswith("what "))
    assert {
        line.split()[1] for line in lines[heading + 1 :] if line.split()[0] in ("FAIL", "warn")
    } - {"concurrency"} == {
        "half-close",
        "small",
    }
    assert done.returncode == 1


# In a network namespace of the test's own


def filtering(*rules: str, sets: str = "") -> str:
    """What nft takes: these rules for what comes in."""
    return "\n".join(
        [
            "table ip path {",
            sets,
            "chain in {",
            "type filter hook input priority 0;",
            *rules,
            "}",
            "}",
            "",
        ]
    )


ETHERNET = "ip link set lo mtu 1500 gso_max_segs 1"  # a packet is a packet
FLOW = "{ ip saddr . tcp sport }"
FORGETS = filtering(
    f"tcp dport 7007 tcp flags & (syn|ack) == syn update @flows {FLOW} accept",
    f"tcp dport 7007 ip saddr . tcp sport @flows update @flows {FLOW} accept",
    "tcp dport 7007 drop",
    sets=(
        "set flows { type ipv4_addr . inet_service; flags dynamic,timeout; timeout 3s; size 65535;"
        " }"
    ),
)


def in_namespace(
    rules: str, *options: str, before: str = "true"
) -> tuple[int, dict[str, typing.Any]]:
    """A far end and its check in a namespace of their own, with loopback and these rules."""
    need("nft")
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "--map-root-user", "--net", "true"], check=False).returncode
    ):
        pytest.skip("the kernel gives no network namespace here")
    script = (
        'set -e; PATH="$PATH:/usr/sbin:/sbin"; ip link set lo up; nft -f - <<< "$1"; eval "$2"; '
        "shift 2; exec 3>&1 1>/dev/null\n"
        '"$PY" -m meari serve --drain 1 127.0.0.1:7007 & far=$!; trap "kill $far; wait $far" EXIT\n'
        "until ss -ltn | grep -q 127.0.0.1:7007; do sleep 0.05; done\n"
        '"$PY" -m meari check 127.0.0.1:7007 --json "$@" >&3'
    )
    words = [
        "unshare",
        "--map-root-user",
        "--net",
        "bash",
        "-c",
        script,
        "bash",
        rules,
        before,
        *options,
    ]
    done = subprocess.run(
        words, capture_output=True, timeout=100, check=False, env={**os.environ, "PY": MEARI[0]}
    )
    if b"Operation not permitted" in done.stderr:
        pytest.skip("the kernel forbids packet filters here")
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


def of(found: dict[str, typing.Any], name: str) -> dict[str, typing.Any]:
    return next(each for each in found["properties"] if each["name"] == name)


def test_a_clean_namespace_holds() -> None:
    code, found = in_namespace("", "--idle", "3")
    assert (code, {each["verdict"] for each in found["properties"]}) == (0, {"ok"})


def test_a_filter_that_forgets_idle_flows() -> None:
    code, found = in_namespace(FORGETS, "--idle", "6", "--only", "idle")
    idle = of(found, "idle")
    assert (code, idle["seen"]) == (1, "silence")
    assert idle["evidence"]["longest_alive_s"] <= 3.0 <= idle["evidence"]["dead_s"] < 3.8


def test_connection_tracking_that_forgets() -> None:
    shorter = (
        "sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=2 "
        "net.netfilter.nf_conntrack_tcp_loose=0"
    )
    code, found = in_namespace(
        filtering("tcp dport 7007 ct state invalid counter drop"),
        "--idle",
        "5",
        "--only",
        "idle",
        before=shorter,
    )
    assert (code, of(found, "idle")["seen"]) == (1, "silence")
    assert "conntrack" in [cause["name"] for cause in of(found, "idle")["causes"]]


@pytest.mark.parametrize(("way", "seen"), [("dport", "black-hole"), ("sport", "black-hole-back")])
def test_a_path_mtu_black_hole_is_told_from_loss(way: str, seen: str) -> None:
    code, found = in_namespace(
        filtering(f"tcp {way} 7007 meta length > 1400 drop"),
        "--only",
        "large,small",
        "--quick",
        before=ETHERNET,
    )
    assert code == 1
    assert of(found, "small")["verdict"] == "ok"
    assert of(found, "large")["seen"] == seen


def test_loss_is_told_from_a_black_hole() -> None:
    lossy = filtering("tcp dport 7007 meta length > 100 numgen random mod 100 < 5 drop")
    _, found = in_namespace(lossy, "--only", "large", before=ETHERNET)
    assert of(found, "large")["seen"] == "loss"
