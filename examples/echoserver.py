"""The textbook's echo server, whole (CS:APP 11.4.9, echoserveri.c): python echoserver.py PORT"""

from __future__ import annotations

import contextlib
import select
import socket
import sys

from meari import MeariError, Rio, open_listeners


def echo(rio: Rio) -> None:
    while line := rio.readline():  # Rio_readlineb
        print(f"server received {len(line)} bytes", flush=True)
        rio.writen(line)  # Rio_writen


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} <port>")
    try:
        listeners = open_listeners(sys.argv[1])  # Open_listenfd, in every family
    except MeariError as error:
        sys.exit(f"echoserver: {error}")
    while True:
        # The book has one listenfd, and waits in Accept.
        ready, _, _ = select.select(listeners, [], [])
        for listener in ready:
            if accepted := listener.accept():  # Accept
                sock, peer = accepted
                with Rio(sock) as rio:  # Rio_readinitb; Close at the end of the block
                    host, port = socket.getnameinfo((peer.host or "", peer.port), 0)  # Getnameinfo
                    print(f"Connected to ({host}, {port})", flush=True)
                    with contextlib.suppress(ConnectionError):  # the client's reset is the client's
                        echo(rio)


if __name__ == "__main__":
    main()
