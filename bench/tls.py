"""`make bench`, third part: echo over TLS, the event engine beside uvloop and asyncio, as ratios of
processor time a message.

The load is `meari load`, on the other core. It is slower than the servers, so the rates say little;
processor time is what is compared. A round loads each server in turn, and a ratio is of one round.
The handshakes of a round are counted in it, for all alike. --rounds, --seconds change the run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import rig

MEARI = [sys.executable, "-m", "meari"]
RIVALS = [sys.executable, rig.HERE / "rivals.py"]
SPECS = [(64, 64), (8, 65536)]


def certificate() -> Path:
    """A new self-signed certificate and its key, on P-256 as `serve --self-signed` makes one."""
    if shutil.which("openssl") is None:
        sys.exit("openssl makes the certificate: apt-get install openssl")
    file = rig.BUILT / "tls.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    command = ["openssl", *words.split(), "-days", "1", "-keyout", file, "-out", file]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", action="append", help=argparse.SUPPRESS)  # of compare.py
    options = parser.parse_args()
    if importlib.util.find_spec("uvloop") is None:
        sys.exit("uvloop is not installed here, and is what TLS is timed beside")
    seconds: float = options.seconds
    rig.build()
    cert = certificate()
    commands = {
        "uvloop": [*RIVALS, "uvloop", "PORT", cert],
        "asyncio": [*RIVALS, "asyncio", "PORT", cert],
        "meari event": [*MEARI, "serve", "tls://127.0.0.1:PORT", "--cert", cert],
    }
    print(
        f"\nTLS: median of {options.rounds} rounds of {options.seconds:g} s; ratios to uvloop in "
        "the same round"
    )
    with contextlib.ExitStack() as stack:
        servers = [rig.Server(name, words) for name, words in commands.items()]
        for server in servers:
            stack.callback(server.close)
        for connections, size in SPECS:
            print(f"\n{connections} connections of {size:,} bytes")
            print(f"  {'':18} {'messages/s':>11} {'us cpu/message':>15} {'ratio':>7}")
            rounds = [
                [
                    rig.near(server, f"tls://127.0.0.1:{server.port}", connections, size, seconds)
                    for server in servers
                ]
                for _ in range(options.rounds)
            ]
            for i, server in enumerate(servers):
                rate = statistics.median(one[i].rate for one in rounds)
                cpu = statistics.median(one[i].cpu for one in rounds)
                ratio = statistics.median(one[i].cpu / one[0].cpu for one in rounds)
                print(f"  {server.name:18} {rate:11,.0f} {cpu:15.2f} {ratio:7.2f}", flush=True)


if __name__ == "__main__":
    main()
