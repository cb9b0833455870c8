"""Decodes what it reads, and writes the text back: bytes that are not UTF-8 become U+FFFD."""

import socketserver
import sys


class Text(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data.decode("utf-8", errors="replace").encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 1024
    daemon_threads = True


Server(("0.0.0.0", int(sys.argv[1])), Text).serve_forever()
