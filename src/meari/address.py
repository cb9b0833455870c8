"""Addresses as people write them: "7007", "host:7007", "[::1]:7007", each with tcp:// before it or
not; tls://; http://, https://, ws:// and wss://, with a path behind it or not; "unix:/path", and
"http+unix:/path" for HTTP over it.

A port is one to five ASCII digits, 0 to 65535, and nothing else: int() would also take "+10", "1_0"
and "²". A host is whatever getaddrinfo may know; it is not looked up here. No host is the wildcard.
"unix:@name" is a Unix socket of the abstract namespace (unix(7)).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .errors import AddressError

_PORT = re.compile(r"[0-9]{1,5}")  # re's \d, like int(), knows the digits of every script
_SCHEMES = ("tcp", "tls", "http", "https", "ws", "wss", "http+unix", "unix")
# Schemes over HTTP, with the ports that stand for none.
HTTP = {"http": 80, "https": 443, "ws": 80, "wss": 443, "http+unix": 0}
# Schemes whose address is the name of a Unix socket.
UNIX = ("unix", "http+unix")
# Schemes over TLS.
SECURE = ("tls", "https", "wss")
_PATH = re.compile(r"[!-~]*")
_LONGEST = 107  # bytes of a Unix socket's name: sun_path of unix(7), and its final NUL


@dataclass(frozen=True, slots=True)
class Address:
    """One end of a connection: *host* (a name, a number, or None for the wildcard) and *port*.

    Of a Unix socket *host* is its path, or "@name". An accepted peer of one has no name: *host* is
    its user, "uid 0", and *port* its process.
    """

    host: str | None
    port: int
    scheme: str = "tcp"
    path: str = ""  # with its query, of HTTP

    def __str__(self) -> str:
        if self.scheme in UNIX:
            return f"{self.scheme}:{self.host}"
        host = "*" if self.host is None else self.host
        host = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def authority(self) -> str:
        """The host and the port as HTTP has them: in ASCII, without the scheme's own port.

        Raises UnicodeError for a host that no resolver takes either.
        """
        host = "localhost" if self.scheme in UNIX else self.host or "localhost"
        host = host if host.isascii() else host.encode("idna").decode()
        host = f"[{host}]" if ":" in host else host
        return host if HTTP.get(self.scheme) == self.port else f"{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address. Raises AddressError, whose text says what is wrong with it."""
        scheme, colon, name = text.partition(":")
        if colon and scheme in UNIX:
            return cls(_unix_name(text, name), 0, scheme)
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "tcp", text
            if (word := text.partition(":")[0]) in _SCHEMES:
                rest = text[len(word) + 1 :] or "localhost:7007"
                raise AddressError(f"{text!r}: two slashes follow a scheme, as in {word}://{rest}")
        if scheme not in _SCHEMES:
            raise AddressError(
                f"{text!r}: the scheme {scheme!r} is not known;"
                f" {', '.join(_SCHEMES[:-1])} and unix are"
            )
        path = ""
        if scheme in HTTP:
            rest, slash, path = rest.partition("/")
            if "@" in rest:
                raise AddressError(f"{text!r}: a user and a password are not sent: leave them out")
            path = (slash + path).partition("#")[0]
            if not _PATH.fullmatch(path):
                raise AddressError(f"{text!r}: a path has printable ASCII only, as in /a%20b")
            if rest and not re.search(r":[^:\]]*$", rest):  # not even an empty port
                rest = f"{rest}:{HTTP[scheme]}"
        host, port = _split(text, rest)
        return cls(host, parse_port(port, text), scheme, path)

    def to_connect(self) -> Address:
        """The address to connect to: no host means localhost."""
        return replace(self, host="localhost") if self.host is None else self

    def socket_name(self) -> str:
        """The name of a Unix socket as bind(2) and connect(2) take it: an abstract one begins with
        a NUL.
        """
        name = self.host or ""
        return "\0" + name[1:] if name.startswith("@") else name


def _unix_name(text: str, name: str) -> str:
    """The name of a Unix socket; *text* is the whole, for the errors."""
    if name.startswith("//"):  # unix:///run/x, as URLs have it
        name = name[2:]
    if not name.startswith(("/", "@", "./", "../")) or name in ("@", "/"):
        raise AddressError(
            f"{text!r}: a path or an abstract name was expected, as in unix:/run/echo or unix:@echo"
        )
    if len(name.encode(errors="surrogateescape")) > _LONGEST:
        raise AddressError(f"{text!r}: the name of a Unix socket has at most {_LONGEST} bytes")
    if any(not c.isprintable() for c in name):
        raise AddressError(f"{text!r}: a name has no control characters")
    return name


def _split(text: str, rest: str) -> tuple[str | None, str]:
    """The host and the port's text; *text* is the whole, for the errors."""
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        if not bracket or not port.startswith(":") or ":" not in host:
            raise AddressError(
                f"{text!r}: an IPv6 address in brackets, a colon and a port were expected,"
                " as in [::1]:7007"
            )
        return host, port[1:]
    if rest.count(":") > 1:
        raise AddressError(f"{text!r}: an IPv6 address is written in brackets, as in [::1]:7007")
    host, colon, port = rest.rpartition(":")
    if (
        not colon
        and not _PORT.fullmatch(rest)
        and not rest[:1].isdigit()
        and rest[:1] not in ("", "+", "-")
    ):
        raise AddressError(f"{text!r}: the port is missing, as in {rest}:7007")
    if any(not c.isprintable() or c.isspace() for c in host):
        raise AddressError(f"{text!r}: a host has no blanks or control characters")
    return (host if host not in ("", "*") else None), port


def parse_port(port: str, text: str | None = None) -> int:
    """Read a port number. Raises AddressError; *text* is what it was part of, for the error."""
    where = "" if text is None or text == port else f"{text!r}: "
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise AddressError(f"{where}{port!r} is not a port: a number from 0 to 65535 was expected")
    return int(port)
