"""What there is to say of scenes and calls: sentences.toml, in English and Korean."""

from __future__ import annotations

import functools
import tomllib
import typing
from importlib import resources


@functools.cache
def _file() -> dict[str, typing.Any]:
    return tomllib.loads(resources.files(__package__).joinpath("sentences.toml").read_text(encoding="utf-8"))


def calls() -> frozenset[str]:
    """The keys of what can be said of calls."""
    return frozenset(_file()["call"])


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
