"""Robust I/O over TLS for a scene's programs, and the records that each write carries.

Only the two ends know the content of an encrypted record. OpenSSL reports each message that it
writes to a callback (SSL_CTX_set_msg_callback(3)), which the ssl module has for debugging; it is
set on the context here.
"""

from __future__ import annotations

import socket
import ssl

from ..rio import Rio
from ..wire.tls import Tls
from .recorder import Recorder
from .row import Record

_BUFFER = 8192  # bytes, of rio_t
_HEADER = 5  # bytes of a record's header

# Content types of records (RFC 8446, appendix B.1), and two of OpenSSL's callback.
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_RECORD_HEADER, _INNER_TYPE = 0x100, 0x101

_HANDSHAKES = {  # RFC 8446, appendix B.3
    1: "ClientHello",
    2: "ServerHello",
    4: "NewSessionTicket",
    8: "EncryptedExtensions",
    11: "Certificate",
    13: "CertificateRequest",
    15: "CertificateVerify",
    20: "Finished",
    24: "KeyUpdate",
}
_ALERTS = {0: "close_notify"}  # RFC 8446, 6.1


class TlsRio:
    """One end of TLS on a connected *sock*; a client names the *host* that it wants.

    An error of TLS is raised by the call that finds it.
    """

    def __init__(
        self,
        kernel: Recorder,
        sock: socket.socket,
        context: ssl.SSLContext,
        host: str | None = None,
    ) -> None:
        self._kernel, self._sock = kernel, sock
        self._rio = Rio(sock, poll=kernel.poll)
        self._records = Records()
        context._msg_callback = self._records.message  # type: ignore[attr-defined]
        self._tls = Tls(context, host=host)
        self._wire = self._tls.take()  # to be sent
        self._line = b""

    def receive_handshake(self) -> None:
        """Read until the handshake has something to send, or is over."""
        self._fill()
        while not self._wire and not self._tls.ready:
            self._fill()

    def readline(self) -> bytes:
        """A line; b"" once the other end has sent close_notify."""
        while b"\n" not in self._line and not self._tls.ended:
            self._fill()
        line, newline, self._line = self._line.partition(b"\n")
        return line + newline

    def writen(self, data: bytes) -> None:
        self._tls.send(data)
        self._wire += self._tls.take()
        self.flush()

    def close_notify(self) -> None:
        """End our direction; the socket stays open."""
        self._tls.close()
        self._wire += self._tls.take()
        self.flush()

    def flush(self) -> None:
        """Send what TLS has to send: all of it in one write."""
        wire, self._wire = self._wire, b""
        self._kernel.records = self._records.take()
        self._rio.writen(wire)

    def _fill(self) -> None:
        wire = self._sock.recv(_BUFFER)
        if not wire:
            self._tls.eof()
        self._line += self._tls.feed(wire)
        self._wire += self._tls.take()
        if self._tls.error is not None:
            raise self._tls.error


class Records:
    """The records that OpenSSL has written since take()."""

    def __init__(self) -> None:
        self._found: list[Record] = []
        self._size = 0  # of the record whose content is still to be reported
        self._encrypted = self._finished = False

    def message(
        self,
        _: object,
        direction: str,
        version: object,
        content_type: int,
        message_type: int,
        data: bytes,
    ) -> None:
        """OpenSSL's callback: a record's header, then the type inside it, then its message."""
        if direction != "write":
            return
        if content_type == _RECORD_HEADER:
            self._size = _HEADER + int.from_bytes(data[3:5])
            self._encrypted = False
        elif content_type == _INNER_TYPE:
            self._encrypted = True
            if data[0] == _DATA:  # which no message is reported of
                self._add("Application Data")
        elif content_type == _HANDSHAKE:
            self._add(_HANDSHAKES.get(data[0], f"handshake message {data[0]}"))
            self._finished |= _HANDSHAKES.get(data[0]) == "Finished"
        elif content_type == _ALERT:
            self._add(f"Alert: {_ALERTS.get(data[1], data[1])}")
        elif content_type == _CHANGE_CIPHER_SPEC:
            self._add("ChangeCipherSpec")

    def take(self) -> tuple[Record, ...]:
        found, self._found = self._found, []
        return tuple(found)

    def _add(self, name: str) -> None:
        if self._encrypted:
            name = f"[{name}]" if self._finished else f"{{{name}}}"
        self._found.append(Record(name, self._size))
