"""`make bench-idle`: what 5,000 connections that say nothing cost the event engine in memory, and a
live one in time.
"""

from __future__ import annotations

import resource
import socket
import sys

import rig

IDLE = 5000
ROUNDS = 5


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10)


def median_p99(server: rig.Server) -> float:
    return sorted(rig.load(server, 1, 64, 1).p99 for _ in range(ROUNDS))[ROUNDS // 2]


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < IDLE + 100:
        sys.exit(f"the descriptor limit of {hard} is too low for {IDLE} connections")
    rig.build()
    server = rig.Server("meari event", [sys.executable, "-m", "meari", "serve", "127.0.0.1:PORT"])
    idle = []
    try:
        alone = median_p99(server)
        before = server.memory()
        idle = [connect(server.port) for _ in range(IDLE)]
        for sock in (idle[0], idle[-1]):
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
        each = (server.memory() - before) / IDLE
        beside = median_p99(server)
    finally:
        server.close()
        for sock in idle:
            sock.close()
    print(f"{IDLE:,} idle connections: {each:,.0f} bytes of resident memory each")
    print(
        f"a live one's p99: {alone:.1f} us without them, {beside:.1f} us with them: "
        f"{beside / alone:.2f} times"
    )


if __name__ == "__main__":
    main()
