"""One layer over another: HTTP over TLS."""

from __future__ import annotations

from .layer import Layer


class Stacked(Layer):
    """*upper* over *lower*, as one layer. *lower* is there first; then *upper* may begin."""

    def __init__(self, upper: Layer, lower: Layer) -> None:
        self._upper, self._lower = upper, lower
        self._settle()

    def feed(self, wire: bytes, /) -> bytes:
        plain = self._lower.feed(wire)
        data = self._upper.feed(plain) if plain else b""
        if self._lower.ended:
            self._upper.eof()
        self._settle()
        return data

    def eof(self) -> None:
        if self.error is None and not self.ended:
            self._lower.eof()
            self._upper.eof()
            self._settle()

    def message(self, size: int, /) -> None:
        self._upper.message(size)

    def send(self, data: bytes, /) -> None:
        self._upper.send(data)

    def close(self) -> None:
        self._upper.close()
        self._settle()

    def wake(self) -> None:
        for layer in (self._lower, self._upper):
            if layer.within is not None:
                layer.wake()
        self._settle()

    def take(self) -> bytes:
        self._lower.send(self._upper.take())  # which keeps it until it is ready
        out = self._lower.take()
        self._settle()
        return out

    @property
    def terms(self) -> dict[str, str | None]:
        return self._lower.terms | self._upper.terms

    def _settle(self) -> None:
        upper, lower = self._upper, self._lower
        self.ready = lower.ready and upper.ready
        self.ended, self.fin = upper.ended, upper.fin
        # A fault of the lower layer causes the upper one's error.
        self.error = None if upper.ended else lower.error or upper.error
        self.within = lower.within if lower.within is not None else upper.within
