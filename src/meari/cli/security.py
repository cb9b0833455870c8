"""TLS on the command line: how a near end verifies a far end, for every command that connects."""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Callable, Sequence

import click

from ..address import Address
from ..net import Endpoint, resolve
from . import say

if typing.TYPE_CHECKING:
    from ..wire.tls import ClientTls

F = typing.TypeVar("F", bound=Callable[..., typing.Any])


class Security(typing.NamedTuple):
    """What was asked for."""

    cafile: str | None = None
    insecure: bool = False
    pin: str | None = None
    cert: str | None = None
    key: str | None = None

    def tls(self, addresses: Sequence[Address]) -> ClientTls | None:
        """How to verify *addresses*; None if none of them is of TLS.

        Raises click.UsageError, UsageError.
        """
        context = click.get_current_context()
        if not any(address.scheme == "tls" for address in addresses):
            if self != Security():
                raise click.UsageError(
                    "--cafile, --insecure, --pin, --cert and --key are of tls:// addresses", context
                )
            return None
        if sum((self.cafile is not None, self.insecure, self.pin is not None)) > 1:
            raise click.UsageError(
                "--cafile, --insecure and --pin are three ways to verify: one of them", context
            )
        if self.key is not None and self.cert is None:
            raise click.UsageError("--key is of --cert", context)
        from ..tls_context import client_context
        from ..wire.tls import ClientTls

        pin = None if self.pin is None else _pin(self.pin)
        if self.insecure:
            say(
                "meari: --insecure: the far end's certificate is not verified: anybody may have answered"
            )
        made = client_context(
            self.cafile, insecure=self.insecure or pin is not None, cert=self.cert, key=self.key
        )
        return ClientTls(made, pin)

    def resolve(self, address: Address, family: int, timeout: float = 10.0) -> list[Endpoint]:
        """As net.resolve(), for one address. Raises as tls() does, too."""
        return resolve(address, family, timeout, self.tls([address]))


def _pin(text: str) -> bytes:
    digits = text.removeprefix("sha256:").replace(":", "")
    if not re.fullmatch("[0-9a-fA-F]{64}", digits):
        raise click.UsageError(
            f"--pin {text}: a SHA-256 was expected, 64 hexadecimal digits",
            click.get_current_context(),
        )
    return bytes.fromhex(digits)


def secured(command: F) -> F:
    """The options of TLS, as the parameter *security*."""

    @functools.wraps(command)
    def wrapper(
        *args: typing.Any,
        cafile: str | None,
        insecure: bool,
        pin: str | None,
        cert: str | None,
        key: str | None,
        **options: typing.Any,
    ) -> typing.Any:
        return command(*args, security=Security(cafile, insecure, pin, cert, key), **options)

    for option in (
        click.option(
            "--key", metavar="FILE", help="tls://: its key, as PEM.  [default: in --cert]"
        ),
        click.option(
            "--cert",
            metavar="FILE",
            help="tls://: our certificate, as PEM, for a far end that asks for one.",
        ),
        click.option(
            "--pin",
            metavar="SHA256",
            help="tls://: accept the certificate with this fingerprint, and no other.",
        ),
        click.option("--insecure", is_flag=True, help="tls://: accept any certificate."),
        click.option(
            "--cafile",
            metavar="FILE",
            help="tls://: authorities to verify by, as PEM.  [default: the system's]",
        ),
    ):
        wrapper = option(wrapper)
    return typing.cast(F, wrapper)
