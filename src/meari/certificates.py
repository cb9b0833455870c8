"""Certificates: one made on the spot, and what one says. The cryptography package does the work.

Imported when used: it costs some 40 ms.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import LocalError

# A certificate for a test: it ends with its process, or soon after.
_VALID = timedelta(days=30)
# Clocks differ: valid from a little earlier.
_EARLIER = timedelta(hours=1)


def self_sign(context: ssl.SSLContext, hosts: Iterable[str]) -> str:
    """Give *context* a new key and a certificate for *hosts*; its SHA-256, as hexadecimal digits.

    The key is on P-256, and never on a disk. A host that no certificate can name is left out: the
    near end accepts it by the pin. Raises LocalError if /proc is not mounted.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "meari self-signed")])
    names = [found for host in hosts if (found := _general(host)) is not None]
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    # The ssl module loads files only: this one is memory (memfd_create(2)).
    fd = os.memfd_create("meari self-signed")
    try:
        os.write(fd, pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        raise LocalError("--self-signed needs /proc") from None
    finally:
        os.close(fd)
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def subject(der: bytes) -> str:
    """Whom the certificate *der* is for: its names, or its subject; "" for none."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return ""
    with contextlib.suppress(x509.ExtensionNotFound, ValueError):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [str(each.value) for each in names]
        if found:
            return ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    return certificate.subject.rfc4514_string()


def _general(host: str) -> x509.GeneralName | None:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    # A name beyond ASCII is looked up in its IDNA form (RFC 5890).
    with contextlib.suppress(ValueError):
        return x509.DNSName(host.encode("idna").decode("ascii"))
    return None
