"""An HTTP request as it was received, and the items that a parser returns."""

from __future__ import annotations

from collections.abc import KeysView
from dataclasses import dataclass
from enum import Enum

from ..errors import MeariError

CHUNKS = 1000  # of a body, whose sizes are kept


class HttpError(MeariError):
    """A request that is not served: *status* is the response's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class End(Enum):
    """A request is complete, its body and trailers included."""

    END = 0


END = End.END


@dataclass(slots=True)
class Request:
    """The head of a request, as it was received.

    *headers* keep order, case, duplicates and spaces at the end. *trailers* are complete at END.
    """

    method: str
    target: str
    version: str  # "1.0" or "1.1"
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool  # the client wants to use the connection again
    trailers: list[tuple[bytes, bytes]]
    # The sizes of the body's chunks, as far as they have arrived, and no more than CHUNKS of them;
    # None: it is not chunked.
    chunks: list[int] | None = None
    _fields: dict[bytes, list[bytes]] | None = None

    def values(self, name: bytes) -> list[bytes]:
        """The values of the headers *name* (in lower case), without spaces at their ends."""
        return (self._fields or self._index()).get(name, [])

    @property
    def names(self) -> KeysView[bytes]:
        """The names of the headers, in lower case."""
        return (self._fields or self._index()).keys()

    def _index(self) -> dict[bytes, list[bytes]]:
        fields: dict[bytes, list[bytes]] = {}
        for each, value in self.headers:
            fields.setdefault(each.lower(), []).append(value.strip(b" \t"))
        self._fields = fields
        return fields


Item = Request | bytes | End | HttpError
