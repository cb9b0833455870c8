"""What can go wrong, and whose fault it was.

    MeariError
    ├── UsageError              the caller's: what was asked for cannot be
    │   └── AddressError        a text that is no address
    ├── LocalError              this machine's
    │   ├── ListenError         a listener could not be opened
    │   └── CapacityError       out of descriptors or memory, for now
    ├── PeerError               the far side's, or the path's
    │   ├── ConnectError        no address could be reached; each with its reason
    │   └── IncompleteRead      the end came before the bytes that were asked for
    ├── DeadlineError           a wait took longer than it was given (a TimeoutError too)
    ├── Stopped                 our own stop ended a wait
    └── Refused                 our own rules do not admit this peer

What the kernel says of one connection (ConnectionResetError, BrokenPipeError) stays an OSError,
under its own name.
"""

from __future__ import annotations


class MeariError(Exception):
    """Anything that meari itself raises."""


class UsageError(MeariError, ValueError):
    """What was asked for cannot be done, here or anywhere."""


class AddressError(UsageError):
    """A text that is no address."""


class LocalError(MeariError):
    """This machine cannot, or not now."""


class ListenError(LocalError):
    """A listener could not be opened on *port*; *errno* is the kernel's reason, or None."""

    def __init__(self, message: str, errno: int | None = None, port: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno
        self.port = port


class CapacityError(LocalError):
    """The machine has no descriptor or memory left for one more connection; it may again in a
    moment.
    """


class PeerError(MeariError):
    """The far side, or the path to it, did not do its part."""


class ConnectError(PeerError):
    """No address could be connected to; *reasons* says why, one line for each address tried."""

    def __init__(self, message: str, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons


class IncompleteRead(PeerError):
    """The end of file came after *partial*, short of the *expected* number of bytes."""

    def __init__(self, partial: bytes, expected: int) -> None:
        super().__init__(f"the end came after {len(partial):,} of {expected:,} bytes")
        self.partial = partial
        self.expected = expected


class DeadlineError(MeariError, TimeoutError):
    """A wait was not over by its deadline."""


class Stopped(MeariError):
    """A stop was set while something waited."""


class Refused(MeariError):
    """A peer that our rules do not admit."""


def failure(error: Exception) -> str:
    """Why a connection ended: an error of ours in its own words, any other with its type."""
    return str(error) if isinstance(error, MeariError) else f"{type(error).__name__}: {error}"
