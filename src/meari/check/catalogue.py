"""The sentences of findings and their likely causes: sentences.toml and causes.toml, in English and
Korean.

A cause is reported as likely if its property, what was seen and the evidence match. If several
match, the likeliest stands first in its file.
"""

from __future__ import annotations

import functools
import string
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from ..units import duration, size
from .battery import Result
from .finding import Verdict

LANGUAGES = ("en", "ko")
# Properties of more than one battery, whose causes are the same.
_SHARED = ("connect", "handshake", "hello")
_IN = {
    "c": {"en": "in C", "ko": "C에서는"},
    "python": {"en": "in Python", "ko": "Python에서는"},
    "node": {"en": "in Node", "ko": "Node에서는"},
    "java": {"en": "in Java", "ko": "Java에서는"},
}


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause of a finding, its remedy, and the primary source."""

    name: str
    cause: str
    remedy: str
    title: str
    url: str
    example: bool = False  # a product that has the mechanism of the cause before it in the file


class _Numbers(string.Formatter):
    """A formatter with four more formats: time and seconds (of seconds), size (of bytes) and word
    (of the sentences' own words).
    """

    def __init__(self, words: dict[str, dict[str, str]], language: str) -> None:
        self._words, self._language = words, language

    def format_field(self, value: typing.Any, spec: str) -> str:
        if spec == "time":
            return duration(value)
        if spec == "size":
            return size(value)
        if spec == "seconds":
            unit = {"en": " s", "ko": "초"}[self._language]
            return f"{round(value, 1):,.10g}{unit}"
        if spec == "word":
            return self._words[value][self._language] if value in self._words else str(value)
        return str(super().format_field(value, spec))


@functools.cache
def _file(name: str) -> dict[str, typing.Any]:
    return tomllib.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def sentence(result: Result, language: str) -> str:
    """The sentence of *result*."""
    known, seen = _file("sentences.toml"), result.finding.seen
    tables = [_file("web/sentences.toml")] if result.web else []
    found = next(
        found
        for name, table in [*((result.name, each) for each in [*tables, known]), ("any", known)]
        if (found := table.get(name, {}).get(seen))
    )
    return _Numbers(known["words"], language).format(found[language], **result.finding.evidence)


def word(name: str, language: str) -> str:
    """One of the sentences' own words; "" for ""."""
    return str(_file("sentences.toml")["words"][name][language]) if name else ""


def about(name: str, language: str, *, web: bool = False) -> str:
    """The description of the property *name*; *web*: of the battery for HTTP."""
    of_web = _file("web/sentences.toml")["about"] if web else {}
    found: str = (of_web.get(name) or _file("sentences.toml")["about"][name])[language]
    return found


def causes(result: Result, language: str, *, spawned: bool) -> Iterator[Cause]:
    """The likely causes of *result*, the likeliest first; *spawned*: the far end is a started
    server.
    """
    if result.finding.verdict in (Verdict.OK, Verdict.UNKNOWN):
        return
    known_causes = _file("causes.toml")["cause"]
    if result.web:
        shared = known_causes if result.name in _SHARED else []
        known_causes = [*_file("web/causes.toml")["cause"], *shared]
    for known in known_causes:
        if _fits(known, result, spawned):
            source = known["source"]
            remedy = known["remedy"][language] + _form(known, result, language)
            yield Cause(
                known["name"],
                known["cause"][language],
                remedy,
                source["title"],
                source["url"],
                known.get("example", False),
            )


def _form(known: dict[str, typing.Any], result: Result, language: str) -> str:
    """The remedy in the programming language of the server, if that is known."""
    written_in = result.watched.language if result.watched is not None else ""
    form = known.get("form", {}).get(written_in)
    return f"; {_IN[written_in][language]}: {form[language]}" if form else ""


def _fits(known: dict[str, typing.Any], result: Result, spawned: bool) -> bool:
    if not {result.name, "*"} & set(known["property"]) or result.finding.seen not in known["seen"]:
        return False
    if known.get("spawned", spawned) != spawned:
        return False
    evidence = result.finding.evidence
    if result.watched is not None:
        evidence = {**evidence, "child": result.watched.child}
    return all(
        _within(evidence.get(name), wanted) for name, wanted in known.get("when", {}).items()
    )


def _within(value: typing.Any, wanted: typing.Any) -> bool:
    """True if *value* matches *wanted*: a pair of numbers is a closed interval; a text matches as a
    part or as one of several; a list matches if one of its elements does.
    """
    if isinstance(wanted, str):
        return wanted in value if isinstance(value, str | list) else False
    if isinstance(wanted[0], str):
        return any(_within(value, each) for each in wanted)
    least, most = wanted
    return isinstance(value, int | float) and least <= value <= most
