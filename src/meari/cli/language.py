"""English or Korean."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click


def language(wanted: Callable[..., Any]) -> Callable[..., Any]:
    """The option --lang."""
    return click.option(
        "--lang",
        type=click.Choice(["en", "ko"]),
        help="English or Korean.  [default: as LANG has it]",
    )(wanted)


def of_environment() -> str:
    """From the environment, in the order of locale(7); English if the output cannot show Korean."""
    said = next(
        (os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), ""
    )
    return spoken("ko" if said.startswith("ko") else "en")


def spoken(wanted: str | None) -> str:
    """The output language: *wanted*, or the environment's; English if the output cannot show
    Korean.
    """
    if wanted is None:
        return of_environment()
    encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"
    try:
        "한국어".encode(encoding if wanted == "ko" else "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "en"
    return wanted
