"""The parameters of a request target: typed, bounded, and none that is not known."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from ..units import parse_seconds
from ..wire.request import HttpError

_FIELDS = 200


class Query:
    """The parameters after "?". Each method takes one out, or returns its default; done() raises
    HttpError, 400, for one that is left, and the others for a value that is not valid.
    """

    def __init__(self, text: str) -> None:
        try:
            self.pairs = parse_qsl(
                text, keep_blank_values=True, max_num_fields=_FIELDS, errors="strict"
            )
        except ValueError:
            raise HttpError(400, "the parameters are malformed") from None
        self._left = dict(self.pairs)
        self._repeated = len(self._left) < len(self.pairs)

    def word(self, name: str, words: Sequence[str]) -> str:
        """One of *words*, of which the first is the default."""
        value = self._left.pop(name, words[0])
        if value not in words:
            raise HttpError(400, f"{name} is one of {', '.join(words)}, not {value!r}")
        return value

    def number(self, name: str, default: int, most: int) -> int:
        return number(name, self._left.pop(name, str(default)), most)

    def seconds(self, name: str, default: float, most: float) -> float:
        return seconds(name, self._left.pop(name, str(default)), most)

    def text(self, name: str) -> str | None:
        return self._left.pop(name, None)

    def clear(self) -> None:
        """All are taken, repeated ones too."""
        self._left, self._repeated = {}, False

    def done(self) -> None:
        if self._repeated:
            raise HttpError(400, "a parameter is given twice")
        if self._left:
            raise HttpError(400, f"there is no parameter {next(iter(self._left))!r} here")


def number(name: str, text: str, most: int) -> int:
    """A whole number from 0 to *most*. Raises HttpError, 400."""
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > most:
        raise HttpError(400, f"{name} is a number from 0 to {most:,}, not {text[:40]!r}")
    return int(text)


def seconds(name: str, text: str, most: float) -> float:
    """Seconds, or "200ms", from 0 to *most*. Raises HttpError, 400."""
    value = parse_seconds(text)
    if value is None or not 0 <= value <= most:
        raise HttpError(400, f"{name} is a time from 0 to {most:,g} s, not {text[:40]!r}")
    return value
