"""The book's echo client, complete (CS:APP 11.4.9, echoclient.c): echoclient.py HOST PORT"""

from __future__ import annotations

import sys

from meari import MeariError, open_client


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} <host> <port>")
    try:
        host = f"[{sys.argv[1]}]" if ":" in sys.argv[1] else sys.argv[1]  # an IPv6 address
        rio = open_client(f"{host}:{sys.argv[2]}")  # Open_clientfd
    except MeariError as error:
        sys.exit(f"echoclient: {error}")
    with rio:  # Rio_readinitb; Close at the end of the block
        for line in sys.stdin.buffer:  # Fgets
            rio.writen(line)  # Rio_writen
            if not line.endswith(b"\n"):
                # Else a far end that waits for the newline, and we for the line, would wait for
                # ever.
                rio.shutdown()
            # The book reads a line; one over its MAXLINE comes in pieces.
            sys.stdout.buffer.write(rio.readn(len(line)))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
