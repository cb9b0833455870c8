"""TLS as a Layer (RFC 8446, RFC 5246), either end, over the ssl module's memory BIOs: no socket.

- feed() reads until OpenSSL has nothing left. It asks the incoming BIO's `pending` and
  SSLObject.pending() instead of catching SSLWantReadError after every read.
- Each direction ends by itself. close() sends our close_notify, and reading goes on. Data and a
  close_notify that arrive together are both taken, the data first. A stream that ends without
  close_notify may have been cut by anybody: the error says truncated.
- A TLS 1.3 client has finished its handshake before the server has judged its certificate. A
  rejection is an alert that arrives with the first data.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Sequence

from ..errors import MeariError
from .layer import Layer, Truncated

SNI = "meari_sni"  # an attribute of an SSLObject: the requested name
ALPN = "echo"  # offered, and not required (RFC 7301)
PATIENCE = 10.0  # seconds for the handshake
_RECORD = 16384  # bytes of data in a record, at most (RFC 8446, 5.1)


class TlsError(MeariError, ConnectionError):
    """The handshake or a record failed: the connection is lost."""


class Tls(Layer):
    """One end of one connection under *context*; a client names the *host* that it wants (SNI), and
    verifies it.

    With *pin*, the SHA-256 of a certificate, no other certificate is accepted. The handshake as a
    whole has *patience* seconds, by the *clock*; without one each silence in it has.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        host: str | None = None,
        pin: bytes | None = None,
        patience: float = PATIENCE,
        clock: Callable[[], float] | None = None,
        alpn: Sequence[str] = (),
    ) -> None:
        self._context, self._host, self._pin = context, host, pin
        self._clock, self._by = clock, patience + (clock() if clock else 0.0)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._client = context.protocol == ssl.PROTOCOL_TLS_CLIENT
        # The ssl module has a list for a context only, and an object takes it when it is made.
        if self._client:
            context.set_alpn_protocols([ALPN, *alpn])
        self._tls = context.wrap_bio(
            self._in, self._out, server_side=not self._client, server_hostname=host
        )
        self._early, self._closed = b"", False  # to be sent once the handshake is over
        self.ready = self.ended = False
        self.error: Exception | None = None
        self.within: float | None = patience
        if self._client:
            self._shake_hands()

    def offering(self, names: Sequence[str]) -> Tls:
        """A new client like this one that offers *names* beside its own protocol."""
        return Tls(self._context, host=self._host, pin=self._pin, alpn=names)

    # What is known once it is ready

    @property
    def version(self) -> str:
        """As "TLSv1.3"; "" before."""
        return self._tls.version() or ""

    @property
    def cipher(self) -> str:
        return (self._tls.cipher() or ("",))[0]

    @property
    def alpn(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    @property
    def sni(self) -> str | None:
        """The name that a client has asked this server for (tls_context.py)."""
        return getattr(self._tls, SNI, None)

    @property
    def terms(self) -> dict[str, str | None]:
        return {"version": self.version, "cipher": self.cipher, "alpn": self.alpn}

    def certificate(self) -> bytes | None:
        """The peer's certificate, as DER; None if it has shown none."""
        return self._tls.getpeercert(binary_form=True)

    # A Layer

    def feed(self, wire: bytes, /) -> bytes:
        if self.error is not None or self.ended:
            return b""
        self._in.write(wire)
        if not self.ready:
            self._shake_hands()
            if not self.ready:
                return b""
        pieces: list[bytes] = []
        self._each_record(pieces.append)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def reflect(self, wire: bytes, /) -> tuple[int, bytes]:
        if not self.ready or self._closed or self.ended or self.error is not None:
            data = self.feed(wire)
            self.send(data)
            return len(data), self.take()
        self._in.write(wire)
        return self._each_record(self._tls.write), self._out.read()

    def _each_record(self, use: Callable[[bytes], object]) -> int:
        """Give *use* the data of each record that is complete; the number of bytes of all.

        Nothing stays inside, where no poller would report it: a read takes all the data of a
        record, and OpenSSL does not read ahead of one (SSL_CTX_set_read_ahead(3)).
        """
        read, incoming, n = self._tls.read, self._in, 0
        try:
            while data := read(_RECORD):
                n += len(data)
                use(data)
                if not incoming.pending:
                    return n
            self.ended = True
        except ssl.SSLWantReadError:
            # Part of a record, or a record without data: a ticket, a key update.
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            self._fail(error)
        return n

    def eof(self) -> None:
        if not self.ended and self.error is None:
            if self.ready:
                late = "after the handshake, without close_notify: the data may be truncated"
                self.error = Truncated(f"TLS: the stream ended {late}")
            else:
                self.error = TlsError("TLS: the stream ended in the handshake")
            self.within = None

    def send(self, data: bytes, /) -> None:
        if not self.ready:
            self._early += data
            return
        if self._closed or self.error is not None:
            return
        left = memoryview(data)
        try:
            while left:
                left = left[self._tls.write(left) :]
        except ssl.SSLError as error:
            self._fail(error)

    def close(self) -> None:
        if self._closed or not self.ready or self.error is not None:
            return
        self._closed = True
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:  # the peer's close_notify is still to come
            pass
        except ssl.SSLError as error:
            self._fail(error)

    def wake(self) -> None:
        self.within = None
        if not self.ready and self.error is None:
            self.error = TlsError("TLS: the handshake was not over in time")

    def take(self) -> bytes:
        return self._out.read() if self._out.pending else b""

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            if self._clock is not None:
                self.within = max(0.0, self._by - self._clock())
            return
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._fail(error)
            return
        found = hashlib.sha256(self.certificate() or b"").digest()
        if self._pin is not None and found != self._pin:
            self.within = None
            other = "another certificate than the pinned one"
            self.error = TlsError(f"TLS: {other}: its SHA-256 is {found.hex()}")
            return
        self.ready, self.within = True, None
        early, self._early = self._early, b""
        self.send(early)

    def _fail(self, error: Exception) -> None:
        """OpenSSL has put an alert into what is to be sent, if there is one to send."""
        self.within = None
        verified = getattr(error, "verify_message", "")
        reason = (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
        self.error = TlsError(f"TLS: {reason}: {verified}" if verified else f"TLS: {reason}")
