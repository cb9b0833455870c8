"""Admitting only peers of some networks: a wrapper around a service."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ..errors import Refused, UsageError
from .protocol import Connection, Protocol, Service

Network = IPv4Network | IPv6Network


def parse_network(text: str) -> Network:
    """Read "192.0.2.0/24", "2001:db8::/32" or a single address. Raises UsageError."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a network: {error}") from None


def allowing(networks: Sequence[Network], service: Service) -> Service:
    """A service that raises Refused for a peer outside *networks*; an IPv4 peer seen as
    ::ffff:a.b.c.d is unmapped first.
    """

    def admit(connection: Connection) -> Protocol:
        if connection.peer.scheme == "unix":
            raise Refused("a Unix socket's peer is of no network")
        if within(networks, connection):
            return service(connection)
        raise Refused("not allowed")

    return admit


def within(networks: Sequence[Network], connection: Connection) -> bool:
    """True if the peer is in one of *networks*."""
    if connection.peer.scheme == "unix":
        return False
    ip = ip_address(connection.peer.host or "")
    if isinstance(ip, IPv6Address):
        # Without the zone of fe80::1%eth0, which no network has.
        ip = ip.ipv4_mapped or IPv6Address(int(ip))
    return any(ip in network for network in networks)
