"""Echo servers of other makes, as their documentation has them: python rivals.py
asyncio|uvloop|gevent|socketserver PORT
"""

from __future__ import annotations

import asyncio
import socketserver
import sys
from typing import Any


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


def use_gevent(port: int) -> None:
    from gevent.server import StreamServer

    def echo(sock: Any, _: object) -> None:
        while data := sock.recv(65536):
            sock.sendall(data)

    StreamServer(("127.0.0.1", port), echo, backlog=1024).serve_forever()


def use_socketserver(port: int) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(65536):
                self.request.sendall(data)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        request_queue_size = 1024

    with Server(("127.0.0.1", port), Handler) as server:
        server.serve_forever()


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    if name == "asyncio":
        asyncio.run(serve(port))
    elif name == "uvloop":
        import uvloop

        uvloop.run(serve(port))
    elif name == "gevent":
        use_gevent(port)
    else:
        use_socketserver(port)


if __name__ == "__main__":
    main()
