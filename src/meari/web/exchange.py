"""A request whose response is made while it arrives, or later: CGI, an echo, a stream of events."""

from __future__ import annotations

from ..wire.protocol import Protocol
from .response import Response


class Hangup(Exception):
    """The connection ends here, whatever was announced, and without an answer if none was."""


class Exchange:
    """One request and its response; a Conversation calls it, as an engine calls a Protocol.

    Each method returns bytes of the response's body, and b"" for none. They are sent before
    anything else is called. *response*, its head, is set before the first of them, *done* with the
    last. HttpError becomes an error page if *response* is not set yet; any other exception, and
    HttpError later, resets the connection. The resources of an abandoned exchange are freed
    with its last reference.
    """

    response: Response | None = None
    done = False
    successor: Protocol | None = None  # after a response of 101: has the connection from there on
    began = 0.0  # when the request's first byte was received, by time.monotonic()
    # As in Protocol.
    reads = True  # more of the request's body
    watch: int | None = None
    within: float | None = None  # seconds from the last call until wake(); never None without reads

    def start(self) -> bytes:
        """The head of the request has been received."""
        return b""

    def receive(self, data: bytes, /) -> bytes:
        """A piece of the request's body has."""
        return b""

    def end(self) -> bytes:
        """All of the request has, with its trailers. From here on nothing is read."""
        return b""

    def more(self) -> bytes:
        """All output is sent."""
        return b""

    def ready(self) -> bytes:
        """*watch* can be read."""
        return b""

    def wake(self) -> bytes:
        """*within* seconds have passed."""
        return b""
