"""Echo servers of other makes, as their documentation has them: python rivals.py
asyncio|uvloop|gevent|socketserver PORT [CERT]; starlette PORT DIRECTORY; websockets PORT

With CERT, a file with a certificate and its key, asyncio and uvloop serve TLS. starlette serves the
files of a directory, on uvicorn; websockets echoes messages.
"""

from __future__ import annotations

import asyncio
import socketserver
import ssl
import sys
from typing import Any


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve(port: int, cert: str | None) -> None:
    context = None
    if cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert)
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, ssl=context)
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


def use_starlette(port: int, directory: str) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    app = Starlette(routes=[Mount("/", StaticFiles(directory=directory))])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


async def use_websockets(port: int) -> None:
    from websockets.asyncio.server import ServerConnection
    from websockets.asyncio.server import serve as listen

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with listen(echo, "127.0.0.1", port) as server:
        await server.serve_forever()


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    cert = sys.argv[3] if len(sys.argv) > 3 else None
    if name == "asyncio":
        asyncio.run(serve(port, cert))
    elif name == "uvloop":
        import uvloop

        uvloop.run(serve(port, cert))
    elif name == "gevent":
        use_gevent(port)
    elif name == "starlette":
        use_starlette(port, sys.argv[3])
    elif name == "websockets":
        asyncio.run(use_websockets(port))
    else:
        use_socketserver(port)


if __name__ == "__main__":
    main()
