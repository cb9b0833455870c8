"""Addresses on the command line: HOST PORT or host:port, and -4 or -6, for every command."""

from __future__ import annotations

import socket
import typing
from collections.abc import Callable, Sequence

import click

from ..address import HTTP, UNIX, Address, parse_port
from ..errors import AddressError

F = typing.TypeVar("F", bound=Callable[..., typing.Any])


def families(command: F) -> F:
    """The options -4 and -6, as the parameter *family*."""
    four = click.option(
        "-4", "family", flag_value=int(socket.AF_INET), type=int, help="Use only IPv4."
    )
    six = click.option(
        "-6", "family", flag_value=int(socket.AF_INET6), type=int, help="Use only IPv6."
    )
    return four(six(command))


def parse_all(words: Sequence[str], *, http: bool = False) -> list[Address]:
    """Every address in *words*, each one word or two (HOST PORT). Raises click.UsageError: also for
    http:// and https://, without *http*.
    """
    found: list[Address] = []
    rest = list(words)
    try:
        while rest:
            word = rest.pop(0)
            if rest and _is_host(word):
                found.append(Address(word, parse_port(rest.pop(0))))
            else:
                found.append(Address.parse(word))
    except AddressError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None
    context = click.get_current_context()
    for address in found:
        if address.scheme in HTTP and not http:
            raise click.UsageError(
                f"{address}: meari {context.info_name} does not speak HTTP",
                context,
            )
    return found


def parse_one(words: Sequence[str], *, http: bool = False) -> Address:
    """The one address that *words* are; a port alone is localhost's. Raises click.UsageError, as
    parse_all() does too.
    """
    found = [address.to_connect() for address in parse_all(words, http=http)]
    if any(address.port == 0 and address.scheme not in UNIX for address in found):
        raise click.UsageError(
            "port 0 is for listening (a free one): nobody can be reached at it",
            click.get_current_context(),
        )
    if len(found) != 1:
        raise click.UsageError(
            "one address was expected: HOST PORT, or host:port", click.get_current_context()
        )
    return found[0]


def _is_host(word: str) -> bool:
    """True if *word* is a host without its port: a name, an IPv4 address, or an IPv6 address
    without brackets.
    """
    if "://" in word or word.startswith(("unix:", "http+unix:", "[")):
        return False
    if ":" in word:
        return word.count(":") > 1
    return (
        not word.isdecimal()
        and word[:1] not in ("+", "-")
        and (not word[:1].isdigit() or "." in word)
    )
