"""What a path does to HTTP and WebSocket.

client.py      one connection: requests byte for byte, responses with the time of each piece
socket.py      one WebSocket: messages with their types and frames, pongs, the close
path.py        the path to a far end behind a prefix, and what is known of it
properties/    one file for each property
sentences.toml, causes.toml
"""
