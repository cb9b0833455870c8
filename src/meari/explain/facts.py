"""The sentences about scenes and calls: sentences.toml, in English and Korean."""

from __future__ import annotations

import functools
import tomllib
import typing
from importlib import resources

from .row import Row


@functools.cache
def _file() -> dict[str, typing.Any]:
    return tomllib.loads(
        resources.files(__package__).joinpath("sentences.toml").read_text(encoding="utf-8")
    )


_OPTIONS = {"setsockopt": 2, "shutdown": 1}  # which argument is one
_ENDS = ("recv", "read", "fork")  # calls whose return value 0 has a meaning of its own


def saying(row: Row) -> str:
    """The key of the sentence about a call: of its error, its return value 0, its option or its
    name, in this order; empty if there is none.
    """
    option = row.arguments[_OPTIONS[row.name]] if row.name in _OPTIONS else None
    zero = "0" if row.returned == 0 and row.name in _ENDS else None
    keys = [f"{row.name}-{each}" for each in (row.error, zero, option) if each is not None]
    return next((key for key in (*keys, row.name) if key in _file()["call"]), "")


def call(key: str, language: str) -> str:
    found: str = _file()["call"][key][language]
    return found


def note(scene: str, key: str, language: str) -> str:
    found: str = _file()["note"][scene][key][language]
    return found


def question(scene: str, language: str) -> str:
    found: str = _file()["scene"][scene]["question"][language]
    return found


def answer(scene: str, language: str) -> str:
    found: str = _file()["scene"][scene]["answer"][language]
    return found


def word(key: str, language: str, **values: object) -> str:
    found: str = _file()["word"][key][language]
    return found.format(**values)
