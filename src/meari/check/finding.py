"""The result of one property."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

Evidence = int | float | str | list[str]


class Verdict(enum.StrEnum):
    """OK: it holds.

    WARN: it holds, with a remark. FAIL: it does not hold. UNKNOWN: it cannot be judged, with the
    reason.
    """

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    UNKNOWN = "can't tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict; *seen* names its sentence, *evidence* has the numbers of that sentence.

    In *evidence*, times are in seconds, sizes in bytes.
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
    """The observations of a started server while a property was tried; "" where there was none."""

    language: str  # its language: "c", "python", "node", "java"
    printed: str  # the last line that it printed
    doing: str  # "sleeps" or "spins", if it did not answer
    child: str  # the signal that a child of it died of
