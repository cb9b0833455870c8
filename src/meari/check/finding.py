"""What one property shows."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

Evidence = int | float | str | list[str]


class Verdict(enum.StrEnum):
    """OK: it holds.

    WARN: it holds, but somebody should know. FAIL: it does not hold. UNKNOWN: nothing can be said,
    and why.
    """

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    UNKNOWN = "can't tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict, *seen*, which names the sentence that says it, and the numbers of that sentence.

    In *evidence* times are seconds, sizes bytes.
    """

    verdict: Verdict
    seen: str
    evidence: dict[str, Evidence] = field(default_factory=dict)


def ok(seen: str = "ok", **evidence: Evidence) -> Finding:
    return Finding(Verdict.OK, seen, evidence)


def warn(seen: str, **evidence: Evidence) -> Finding:
    return Finding(Verdict.WARN, seen, evidence)


def fail(seen: str, **evidence: Evidence) -> Finding:
    return Finding(Verdict.FAIL, seen, evidence)


def unknown(seen: str, **evidence: Evidence) -> Finding:
    return Finding(Verdict.UNKNOWN, seen, evidence)


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of a server of ours while a property was tried. "" where nothing was."""

    language: str  # it is written in: "c", "python", "node", "java"
    printed: str  # the last line that it printed
    doing: str  # "sleeps" or "spins", where it was to answer and did not
    child: str  # the signal that a child of it died of
