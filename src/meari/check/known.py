"""What a finding says, and what it may come from: sentences.toml and causes.toml, in English and Korean.

A cause is told as likely where its property, what was seen, and the evidence fit; several may, the likeliest stands first
in its file.
"""

from __future__ import annotations

import functools
import string
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from .battery import Result
from .finding import Verdict

LANGUAGES = ("en", "ko")


@dataclass(frozen=True, slots=True)
class Cause:
    """What may be behind a finding, what to do, and the primary source that says so."""

    name: str
    cause: str
    remedy: str
    title: str
    url: str


class _Numbers(string.Formatter):
    """Knows four formats more: time and seconds (of seconds), size (of bytes) and word (of the sentences' own words)."""

    def __init__(self, words: dict[str, dict[str, str]], language: str) -> None:
        self._words, self._language = words, language

    def format_field(self, value: typing.Any, spec: str) -> str:
        if spec == "time":
            return time_of(value)
        if spec == "size":
            return size_of(value)
        if spec == "seconds":
            unit = {"en": " s", "ko": "초"}[self._language]
            return f"{round(value, 1):,.10g}{unit}"
        if spec == "word":
            return self._words[value][self._language] if value in self._words else str(value)
        return str(super().format_field(value, spec))


def time_of(seconds: float) -> str:
    """ "58.1 us", "2.31 ms", "1.5 s"."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= 0.9995 * factor:  # what would be rounded to the next unit is told in it
            return f"{seconds / factor:.3g} {unit}" if seconds < 999.5 * factor else f"{seconds:,.0f} s"
    return f"{seconds / 1e-6:.3g} us"


def size_of(count: float) -> str:
    """ "64 bytes", "16.8 MB", in powers of ten."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= 0.99995 * factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} byte{'s' * (round(count) != 1)}"


@functools.cache
def _file(name: str) -> dict[str, typing.Any]:
    return tomllib.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def sentence(result: Result, language: str) -> str:
    """What *result* says, in one sentence."""
    known = _file("sentences.toml")
    seen = result.finding.seen
    found = known.get(result.name, {}).get(seen) or known["any"][seen]
    return _Numbers(known["words"], language).format(found[language], **result.finding.evidence)


def about(name: str, language: str) -> str:
    """What the property *name* is."""
    found: str = _file("sentences.toml")["about"][name][language]
    return found


def causes(result: Result, language: str, *, spawned: bool) -> Iterator[Cause]:
    """What *result* may come from, the likeliest first; *spawned*: the far end is a server of somebody's own."""
    if result.finding.verdict in (Verdict.OK, Verdict.UNKNOWN):
        return
    for known in _file("causes.toml")["cause"]:
        if _fits(known, result, spawned):
            source = known["source"]
            yield Cause(known["name"], known["cause"][language], known["remedy"][language], source["title"], source["url"])


def _fits(known: dict[str, typing.Any], result: Result, spawned: bool) -> bool:
    if result.name not in known["property"] or result.finding.seen not in known["seen"]:
        return False
    if known.get("spawned", spawned) != spawned:
        return False
    return all(_within(result.finding.evidence.get(name), wanted) for name, wanted in known.get("when", {}).items())


def _within(value: typing.Any, wanted: typing.Any) -> bool:
    """*wanted* is a pair of numbers, both ends meant; a text that is part of the value, or one of its texts; or some of those."""
    if isinstance(wanted, str):
        return wanted in value if isinstance(value, str | list) else False
    if isinstance(wanted[0], str):
        return any(_within(value, each) for each in wanted)
    least, most = wanted
    return isinstance(value, int | float) and least <= value <= most
