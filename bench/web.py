"""`make bench`, fourth part: static files over HTTP beside nginx (one worker), `python -m
http.server` and uvicorn with starlette; a WebSocket echo beside the websockets library's server.

The files are loaded by wrk, 64 connections, from the other core; the WebSocket by `meari load`. A
round loads each server in turn; a ratio is of one round, the figure its median. --rounds, --seconds
change the run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import rig

MEARI = [sys.executable, "-m", "meari"]
RIVALS = [sys.executable, rig.HERE / "rivals.py"]
CONNECTIONS = 64
# Size, and connections: with more, some of the others finish no large file in a round.
FILES = {"1k": (1 << 10, CONNECTIONS), "10M": (10 << 20, 8)}
_UNITS = {"": 1, "k": 1e3, "M": 1e6, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def files() -> Path:
    """A directory with the files."""
    root = rig.BUILT / "www"
    root.mkdir(parents=True, exist_ok=True)
    for name, (size, _) in FILES.items():
        (root / name).write_bytes(os.urandom(size))
    return root


def nginx(root: Path) -> list[object]:
    """nginx's command: one worker, sendfile, a connection that is kept; no log, as below."""
    where = rig.BUILT / "nginx"
    where.mkdir(exist_ok=True)
    user = "user root;" if os.getuid() == 0 else ""
    kept = "".join(
        f"{name}_temp_path {where}/{name}; "
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = where / "conf.in"
    configuration.write_text(
        f"{user} daemon off; worker_processes 1; pid {where}/pid; error_log {where}/log;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ {kept} access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;"
        f" server {{ listen 127.0.0.1:@@; root {root}; }} }}\n"
    )
    # The port is known when the words are used: the file gets it from them.
    script = f"sed s/@@/$0/ {configuration} > {where}/conf && "
    script += f"exec nginx -e {where}/log -c {where}/conf"
    return ["sh", "-c", script, "PORT"]


def seconds(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    assert found is not None, text
    return float(found[1]) * _UNITS[found[2]]


def wrk(server: rig.Server, name: str, connections: int, duration: float) -> rig.Result:
    """Load one file from the second core."""
    before = server.busy()
    words = ["wrk", "-t", 1, "-c", connections, "-d", f"{max(1, round(duration))}s", "--latency"]
    done = subprocess.run(
        rig.pinned(1, [*words, f"http://127.0.0.1:{server.port}/{name}"]),
        capture_output=True,
        text=True,
        check=False,
    )
    total = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
    if total is None or not int(total[1]) or "Non-2xx" in done.stdout:
        sys.exit(f"{server.name}: wrk: {done.stdout}{done.stderr}")
    p50 = re.search(r"^ +50% +(\S+) *$", done.stdout, re.M)
    p99 = re.search(r"^ +99% +(\S+) *$", done.stdout, re.M)
    assert p50 is not None and p99 is not None
    count = int(total[1])
    cpu = (server.busy() - before) / count * 1e6
    rate = count / float(total[2])
    return rig.Result(rate, seconds(p50[1]) * 1e6, seconds(p99[1]) * 1e6, cpu)


def table(title: str, names: list[str], rounds: list[list[rig.Result]]) -> None:
    print(f"\n{title}")
    heads = ("a second", "ratio", "us cpu", "ratio", "p50 us", "p99 us")
    print(f"  {'':22}" + "".join(f"{head:>11}" for head in heads))
    for i, name in enumerate(names):
        rate = statistics.median(one[i].rate for one in rounds)
        cpu = statistics.median(one[i].cpu for one in rounds)
        faster = statistics.median(one[i].rate / one[0].rate for one in rounds)
        dearer = statistics.median(one[i].cpu / one[0].cpu for one in rounds)
        p50 = statistics.median(one[i].p50 for one in rounds)
        p99 = statistics.median(one[i].p99 for one in rounds)
        row = f"{rate:11,.0f}{faster:11.2f}{cpu:11.1f}{dearer:11.2f}{p50:11,.0f}{p99:11,.0f}"
        print(f"  {name:22}{row}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", action="append", help=argparse.SUPPRESS)  # of compare.py
    options = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program in ("wrk", "nginx"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is needed: apt-get install {program}")
    if importlib.util.find_spec("uvicorn") is None:
        sys.exit("uvicorn and starlette are not installed here, and are timed beside")
    rig.BUILT.mkdir(parents=True, exist_ok=True)
    root = files()
    commands: dict[str, list[object]] = {
        "nginx, one worker": nginx(root),
        "meari tiny": [*MEARI, "tiny", "-q", root, "127.0.0.1:PORT"],
        "python -m http.server": [
            *(sys.executable, "-m", "http.server", "-d", root, "-b", "127.0.0.1", "PORT")
        ],
        "uvicorn, starlette": [*RIVALS, "starlette", "PORT", root],
    }
    with contextlib.ExitStack() as stack:
        servers = [rig.Server(name, words) for name, words in commands.items()]
        for server in servers:
            stack.callback(server.close)
        for name, (_, connections) in FILES.items():
            rounds = [
                [wrk(server, name, connections, options.seconds) for server in servers]
                for _ in range(options.rounds)
            ]
            names = [server.name for server in servers]
            table(f"static file of {name}, {connections} connections", names, rounds)
    commands = {
        "websockets, asyncio": [*RIVALS, "websockets", "PORT"],
        "meari serve http://": [*MEARI, "serve", "-q", "http://127.0.0.1:PORT"],
    }
    with contextlib.ExitStack() as stack:
        servers = [rig.Server(name, words) for name, words in commands.items()]
        for server in servers:
            stack.callback(server.close)
        rounds = [
            [
                rig.near(
                    server, f"ws://127.0.0.1:{server.port}/ws", CONNECTIONS, 64, options.seconds
                )
                for server in servers
            ]
            for _ in range(options.rounds)
        ]
        names = [server.name for server in servers]
        table(f"WebSocket echo, {CONNECTIONS} connections of 64 bytes", names, rounds)


if __name__ == "__main__":
    main()
