"""What either end of TLS is made with: certificates, keys and authorities, read from PEM files."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence

from .errors import UsageError
from .wire.tls import ALPN, SNI


def server_context(
    cert: str | None,
    key: str | None = None,
    client_ca: str | None = None,
    *,
    alpn: Sequence[str] = (),
) -> ssl.SSLContext:
    """A far end's: TLS 1.2 or later, with the chain and key of these PEM files.

    Without *cert* the caller adds a certificate. With *client_ca* a client has to show a
    certificate that one of its authorities has signed. *alpn* are protocols beside "echo". Raises
    UsageError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Of TLS 1.2: a client could have us compute without end.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([*alpn, ALPN])
    context.sni_callback = _note_sni
    if cert is not None:
        _load(
            lambda: context.load_cert_chain(cert, key, password=_no_password),
            cert if key is None else f"{cert}, {key}",
        )
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load(lambda: context.load_verify_locations(client_ca), client_ca)
    return context


def client_context(
    cafile: str | None = None,
    *,
    insecure: bool = False,
    cert: str | None = None,
    key: str | None = None,
) -> ssl.SSLContext:
    """A near end's: TLS 1.2 or later, verifying by *cafile* or the system's authorities, or with
    *insecure* not at all.

    *cert* and *key* are shown to a far end that asks. Raises UsageError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif cafile is not None:
        _load(lambda: context.load_verify_locations(cafile), cafile)
    else:
        context.load_default_certs()
    if cert is not None:
        _load(
            lambda: context.load_cert_chain(cert, key, password=_no_password),
            cert if key is None else f"{cert}, {key}",
        )
    return context


def _note_sni(tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
    setattr(tls, SNI, name)


def _no_password() -> str:
    raise UsageError("the key has a password: give it a key without one")


def _load(load: Callable[[], None], files: str) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise UsageError(
            f"{files}: {(error.reason or str(error)).replace('_', ' ').lower()}"
        ) from None
    except OSError as error:
        raise UsageError(f"{files}: {error.strerror}") from None
