"""TLS on the command line: the certificate of `serve`, and how a near end verifies a far end."""

from __future__ import annotations

import functools
import re
import socket
import typing
from collections.abc import Callable, Sequence
from dataclasses import replace

import click

from ..address import SECURE, Address
from ..net import Endpoint, resolve
from . import say

if typing.TYPE_CHECKING:
    import ssl

    from ..wire.secured import ClientTls

F = typing.TypeVar("F", bound=Callable[..., typing.Any])


class Security(typing.NamedTuple):
    """The requested options."""

    cafile: str | None = None
    insecure: bool = False
    pin: str | None = None
    cert: str | None = None
    key: str | None = None
    # The version of the PROXY header that is sent first; None: none is.
    send_proxy: str | None = None

    @property
    def digest(self) -> bytes | None:
        """The pin. Raises click.UsageError."""
        return None if self.pin is None else _pin(self.pin)

    def tls(self, addresses: Sequence[Address], *, known: bool = False) -> ClientTls | None:
        """How to verify *addresses*; None if none of them is over TLS.

        If *known*, a pin beside another way to verify is not enforced: the caller compares it.
        Raises click.UsageError, UsageError.
        """
        context = click.get_current_context()
        if not any(address.scheme in SECURE for address in addresses):
            if self._replace(send_proxy=None) != Security():
                raise click.UsageError(
                    "--cafile, --insecure, --pin, --cert and --key are of tls://, https:// and"
                    " wss:// addresses",
                    context,
                )
            return None
        ways = [self.cafile is not None, self.insecure]
        if sum(ways) > 1 or (any(ways) and self.pin is not None and not known):
            raise click.UsageError(
                "--cafile, --insecure and --pin are three ways to verify: one of them", context
            )
        if self.key is not None and self.cert is None:
            raise click.UsageError("--key is of --cert", context)
        from ..tls_context import client_context
        from ..wire.secured import ClientTls

        pin = None if any(ways) else self.digest
        if self.insecure:
            say(
                "meari: --insecure: the far end's certificate is not verified: anybody may have"
                " answered"
            )
        made = client_context(
            self.cafile, insecure=self.insecure or pin is not None, cert=self.cert, key=self.key
        )
        return ClientTls(made, pin)

    def resolve(self, address: Address, family: int, timeout: float = 10.0) -> list[Endpoint]:
        """As net.resolve(), for one address. Raises as tls() does, too."""
        return self.announced(resolve(address, family, timeout, self.tls([address])))

    def announced(self, found: list[Endpoint]) -> list[Endpoint]:
        """Return *found*, with the PROXY header that is sent first."""
        if self.send_proxy is None:
            return found
        from ..announce import announcing

        return [replace(target, announce=announcing(self.send_proxy)) for target in found]


def server_tls(
    asked: Sequence[Address],
    cert: str | None,
    key: str | None,
    client_ca: str | None,
    *,
    self_signed: bool,
) -> tuple[ssl.SSLContext | None, str]:
    """The context of tls:// addresses, and the SHA-256 of a certificate made for it.

    Raises click.UsageError, UsageError.
    """
    context = click.get_current_context()
    schemes = {address.scheme for address in asked} & set(SECURE)
    if not schemes:
        if cert or key or client_ca or self_signed:
            raise click.UsageError(
                "--cert, --key, --self-signed and --client-ca are of tls:// and https:// addresses",
                context,
            )
        return None, ""
    if (cert is None) != self_signed:
        raise click.UsageError(
            f"{min(schemes)}:// needs a certificate: --cert FILE, perhaps --key FILE;"
            " or --self-signed",
            context,
        )
    if self_signed and key is not None:
        raise click.UsageError("--key is of --cert", context)
    from ..tls_context import server_context

    alpn = ("http/1.1",) if "https" in schemes else ()
    made = server_context(cert, key, client_ca, alpn=alpn)
    if not self_signed:
        return made, ""
    from ..certificates import self_sign

    hosts = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    hosts += [address.host for address in asked if address.scheme in SECURE and address.host]
    return made, self_sign(made, dict.fromkeys(hosts))


def certified(command: F) -> F:
    """The options of a server's TLS: the parameters *cert*, *key*, *self_signed*, *client_ca*."""
    for option in (
        click.option(
            "--client-ca",
            metavar="FILE",
            help="TLS: require client certificates signed by these authorities.",
        ),
        click.option(
            "--self-signed",
            is_flag=True,
            help="TLS: create a self-signed certificate and print its SHA-256, for --pin.",
        ),
        click.option("--key", metavar="FILE", help="TLS: its key, as PEM.  [default: in --cert]"),
        click.option("--cert", metavar="FILE", help="TLS: the certificate with its chain, as PEM."),
    ):
        command = option(command)
    return command


def _pin(text: str) -> bytes:
    digits = text.removeprefix("sha256:").replace(":", "")
    if not re.fullmatch("[0-9a-fA-F]{64}", digits):
        raise click.UsageError(
            f"--pin {text}: a SHA-256 was expected, 64 hexadecimal digits",
            click.get_current_context(),
        )
    return bytes.fromhex(digits)


proxy_header = click.option(
    "--send-proxy",
    type=click.Choice(["v1", "v2"]),
    help="Send a PROXY header of this version first, as a proxy does.",
)


def secured(command: F) -> F:
    """The options of TLS, as the parameter *security*; above it, proxy_header is one more."""

    @functools.wraps(command)
    def wrapper(
        *args: typing.Any,
        cafile: str | None,
        insecure: bool,
        pin: str | None,
        cert: str | None,
        key: str | None,
        send_proxy: str | None = None,
        **options: typing.Any,
    ) -> typing.Any:
        security = Security(cafile, insecure, pin, cert, key, send_proxy)
        return command(*args, security=security, **options)

    for option in (
        click.option("--key", metavar="FILE", help="TLS: its key, as PEM.  [default: in --cert]"),
        click.option(
            "--cert",
            metavar="FILE",
            help="TLS: client certificate, as PEM, for a far end that requests one.",
        ),
        click.option(
            "--pin",
            metavar="SHA256",
            help="TLS: accept only the certificate with this SHA-256 fingerprint.",
        ),
        click.option("--insecure", is_flag=True, help="TLS: accept any certificate."),
        click.option(
            "--cafile",
            metavar="FILE",
            help="TLS: trusted authorities, as PEM.  [default: the system's]",
        ),
    ):
        wrapper = option(wrapper)
    return typing.cast(F, wrapper)
