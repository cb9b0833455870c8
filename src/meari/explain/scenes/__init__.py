"""The scenes: each a question, and two or more programs that answer it by being run."""

from __future__ import annotations

from ..stage import Part
from . import (
    blocking,
    echo,
    eof,
    fork,
    in_use,
    lines,
    queue,
    refused,
    reset,
    select,
    short_count,
    tls,
    two_descriptors,
)

SCENES: dict[str, tuple[Part, ...]] = {
    "echo": echo.PARTS,
    "two-descriptors": two_descriptors.PARTS,
    "queue": queue.PARTS,
    "blocking": blocking.PARTS,
    "eof": eof.PARTS,
    "short-count": short_count.PARTS,
    "lines": lines.PARTS,
    "fork": fork.PARTS,
    "select": select.PARTS,
    "reset": reset.PARTS,
    "in-use": in_use.PARTS,
    "refused": refused.PARTS,
    "tls": tls.PARTS,
}
