"""meari (메아리, "echo"): what does the network between two programs do to a connection?

The public API, by name, and the floors of the house: a module imports from floors below its own, or
from its own package.

    floor 0   errors, address, limits, units,    values, sans-IO: no socket, file, thread or clock
              histogram, stream, wire
    floor 1   sockets, sock_diag, stop, child,   primitives
              rio, events, totals, live,
              tls_context, certificates
    floor 2   net, lookup, announce, listeners,  connections, on every transport
              unix, channel, http_layers
    floor 3   engines, web, client, check,       the two ends; they never import each other
              explain
    floor 4   supervisor, server, writer,        compositions
              testing, report
    floor 5   cli                                prints for a person, or exits
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from .address import Address as Address
    from .errors import AddressError as AddressError
    from .errors import ConnectError as ConnectError
    from .errors import DeadlineError as DeadlineError
    from .errors import IncompleteRead as IncompleteRead
    from .errors import ListenError as ListenError
    from .errors import LocalError as LocalError
    from .errors import MeariError as MeariError
    from .errors import Stopped as Stopped
    from .errors import UsageError as UsageError
    from .events import Event as Event
    from .events import Events as Events
    from .limits import Limits as Limits
    from .listeners import Listener as Listener
    from .listeners import open_listeners as open_listeners
    from .net import open_client as open_client
    from .rio import Rio as Rio
    from .server import Server as Server
    from .stop import Stop as Stop
    from .wire.echo import LineEcho as LineEcho
    from .wire.echo import StreamEcho as StreamEcho
    from .wire.protocol import Connection as Connection
    from .wire.protocol import Protocol as Protocol
    from .wire.protocol import Span as Span

__version__ = "0.1.0"

# Imported when used: `meari --help` needs none of them.
_HOMES = {
    "address": ("Address",),
    "errors": (
        "AddressError",
        "ConnectError",
        "DeadlineError",
        "IncompleteRead",
        "ListenError",
        "LocalError",
        "MeariError",
        "Stopped",
        "UsageError",
    ),
    "events": ("Event", "Events"),
    "limits": ("Limits",),
    "listeners": ("Listener", "open_listeners"),
    "net": ("open_client",),
    "rio": ("Rio",),
    "server": ("Server",),
    "stop": ("Stop",),
    "wire.echo": ("LineEcho", "StreamEcho"),
    "wire.protocol": ("Connection", "Protocol", "Span"),
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> typing.Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value
