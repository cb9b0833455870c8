"""A single thread whose loop ends at the first error of one client: a reset ends the server, with a
traceback.
"""

import selectors
import socket
import sys

listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=1024)
poller = selectors.DefaultSelector()
poller.register(listener, selectors.EVENT_READ, listener)
while True:
    for key, _ in poller.select():
        sock: socket.socket = key.data
        if sock is listener:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poller.register(client, selectors.EVENT_READ, client)
            continue
        data = sock.recv(65536)
        if data:
            sock.sendall(data)
        else:
            poller.unregister(sock)
            sock.close()
