"""What a lie does to a stream, and the earliest offset that explains the bytes: computed from the
definition, by trying.
"""

from __future__ import annotations

from meari.stream.pattern import Stream
from meari.testing import LIES, Lie

_AROUND = 4200  # bytes: more than a lie is long


def told(lie: Lie, run: int, connection: int) -> tuple[str, int, int]:
    """The (kind, offset, length) that the near end should tell of *lie*."""
    kind, offset, length = lie.kind, lie.offset, lie.length
    if kind in ("flip", "append", "truncate", "delay", "stall", "reset"):
        return LIES[kind], offset, length
    begin = max(0, offset - _AROUND)
    sent = Stream(run, connection).read(begin, offset - begin + length + _AROUND)
    at = offset - begin
    taken = 0 if kind in ("insert", "replay") else length
    came = sent[:at] + lie.put + sent[at + taken :]
    if kind == "swap":
        differing = [i for i in range(at, at + length) if sent[i] != came[i]]
        return "foreign", begin + differing[0], differing[-1] - differing[0] + 1
    middle = 0
    if kind == "reorder":
        middle = next(
            m for m in range(1, length) if lie.put == sent[at + m : at + length] + sent[at : at + m]
        )

    def explains(p: int) -> bool:
        match kind:
            case "drop":
                return came == sent[:p] + sent[p + length :]
            case "duplicate":
                return came == sent[: p + length] + sent[p : p + length] + sent[p + length :]
            case "reorder":
                return (
                    came
                    == sent[:p]
                    + sent[p + middle : p + length]
                    + sent[p : p + middle]
                    + sent[p + length :]
                )
            case _:
                return came == sent[:p] + came[p : p + length] + sent[p:]

    assert explains(at)
    while at and explains(at - 1):
        at -= 1
    return LIES[kind], begin + at, length
